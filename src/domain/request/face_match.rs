//! The facial similarity report: a document or its portrait, a live image, and two thresholds from 0 to 100.

use super::fields::{Fields, metadata, search_mode};
use super::images::image;
use super::thresholds::{RateLookup, Spelling, threshold};
use super::{Asked, Defaults, RequestFault, fault};
use crate::domain::evidence::Threshold;
use crate::domain::image::ImageRole;
use crate::domain::job::{Lane, Params, Submission};

/// Its own form.
pub(super) fn parse(body: &[u8], lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut request = Fields::of(body)?;
    let metadata = metadata(request.take("metadata")?)?;
    let asked = asked(&mut request, defaults)?;
    request.refuse_rest()?;
    Ok(Submission { metadata, ..asked.submission(lane) })
}

/// As a part of a native request.
pub(super) fn asked(request: &mut Fields<'_>, defaults: &Defaults) -> Result<Asked, RequestFault> {
    let mode = search_mode(request)?.unwrap_or(defaults.mode);
    for field in ["target_frames", "target_video"] {
        if request.take(field)?.is_some() {
            let message = format!("{field} is not supported by this version: send one target_image");
            return Err(fault("unsupported_field", Some(&request.path(field)), message));
        }
    }
    let rates = RateLookup { rates: defaults.rates.as_ref(), mode };
    let approve = Spelling { field: "approve_score", scale: 100.0, default: defaults.approve };
    let approve = threshold(request, &approve, rates)?;
    let default = Threshold::min(defaults.review, approve);
    let review = threshold(request, &Spelling { field: "review_score", scale: 100.0, default }, rates)?;
    if review > approve {
        let message = "review_score must not be above approve_score".to_owned();
        return Err(fault("invalid_threshold", Some(&request.path("review_score")), message));
    }
    let limits = defaults.any_image();
    let images = vec![
        image(request, "source_image", ImageRole::Reference, limits)?,
        image(request, "target_image", ImageRole::Probe, limits)?,
    ];
    let params = Params::FaceMatch { approve, review, liveness: defaults.liveness, mode };
    Ok(Asked { params, images, id_number: None })
}
