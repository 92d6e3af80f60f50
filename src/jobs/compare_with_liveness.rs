//! `compare_with_liveness`: the best of a gallery, then the probe's liveness, and only where the comparison passed.

use std::time::Instant;

use futures_util::future::join_all;

use super::{Context, Finished, Inputs, JobError, compare, failed, liveness, look, rounded_ms};
use crate::domain::image::ImageRole;
use crate::domain::job::JobParams;
use crate::domain::policy::{self, Evidence};

pub(super) async fn run(
    context: &Context,
    params: &JobParams,
    inputs: &Inputs,
    deadline: Instant,
) -> Result<Finished, JobError> {
    // Before any comparing: whether the answer can be had must not depend on who is in the pictures.
    if context.engine.liveness_model().is_none() {
        return Err(failed(
            "liveness_unavailable",
            "the models in use test no liveness: the operator must restore `[liveness]` in the manifest",
        ));
    }
    let mode = params.mode();
    let gallery = inputs.all(ImageRole::Reference);
    let (probe, looked) = tokio::join!(
        look(context, inputs.image(ImageRole::Probe), mode, deadline),
        // As many at once as the engine takes: the others wait at its door.
        join_all(gallery.map(async |it| (it.position, look(context, it.bytes.clone(), mode, deadline).await))),
    );
    let probe = probe?;
    let mut evidence = Evidence { images: vec![probe.report(ImageRole::Probe, 0)], ..Evidence::default() };
    let mut compute_ms = probe.compute_ms();
    for (position, looked) in looked {
        let looked = looked?;
        compute_ms += looked.compute_ms();
        evidence.images.push(looked.report(ImageRole::Reference, position));
        let comparison = compare(context, &looked, &probe, mode)?;
        evidence.gallery_scores.push(comparison.as_ref().map(|it| it.similarity));
        let best = evidence.comparison.as_ref().map(|it| it.similarity);
        if comparison.as_ref().map(|it| it.similarity) > best {
            evidence.comparison = comparison;
        }
    }
    evidence.compute_ms = rounded_ms(compute_ms);
    if policy::wants_liveness(params, evidence.comparison.as_ref()) {
        evidence.liveness = liveness(context, inputs.image(ImageRole::Probe), &probe, deadline).await?;
    }
    Ok(Finished::plain(policy::decide(params.clone(), evidence)))
}
