//! The ID face match: a selfie and the number of a document, whose portrait the source of its type holds.

use super::fields::{Fields, required, search_mode, string};
use super::images::{ImageLimits, image};
use super::thresholds::{RateLookup, Spelling, plain_threshold, threshold};
use super::{Defaults, ParsedRequest, RequestFault, fault};
use crate::evidence::{Mode, Threshold};
use crate::identity::{IdNumber, IdType};
use crate::image::ImageRole;
use crate::job::{JobParams, Lane, Submission};

/// The shortest side of a selfie in its own form, in pixels.
pub const MIN_SIDE: u32 = 224;

/// Parses its own form. Unknown fields are ignored, as in the original product.
pub(super) fn parse(body: &[u8], lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut request = Fields::of(body)?;
    let threshold = plain_threshold(&mut request, "threshold", defaults.id_match)?;
    let limits = ImageLimits { uploads: false, ..defaults.any_image() };
    Ok(rest(&mut request, threshold, defaults.mode, limits)?.submission(lane))
}

/// The fields of this kind in a native request.
pub(super) const FIELDS: &[&str] = &["selfie", "id_type", "id_number", "threshold", "search_mode"];

/// Parses the fields of a native request.
pub(super) fn parse_fields(request: &mut Fields<'_>, defaults: &Defaults) -> Result<ParsedRequest, RequestFault> {
    let mode = search_mode(request)?.unwrap_or(defaults.mode);
    let spelling = Spelling { field: "threshold", scale: 1.0, default: defaults.id_match };
    let threshold = threshold(request, &spelling, RateLookup { rates: defaults.rates.as_ref(), mode })?;
    rest(request, threshold, mode, defaults.any_image())
}

fn rest(
    request: &mut Fields<'_>,
    threshold: Threshold,
    mode: Mode,
    limits: ImageLimits,
) -> Result<ParsedRequest, RequestFault> {
    let path = request.path("id_type");
    let id_type = string(required(request.take("id_type")?, &path)?, &path)?;
    let id_type = IdType::parse(&id_type).ok_or_else(|| {
        let message = "id_type must be nin, bvn, vnin, drivers_license or passport".to_owned();
        fault("unknown_id_type", Some(&path), message)
    })?;
    let path = request.path("id_number");
    let number = string(required(request.take("id_number")?, &path)?, &path)?;
    let number = IdNumber::parse(&number).ok_or_else(|| {
        let message = "id_number must have 1 to 64 printable characters".to_owned();
        fault("invalid_id_number", Some(&path), message)
    })?;
    let images = vec![image(request, "selfie", ImageRole::Probe, limits)?];
    Ok(ParsedRequest {
        params: JobParams::IdMatch { id_type, threshold, mode },
        images,
        id_number: Some(number),
        challenge: None,
    })
}
