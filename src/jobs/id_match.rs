//! `id_match`: a selfie against the portrait that the source of the ID type holds.

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
    let (code, detail) = ("no_identity_source", "no identity source is configured for this ID type");
    Err(JobError::Fail(Failure { code: code.to_owned(), detail: detail.to_owned() }))
}
