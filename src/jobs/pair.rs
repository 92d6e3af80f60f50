//! `likeness_check`, and `face_match` with one image: both images are analysed at the same time where threads are free.

use std::time::Instant;

use super::{Context, Finished, Inputs, JobError, analyse, compare, liveness, probe_scene, rounded_ms};
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
        analyse(context, inputs.image(ImageRole::Reference), mode, deadline),
        analyse(context, inputs.image(ImageRole::Probe), mode, deadline),
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
    let probe_scene = probe_scene(&reference, &probe);
    Ok(Finished { probe: probe_scene, ..Finished::plain(policy::decide(params.clone(), evidence)) })
}
