//! Compare with liveness: a probe, a gallery, and two minimal scores.

use serde_json::value::RawValue;

use super::fields::{Fields, Items, read, required, search_mode};
use super::images::{ImageLimits, image, read_image};
use super::thresholds::bounded;
use super::{Defaults, ParsedRequest, RequestFault, fault};
use crate::image::ImageRole;
use crate::job::{JobParams, Lane, Submission, SubmittedImage};

/// The most images that a gallery may have.
const MAX_GALLERY: usize = 32;
/// Bounds of `compare_min_score`, as in the original product.
const COMPARE_MIN: (f64, f64) = (0.67, 0.95);
/// Bounds of `liveness_min_score`, as in the original product.
const LIVENESS_MIN: (f64, f64) = (0.52, 1.0);

/// Parses its own form. Unknown fields are ignored, as in the original product.
pub(super) fn parse(body: &[u8], lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut request = Fields::of(body)?;
    let limits = ImageLimits { uploads: false, ..defaults.any_image() };
    Ok(parse_fields(&mut request, defaults, limits)?.submission(lane))
}

/// The fields of this kind in a native request.
pub(super) const FIELDS: &[&str] =
    &["os", "probe", "gallery", "search_mode", "compare_min_score", "liveness_min_score"];

/// Parses the fields of either form.
pub(super) fn parse_fields(
    request: &mut Fields<'_>,
    defaults: &Defaults,
    limits: ImageLimits,
) -> Result<ParsedRequest, RequestFault> {
    // Missing fields are reported first, in this order.
    for field in ["os", "probe", "gallery", "search_mode"] {
        if !request.has(field) {
            let path = request.path(field);
            return Err(fault("missing_field", Some(&path), format!("{path} is required")));
        }
    }
    let path = request.path("os");
    let os = read(required(request.take("os")?, &path)?)
        .ok_or_else(|| fault("invalid_os", Some(&path), "os must be DESKTOP, IOS or ANDROID".to_owned()))?;
    let mode = search_mode(request)?.unwrap_or(defaults.mode);
    let compare_min = bounded(request, "compare_min_score", COMPARE_MIN, defaults.compare_min)?;
    let default = defaults.liveness_min_by_os.get(&os).copied().unwrap_or(defaults.liveness_min);
    let liveness_min = bounded(request, "liveness_min_score", LIVENESS_MIN, default)?;
    let mut images = gallery(request, limits)?;
    images.push(image(request, "probe", ImageRole::Probe, limits)?);
    let params = JobParams::CompareWithLiveness { compare_min, liveness_min, os, mode };
    Ok(ParsedRequest { params, images, id_number: None, challenge: None })
}

fn gallery(request: &mut Fields<'_>, limits: ImageLimits) -> Result<Vec<SubmittedImage>, RequestFault> {
    let path = request.path("gallery");
    let value = required(request.take("gallery")?, &path)?;
    let items: Option<Items<'_, MAX_GALLERY>> = read(value);
    let Some(Items(items)) = items.filter(|items| !items.0.is_empty()) else {
        return Err(fault("invalid_gallery", Some(&path), format!("{path} must be an array of 1 to 32 images")));
    };
    let image = |(position, value): (u16, &&RawValue)| {
        read_image(value, format!("{path}[{position}]"), ImageRole::Reference, position, limits)
    };
    (0..).zip(&items).map(image).collect()
}
