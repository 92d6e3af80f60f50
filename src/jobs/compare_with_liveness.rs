//! `compare_with_liveness`: finds the best match in a gallery, then tests the probe's liveness if the comparison
//! passed.

use std::time::Instant;

use futures_util::future::join_all;

use super::{Context, Finished, Inputs, JobError, analyse, compare, failed, liveness, rounded_ms};
use crate::domain::image::ImageRole;
use crate::domain::job::JobParams;
use crate::domain::policy::{self, Evidence};

pub(super) async fn run(
    context: &Context,
    params: &JobParams,
    inputs: &Inputs,
    deadline: Instant,
) -> Result<Finished, JobError> {
    // Checked before any comparison, so that this failure does not depend on who is in the pictures.
    if context.engine.liveness_model().is_none() {
        return Err(failed(
            "liveness_unavailable",
            "the models in use test no liveness: the operator must restore `[liveness]` in the manifest",
        ));
    }
    let mode = params.mode();
    let gallery = inputs.all(ImageRole::Reference);
    let (probe, analysed) = tokio::join!(
        analyse(context, inputs.image(ImageRole::Probe), mode, deadline),
        // All are submitted at once. The engine takes as many as it can, and the others wait.
        join_all(
            gallery.map(async |image| (image.position, analyse(context, image.bytes.clone(), mode, deadline).await))
        ),
    );
    let probe = probe?;
    let mut evidence = Evidence { images: vec![probe.report(ImageRole::Probe, 0)], ..Evidence::default() };
    let mut compute_ms = probe.compute_ms();
    for (position, image) in analysed {
        let image = image?;
        compute_ms += image.compute_ms();
        evidence.images.push(image.report(ImageRole::Reference, position));
        let comparison = compare(context, &image, &probe, mode)?;
        evidence.gallery_scores.push(comparison.as_ref().map(|comparison| comparison.similarity));
        let best = evidence.comparison.as_ref().map(|comparison| comparison.similarity);
        if comparison.as_ref().map(|comparison| comparison.similarity) > best {
            evidence.comparison = comparison;
        }
    }
    evidence.compute_ms = rounded_ms(compute_ms);
    if policy::wants_liveness(params, evidence.comparison.as_ref()) {
        evidence.liveness = liveness(context, inputs.image(ImageRole::Probe), &probe, deadline).await?;
    }
    Ok(Finished::plain(policy::decide(params.clone(), evidence)))
}
