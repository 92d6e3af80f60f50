//! `compare_with_liveness`: the best of a gallery, then the probe's liveness.

use std::time::Instant;

use super::{Context, Finished, Inputs, JobError};
use crate::domain::job::{Failure, Params};

#[expect(clippy::unused_async, reason = "not there yet")]
pub(super) async fn run(
    _context: &Context,
    _params: &Params,
    _inputs: &Inputs,
    _deadline: Instant,
) -> Result<Finished, JobError> {
    let (code, detail) = ("liveness_unavailable", "no liveness model is installed");
    Err(JobError::Fail(Failure { code: code.to_owned(), detail: detail.to_owned() }))
}
