//! `likeness_check`, and `face_match` of one image: two images side by side where threads are free.

use std::time::Instant;

use super::{Context, Finished, Inputs, JobError, compare, held_against, liveness, look, rounded_ms};
use crate::domain::image::ImageRole;
use crate::domain::job::JobParams;
use crate::domain::policy::{self, Evidence};

pub(super) async fn run(
    context: &Context,
    params: &JobParams,
    inputs: &Inputs,
    deadline: Instant,
) -> Result<Finished, JobError> {
    let mode = params.mode();
    let (reference, probe) = tokio::join!(
        look(context, inputs.image(ImageRole::Reference), mode, deadline),
        look(context, inputs.image(ImageRole::Probe), mode, deadline),
    );
    let (reference, probe) = (reference?, probe?);
    let comparison = compare(context, &reference, &probe, mode)?;
    let liveness = if policy::wants_liveness(params, comparison.as_ref()) {
        liveness(context, inputs.image(ImageRole::Probe), &probe, deadline).await?
    } else {
        None
    };
    let evidence = Evidence {
        images: vec![reference.report(ImageRole::Reference, 0), probe.report(ImageRole::Probe, 0)],
        comparison,
        liveness,
        compute_ms: rounded_ms(reference.compute_ms() + probe.compute_ms()),
        ..Evidence::default()
    };
    let held_against = held_against(&reference, &probe);
    Ok(Finished { probe: held_against, ..Finished::plain(policy::decide(params.clone(), evidence)) })
}
