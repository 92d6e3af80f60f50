//! The facial similarity report: a document or its portrait; a live image, frames or a video; two thresholds in 0-100.

use serde_json::value::RawValue;

use super::fields::{Fields, Items, metadata, read, required, search_mode, string};
use super::images::{ImageLimits, image, read_image, read_video};
use super::thresholds::{RateLookup, Spelling, threshold};
use super::{Defaults, ParsedRequest, RequestFault, fault};
use crate::evidence::Threshold;
use crate::image::ImageRole;
use crate::job::{JobParams, Lane, LiveCapture, SentChallenge, Submission, SubmittedImage};

/// How many frames may be sent. One frame is an image; more than these should be sent as a video.
const FRAMES: std::ops::RangeInclusive<usize> = 2..=MAX_FRAMES;
const MAX_FRAMES: usize = 30;

/// Parses its own form.
pub(super) fn parse(body: &[u8], lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut request = Fields::of(body)?;
    request.refuse_unknown(&[FIELDS, &["metadata"]].concat())?;
    let metadata = metadata(request.take("metadata")?)?;
    Ok(Submission { metadata, ..parse_fields(&mut request, defaults)?.submission(lane) })
}

/// The fields of this kind in a native request.
pub(super) const FIELDS: &[&str] = &[
    "source_image",
    "target_image",
    "target_frames",
    "target_video",
    "challenge",
    "approve_score",
    "review_score",
    "search_mode",
];

/// Parses the fields of either form.
pub(super) fn parse_fields(request: &mut Fields<'_>, defaults: &Defaults) -> Result<ParsedRequest, RequestFault> {
    let mode = search_mode(request)?.unwrap_or(defaults.mode);
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
    let mut images = vec![image(request, "source_image", ImageRole::Reference, limits)?];
    let target = target(request)?;
    let path = request.path(target.field());
    let value = required(request.take(target.field())?, &path)?;
    match target {
        LiveCapture::Image => images.push(read_image(value, path, ImageRole::Probe, 0, limits)?),
        LiveCapture::Frames => images.extend(frames(value, &path, limits)?),
        LiveCapture::Video => images.push(read_video(value, path, defaults.max_video_bytes)?),
    }
    let challenge = challenge(request, target)?;
    let &Defaults { liveness, report_liveness_min: liveness_min, .. } = defaults;
    // The actions are known once the challenge is verified.
    let params = JobParams::FaceMatch { approve, review, target, liveness, liveness_min, challenge: Vec::new(), mode };
    Ok(ParsedRequest { params, images, id_number: None, challenge })
}

fn challenge(request: &mut Fields<'_>, target: LiveCapture) -> Result<Option<SentChallenge>, RequestFault> {
    let field = request.path("challenge");
    let Some(value) = request.take("challenge")? else { return Ok(None) };
    let token = string(value, &field)?.into_owned();
    if target == LiveCapture::Image {
        let message = format!("{field} needs frames that show its actions: send target_frames or target_video");
        return Err(fault("conflicting_fields", Some(&field), message));
    }
    Ok(Some(SentChallenge { field, token }))
}

/// The live capture that was sent. Without any, the error names the missing image.
fn target(request: &Fields<'_>) -> Result<LiveCapture, RequestFault> {
    let sent: Vec<_> = LiveCapture::ALL.iter().filter(|capture| request.has(capture.field())).collect();
    match sent.as_slice() {
        [] => Ok(LiveCapture::Image),
        [target] => Ok(**target),
        [.., last] => {
            let message = "send one of target_image, target_frames and target_video".to_owned();
            Err(fault("conflicting_fields", Some(&request.path(last.field())), message))
        }
    }
}

fn frames(value: &RawValue, path: &str, limits: ImageLimits) -> Result<Vec<SubmittedImage>, RequestFault> {
    let items: Option<Items<'_, MAX_FRAMES>> = read(value);
    let Some(Items(items)) = items.filter(|items| FRAMES.contains(&items.0.len())) else {
        let message =
            format!("{path} must be an array of 2 to {MAX_FRAMES} images, in the order in which they were taken");
        return Err(fault("invalid_frames", Some(path), message));
    };
    let frame = |(position, value): (u16, &&RawValue)| {
        read_image(value, format!("{path}[{position}]"), ImageRole::Probe, position, limits)
    };
    (0..).zip(&items).map(frame).collect()
}
