//! Jobs of test keys. They use no model, no identity source and no money. Their outcomes follow from magic inputs
//! alone.

use serde_json::{Map, json};

use super::{Finished, Inputs, JobError, failed};
use crate::domain::evidence::{Judgement, Liveness, RawScore, Similarity};
use crate::domain::frames::FrameSummary;
use crate::domain::identity::{IdType, IdentityRecord};
use crate::domain::image::ImageRole;
use crate::domain::job::{JobParams, LiveCapture, VIDEO_FRAME};
use crate::domain::motion::MotionLimits;
use crate::domain::outcome::{Comparison, ImageFinding, ImageReport};
use crate::domain::policy::{self, Evidence};
use crate::domain::sandbox::{Directives, Holder, MODEL};

/// Makes up a job's outcome. `attempt` is 1 for the first. A delay that was asked for is due at the first claim: a job
/// that waits holds nothing in the worker, so no test key can keep another's jobs waiting.
///
/// # Errors
/// When the inputs ask for it.
pub fn run(params: &JobParams, inputs: &Inputs, attempt: i32, is_first_claim: bool) -> Result<Finished, JobError> {
    let probe = Directives::read(&inputs.image(ImageRole::Probe));
    if is_first_claim && !probe.delay.is_zero() {
        return Err(JobError::Later(probe.delay));
    }
    if probe.fail {
        return Err(failed("sandbox_failure", "the sandbox was asked to fail"));
    }
    if attempt <= probe.retry {
        return Err(JobError::Sandbox);
    }
    // No frame is taken out of a video here, so that none can be shown.
    let position =
        if matches!(params, JobParams::FaceMatch { target: LiveCapture::Video, .. }) { VIDEO_FRAME } else { 0 };
    let mut evidence = Evidence { images: vec![report(ImageRole::Probe, position, &probe)], ..Evidence::default() };
    match params {
        JobParams::IdMatch { id_type, .. } => return id_match(params, *id_type, inputs, attempt, &probe, evidence),
        JobParams::CompareWithLiveness { .. } => {
            for image in inputs.all(ImageRole::Reference) {
                let reference = Directives::read(&image.bytes);
                evidence.images.push(report(ImageRole::Reference, image.position, &reference));
                // Either image can lower the score of the pair.
                let similarity = reference.similarity.min(probe.similarity);
                let comparison = comparison(params, [&reference, &probe], similarity)?;
                evidence.gallery_scores.push(comparison.as_ref().map(|comparison| comparison.similarity));
                let best = evidence.comparison.as_ref().map(|comparison| comparison.similarity);
                if comparison.as_ref().map(|comparison| comparison.similarity) > best {
                    evidence.comparison = comparison;
                }
            }
        }
        JobParams::LikenessCheck { .. } | JobParams::FaceMatch { .. } => {
            if !matches!(
                params,
                JobParams::LikenessCheck { .. } | JobParams::FaceMatch { target: LiveCapture::Image, .. }
            ) {
                let looked_at = u16::try_from(inputs.all(ImageRole::Probe).count()).unwrap_or(u16::MAX);
                let best = (probe.faces > 0 && !probe.unreadable).then_some(position);
                let actions = match params {
                    JobParams::FaceMatch { challenge, .. } if !probe.challenge_failed => challenge.clone(),
                    _ => Vec::new(),
                };
                let least_similarity = best.map(|_| 1.0);
                let parallax = (!actions.is_empty()).then(|| MotionLimits::default().solid);
                evidence.frames = Some(FrameSummary {
                    best,
                    looked_at,
                    least_similarity,
                    actions,
                    parallax,
                    ..FrameSummary::default()
                });
            }
            let reference = Directives::read(&inputs.image(ImageRole::Reference));
            evidence.images.insert(0, report(ImageRole::Reference, 0, &reference));
            let similarity = reference.similarity.min(probe.similarity);
            evidence.comparison = comparison(params, [&reference, &probe], similarity)?;
        }
    }
    if policy::wants_liveness(params, evidence.comparison.as_ref()) {
        evidence.liveness = Some(liveness(&probe)?);
    }
    Ok(finished(params, evidence, None))
}

fn id_match(
    params: &JobParams,
    id_type: IdType,
    inputs: &Inputs,
    attempt: i32,
    probe: &Directives,
    mut evidence: Evidence,
) -> Result<Finished, JobError> {
    let holder = inputs.id_number.as_ref().map_or(Holder::Found, Holder::of);
    let similarity = match holder {
        Holder::SourceDown if attempt == 1 => return Err(JobError::Sandbox),
        Holder::SourceRefuses => {
            return Err(failed("identity_source_refused", "the identity source refused the request"));
        }
        Holder::NotFound => {
            evidence.id_not_found = true;
            return Ok(finished(params, evidence, None));
        }
        Holder::SomebodyElse => 0.30,
        Holder::Borderline => 0.70,
        Holder::Found | Holder::SourceDown => probe.similarity,
    };
    let portrait = Directives::default();
    evidence.images.push(report(ImageRole::Reference, 0, &portrait));
    evidence.comparison = comparison(params, [&portrait, probe], similarity)?;
    let mut attributes = Map::new();
    for (name, value) in [
        ("first_name", "Ada"),
        ("last_name", "Example"),
        ("date_of_birth", "1990-01-31"),
        ("address", "1 Sandbox Street"),
        ("id_type", id_type.name()),
    ] {
        attributes.insert(name.to_owned(), json!(value));
    }
    Ok(finished(params, evidence, Some(IdentityRecord { attributes })))
}

fn finished(params: &JobParams, evidence: Evidence, identity: Option<IdentityRecord>) -> Finished {
    let mut outcome = policy::decide(params.clone(), evidence);
    outcome.sandbox = true;
    Finished { identity, ..Finished::plain(outcome) }
}

fn report(role: ImageRole, position: u16, directives: &Directives) -> ImageReport {
    let seen = if directives.unreadable {
        let reason = "the sandbox was asked not to read this image".to_owned();
        ImageFinding::Unreadable { code: "invalid_image".to_owned(), reason }
    } else {
        let face = (directives.faces > 0).then_some([160.0, 90.0, 480.0, 450.0]);
        ImageFinding::Picture {
            width: 960,
            height: 720,
            faces: directives.faces,
            face,
            quality: None,
            provenance: None,
        }
    };
    ImageReport { role, position, seen }
}

fn comparison(params: &JobParams, images: [&Directives; 2], similarity: f64) -> Result<Option<Comparison>, JobError> {
    if images.iter().any(|image| image.unreadable || image.faces == 0) {
        return Ok(None);
    }
    Ok(Some(Comparison {
        raw: RawScore::new(similarity).map_err(|_| JobError::Sandbox)?,
        similarity: Similarity::new(similarity).map_err(|_| JobError::Sandbox)?,
        mode: params.mode(),
        model: MODEL.to_owned(),
        calibration: MODEL.to_owned(),
    }))
}

fn liveness(probe: &Directives) -> Result<Liveness, JobError> {
    let judgement = match probe.liveness {
        _ if probe.spoof => Judgement::Spoof,
        score if score < 0.5 => Judgement::Uncertain,
        _ => Judgement::Live,
    };
    let score = if probe.spoof { probe.liveness.min(0.05) } else { probe.liveness };
    let score = Similarity::new(score).map_err(|_| JobError::Sandbox)?;
    Ok(Liveness { score, judgement, model: MODEL.to_owned(), raw_score: None, context: None, least_context: None })
}
