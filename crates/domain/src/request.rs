//! Requests as they come over the wire: JSON in, a [`Submission`] that needs no further check out. One file a form.
//!
//! Every refusal has a stable code, names the field at fault and says what to do; none quotes a value.

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

/// What a caller may leave out, and how much may be sent: the deployment's, then the organisation's.
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
    /// Likewise, of selfies that were taken on it.
    pub liveness_min_by_os: BTreeMap<CaptureOs, Threshold>,
    /// Of `face_match`, which does not say on what a selfie was taken.
    pub report_liveness_min: Threshold,
    pub liveness: LivenessPolicy,
    pub mode: Mode,
    /// Bytes of one decoded image.
    pub max_image_bytes: usize,
    /// Bytes of a decoded video, or of all frames together.
    pub max_video_bytes: usize,
    /// For thresholds that are given as a false match rate; none: they are refused.
    pub rates: Option<Rates>,
}

impl Default for Defaults {
    fn default() -> Self {
        let at = |value| Threshold::new(value).unwrap_or_else(|_| unreachable!("a constant within [0, 1]"));
        Self {
            threshold: at(0.75),
            id_match: at(0.75),
            approve: at(0.75),
            review: at(0.60),
            compare_min: at(0.85),
            liveness_min: at(0.60),
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
    /// These defaults where an organisation has no preference of its own.
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

    /// What most forms take.
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
    /// For people; never holds a value that was sent.
    pub message: String,
}

/// The shapes in which a request may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The job API's and AMQP's: every kind in one envelope.
    Native,
    LikenessCheck,
    IdMatch,
    FaceMatch,
    CompareWithLiveness,
}

impl Form {
    /// Distinguishes requests of different forms under one idempotency key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::LikenessCheck => "likeness_check",
            Self::IdMatch => "id_match",
            Self::FaceMatch => "face_match",
            Self::CompareWithLiveness => "compare_with_liveness",
        }
    }

    /// The largest body, in bytes: the form's images in Base64, which takes a third more, and room for the rest.
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

/// Reads a request. Takes little more memory than the body and its decoded images, whatever the body holds.
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

/// What the fields of a kind ask for, whatever form is around them.
struct ParsedRequest {
    params: JobParams,
    images: Vec<SubmittedImage>,
    id_number: Option<IdNumber>,
    challenge: Option<SentChallenge>,
}

impl ParsedRequest {
    /// Of a form that has nothing else.
    fn submission(self, lane: Lane) -> Submission {
        let Self { params, images, id_number, challenge } = self;
        Submission { params, lane, metadata: BTreeMap::new(), images, id_number, challenge }
    }
}

/// Reads the body `{"image": ...}` of an upload: the image in Base64, or a data URL.
///
/// # Errors
/// The first fault found.
pub fn parse_upload(body: &[u8], max_bytes: usize) -> Result<Bytes, RequestFault> {
    let mut fields = fields::Fields::of(body)?;
    let bytes = images::inline_bytes(fields::required(fields.take("image")?, "image")?, "image", max_bytes)?;
    fields.refuse_rest()?;
    Ok(bytes)
}

fn fault(code: &'static str, field: Option<&str>, message: String) -> RequestFault {
    RequestFault { code, field: field.map(str::to_owned), message }
}
