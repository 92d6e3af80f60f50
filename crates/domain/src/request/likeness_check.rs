//! The likeness check: a reference, a probe and one threshold.

use super::fields::{Fields, search_mode};
use super::images::{ImageLimits, image};
use super::thresholds::{RateLookup, Spelling, plain_threshold, threshold};
use super::{Defaults, ParsedRequest, RequestFault};
use crate::image::ImageRole;
use crate::job::{JobParams, Lane, Submission, SubmittedImage};

/// Bytes of one image in its own form: the limit of the product whose format it follows.
pub const MAX_IMAGE: usize = 5_000_000;

/// Parses its own form, which takes JPEG and PNG only. Unknown fields are ignored, as in the original product.
pub(super) fn parse(body: &[u8], lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut request = Fields::of(body)?;
    let limits = ImageLimits { max_bytes: MAX_IMAGE.min(defaults.max_image_bytes), webp: false, uploads: false };
    let images = images(&mut request, limits)?;
    let threshold = plain_threshold(&mut request, "similarity_threshold", defaults.threshold)?;
    let params = JobParams::LikenessCheck { threshold, mode: defaults.mode };
    Ok(ParsedRequest { params, images, id_number: None, challenge: None }.submission(lane))
}

/// The fields of this kind in a native request.
pub(super) const FIELDS: &[&str] = &["photo", "probe_image", "similarity_threshold", "search_mode"];

/// Parses the fields of a native request.
pub(super) fn parse_fields(request: &mut Fields<'_>, defaults: &Defaults) -> Result<ParsedRequest, RequestFault> {
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
