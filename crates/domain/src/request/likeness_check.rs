//! The likeness check: a reference, a probe and one threshold.

use super::fields::{Fields, search_mode};
use super::images::{ImageLimits, image};
use super::thresholds::{RateLookup, Spelling, plain_threshold, threshold};
use super::{Defaults, ParsedRequest, RequestFault};
use crate::image::ImageRole;
use crate::job::{JobParams, Lane, Submission, SubmittedImage};

/// Bytes of one decoded image in its own form, whose product takes no larger ones.
pub const MAX_IMAGE: usize = 5_000_000;

/// Its own form: JPEG and PNG alone. Further fields are its clients' business.
pub(super) fn parse(body: &[u8], lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut request = Fields::of(body)?;
    let limits = ImageLimits { max_bytes: MAX_IMAGE.min(defaults.max_image_bytes), webp: false, uploads: false };
    let images = images(&mut request, limits)?;
    let threshold = plain_threshold(&mut request, "similarity_threshold", defaults.threshold)?;
    let params = JobParams::LikenessCheck { threshold, mode: defaults.mode };
    Ok(ParsedRequest { params, images, id_number: None, challenge: None }.submission(lane))
}

/// As a part of a native request.
pub(super) fn asked(request: &mut Fields<'_>, defaults: &Defaults) -> Result<ParsedRequest, RequestFault> {
    let mode = search_mode(request)?.unwrap_or(defaults.mode);
    let spelling = Spelling { field: "similarity_threshold", scale: 1.0, default: defaults.threshold };
    let threshold = threshold(request, &spelling, RateLookup { rates: defaults.rates.as_ref(), mode })?;
    let images = images(request, defaults.any_image())?;
    Ok(ParsedRequest { params: JobParams::LikenessCheck { threshold, mode }, images, id_number: None, challenge: None })
}

fn images(request: &mut Fields<'_>, limits: ImageLimits) -> Result<Vec<SubmittedImage>, RequestFault> {
    Ok(vec![
        image(request, "photo", ImageRole::Reference, limits)?,
        image(request, "probe_image", ImageRole::Probe, limits)?,
    ])
}
