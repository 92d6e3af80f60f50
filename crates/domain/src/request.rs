//! Parses requests: JSON in, a [`Submission`] that needs no further check out. There is one file for each form.
//!
//! Every refusal has a stable code, names the field at fault and says what to do. None quotes a value that was sent.

mod challenge;
mod compare_with_liveness;
mod face_match;
mod fields;
mod id_match;
mod images;
mod likeness_check;
mod native;
mod thresholds;

use std::collections::BTreeMap;

use bytes::Bytes;
use strum::IntoStaticStr;

use self::images::ImageLimits;
use super::capture_os::CaptureOs;
use super::evidence::{Mode, Threshold};
use super::identity::IdNumber;
use super::job::{JobParams, Lane, SentChallenge, Submission, SubmittedImage};
use super::rates::Rates;
use super::tenant::{LivenessPolicy, TenantSettings};

pub use challenge::{WantedChallenge, parse_challenge};
pub use id_match::MIN_SIDE;
pub use likeness_check::MAX_IMAGE;

/// Values for fields that a caller leaves out, and limits on what may be sent. The deployment's values come first; an
/// organisation's settings replace them.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Of `likeness_check`.
    pub threshold: Threshold,
    /// Of `id_match`.
    pub id_match: Threshold,
    /// Of `face_match`.
    pub approve: Threshold,
    /// Of `face_match`.
    pub review: Threshold,
    /// Of `compare_with_liveness`.
    pub compare_min: Threshold,
    /// Of `compare_with_liveness`.
    pub liveness_min: Threshold,
    /// Replaces `liveness_min` for selfies that were taken on that system.
    pub liveness_min_by_os: BTreeMap<CaptureOs, Threshold>,
    /// Of `face_match`, whose requests do not name the system that a selfie was taken on.
    pub report_liveness_min: Threshold,
    pub liveness: LivenessPolicy,
    pub mode: Mode,
    /// Bytes of one image after Base64 decoding.
    pub max_image_bytes: usize,
    /// Bytes of a video, or of all frames together, after Base64 decoding.
    pub max_video_bytes: usize,
    /// Turns thresholds given as a false match rate into similarities. Without it they are refused.
    pub rates: Option<Rates>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            threshold: Threshold::BALANCED,
            id_match: Threshold::BALANCED,
            approve: Threshold::BALANCED,
            review: Threshold::PERMISSIVE,
            compare_min: Threshold::STRICT,
            liveness_min: Threshold::LIVE_SELFIE,
            liveness_min_by_os: BTreeMap::new(),
            report_liveness_min: Threshold::LIVE,
            liveness: LivenessPolicy::default(),
            mode: Mode::Accurate,
            max_image_bytes: 10_000_000,
            max_video_bytes: 50_000_000,
            rates: None,
        }
    }
}

impl Defaults {
    /// These defaults with an organisation's settings in place of those that it sets.
    #[must_use]
    pub fn of(&self, settings: &TenantSettings) -> Self {
        Self {
            threshold: settings.similarity_threshold.unwrap_or(self.threshold),
            id_match: settings.id_match_threshold.unwrap_or(self.id_match),
            approve: settings.approve.unwrap_or(self.approve),
            review: settings.review.unwrap_or(self.review),
            liveness_min: settings.liveness_threshold.unwrap_or(self.liveness_min),
            liveness_min_by_os: settings.liveness_threshold_by_os.clone(),
            report_liveness_min: settings.liveness_threshold.unwrap_or(self.report_liveness_min),
            liveness: settings.liveness,
            mode: settings.mode.unwrap_or(self.mode),
            ..self.clone()
        }
    }

    /// The images that most forms take.
    fn any_image(&self) -> ImageLimits {
        ImageLimits { max_bytes: self.max_image_bytes, webp: true, uploads: true }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestFault {
    /// Stable, for programs.
    pub code: &'static str,
    /// The field at fault, as a path such as `request.photo`.
    pub field: Option<String>,
    /// For people. It never holds a value that was sent.
    pub message: String,
}

/// The forms in which a request may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Form {
    /// The form of `POST /v1/jobs` and of AMQP: every kind in one envelope.
    Native,
    LikenessCheck,
    IdMatch,
    FaceMatch,
    CompareWithLiveness,
}

impl Form {
    /// Part of the request hash, so that requests of different forms differ under one idempotency key.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The largest body in bytes. Base64 makes the form's images a third larger; the rest of the body needs little.
    #[must_use]
    pub fn max_body(self) -> usize {
        match self {
            // Two images of 5 MB; one of 10 MB.
            Self::LikenessCheck | Self::IdMatch => 14 << 20,
            // A video of 50 MB and an image of 10 MB; 33 images of 1.8 MB, or fewer larger ones.
            Self::Native | Self::FaceMatch | Self::CompareWithLiveness => LARGEST_BODY,
        }
    }
}

/// The largest body of any request.
pub const LARGEST_BODY: usize = 80 << 20;

/// Parses a request. Memory use is bounded by the body and its decoded images, whatever the body holds.
///
/// # Errors
/// The first fault found.
pub fn parse(form: Form, body: &[u8], default_lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    if body.len() > form.max_body() {
        let message = format!("the body must be at most {} bytes", form.max_body());
        return Err(fault("body_too_large", None, message));
    }
    match form {
        Form::Native => native::parse(body, default_lane, defaults),
        Form::LikenessCheck => likeness_check::parse(body, default_lane, defaults),
        Form::IdMatch => id_match::parse(body, default_lane, defaults),
        Form::FaceMatch => face_match::parse(body, default_lane, defaults),
        Form::CompareWithLiveness => compare_with_liveness::parse(body, default_lane, defaults),
    }
}

/// The fields of a kind, parsed; the same for its own form and inside a native request.
struct ParsedRequest {
    params: JobParams,
    images: Vec<SubmittedImage>,
    id_number: Option<IdNumber>,
    challenge: Option<SentChallenge>,
}

impl ParsedRequest {
    /// The submission of a form that has neither lane nor metadata.
    fn submission(self, lane: Lane) -> Submission {
        let Self { params, images, id_number, challenge } = self;
        Submission { params, lane, metadata: BTreeMap::new(), images, id_number, challenge }
    }
}

/// Parses the body `{"image": ...}` of an upload: the file in Base64, or a data URL.
///
/// # Errors
/// The first fault found.
pub fn parse_upload(body: &[u8], max_bytes: usize) -> Result<Bytes, RequestFault> {
    let mut fields = fields::Fields::of(body)?;
    fields.refuse_unknown(&["image"])?;
    let bytes = images::inline_bytes(fields::required(fields.take("image")?, "image")?, "image", max_bytes)?;
    Ok(bytes)
}

fn fault(code: &'static str, field: Option<&str>, message: String) -> RequestFault {
    RequestFault { code, field: field.map(str::to_owned), message }
}
