//! A job: its kind and settings, its lane, its states and its verdict.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use super::action::Action;
use super::capture_os::CaptureOs;
use super::evidence::{Mode, Threshold};
use super::identity::{IdNumber, IdType};
use super::ids::ImageId;
use super::image::{FileFormat, ImageRole};
use super::tenant::{LivenessPolicy, Service};

/// The settings of a job by its kind, as stored. Thresholds are resolved. Images and the ID number are stored
/// elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobParams {
    /// One threshold: approved at or above it.
    LikenessCheck { threshold: Threshold, mode: Mode },
    /// One threshold; the reference comes from the source of the ID type.
    IdMatch { id_type: IdType, threshold: Threshold, mode: Mode },
    /// Two thresholds: approved at or above one, rejected below the other, reviewed between them.
    FaceMatch {
        approve: Threshold,
        review: Threshold,
        #[serde(default)]
        target: LiveCapture,
        #[serde(default)]
        liveness: LivenessPolicy,
        /// A liveness score below it is doubtful.
        #[serde(default = "live")]
        liveness_min: Threshold,
        /// The actions that the challenge asked for; empty without a challenge.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        challenge: Vec<Action>,
        mode: Mode,
    },
    /// The best match in a gallery, then the probe's liveness.
    CompareWithLiveness { compare_min: Threshold, liveness_min: Threshold, os: CaptureOs, mode: Mode },
}

/// The value of jobs that were stored before the field existed.
fn live() -> Threshold {
    Threshold::LIVE
}

impl JobParams {
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.service().name()
    }

    /// The service that an organisation must have subscribed to.
    #[must_use]
    pub fn service(&self) -> Service {
        match self {
            Self::LikenessCheck { .. } => Service::LikenessCheck,
            Self::IdMatch { .. } => Service::IdMatch,
            Self::FaceMatch { .. } => Service::FaceMatch,
            Self::CompareWithLiveness { .. } => Service::CompareWithLiveness,
        }
    }

    /// The name of the request's field for the image of that role.
    #[must_use]
    pub fn field(&self, role: ImageRole) -> &'static str {
        match (self, role) {
            (Self::LikenessCheck { .. }, ImageRole::Reference) => "photo",
            (Self::LikenessCheck { .. }, ImageRole::Probe) => "probe_image",
            // The portrait comes from the source. No field of the request holds it.
            (Self::IdMatch { .. }, ImageRole::Reference) => "portrait",
            (Self::IdMatch { .. }, ImageRole::Probe) => "selfie",
            (Self::FaceMatch { .. }, ImageRole::Reference) => "source_image",
            (Self::FaceMatch { target, .. }, ImageRole::Probe) => target.field(),
            (Self::CompareWithLiveness { .. }, ImageRole::Reference) => "gallery",
            (Self::CompareWithLiveness { .. }, ImageRole::Probe) => "probe",
        }
    }

    /// The name of one image in the request: `gallery[2]` where there may be several. Frames of a video have its name.
    #[must_use]
    pub fn image_name(&self, role: ImageRole, position: u16) -> String {
        let field = self.field(role);
        if matches!(field, "gallery" | "target_frames") { format!("{field}[{position}]") } else { field.to_owned() }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        match *self {
            Self::LikenessCheck { mode, .. }
            | Self::IdMatch { mode, .. }
            | Self::FaceMatch { mode, .. }
            | Self::CompareWithLiveness { mode, .. } => mode,
        }
    }
}

/// How the live side of a report was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum LiveCapture {
    /// One image.
    #[default]
    Image,
    /// Several images, in the order in which they were taken. The best of them is compared.
    Frames,
    /// A video. The best of its frames is compared. The video is the probe at position 0, that frame the one at
    /// [`VIDEO_FRAME`].
    Video,
}

impl LiveCapture {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name of its field in the request.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Image => "target_image",
            Self::Frames => "target_frames",
            Self::Video => "target_video",
        }
    }
}

/// The position, among the probe's images, of the frame that was taken out of a video.
pub const VIDEO_FRAME: u16 = 1;

/// How urgent the sender says a job is. Live jobs wait in the queue of their lane; sandbox jobs have one queue for all
/// lanes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case")]
pub enum Lane {
    /// For callers who wait for the answer. Served first.
    Interactive,
    /// For jobs that nobody waits for. It still gets its share when the interactive lane is full.
    Bulk,
}

impl Lane {
    /// Every lane. The first is served first.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in requests and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// The state of a job. A worker claims a queued job, and ends a running one or gives it back. The sweeper fails a
/// running job that has no attempts left. Erasing a job that has not ended cancels it. A trigger in the database
/// refuses to change a job that has ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum JobState {
    /// It waits for a worker.
    Queued,
    /// A worker holds it.
    Running,
    /// It ended with a verdict.
    Succeeded,
    /// It ended without a verdict, by a machine's fault.
    Failed,
    /// It was erased before it ended.
    Cancelled,
}

impl JobState {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in the database, in answers and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Whether the job has ended: its state never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// The result of a finished comparison, for every kind.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    Approved,
    InReview,
    Rejected,
    /// The comparison could not be made. The warnings say why.
    NotFinished,
}

impl Verdict {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The name in the database, in routing keys and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A request that was parsed and found valid. `intake` stores it.
#[derive(Clone)]
pub struct Submission {
    pub params: JobParams,
    pub lane: Lane,
    /// Up to 16 strings from the caller, returned unchanged.
    pub metadata: BTreeMap<String, String>,
    pub images: Vec<SubmittedImage>,
    /// Present in `id_match` only.
    pub id_number: Option<IdNumber>,
    /// Present in a `face_match` of frames that answers a challenge. Not verified yet.
    pub challenge: Option<SentChallenge>,
}

/// A challenge as the caller returned it.
#[derive(Clone)]
pub struct SentChallenge {
    /// The field's path in the request, for errors.
    pub field: String,
    pub token: String,
}

/// One image of a request and its role.
#[derive(Clone)]
pub struct SubmittedImage {
    pub role: ImageRole,
    /// Counted from 0 within the role.
    pub position: u16,
    /// The field's path in the request, for errors.
    pub field: String,
    pub content: ImageContent,
}

/// Biometric data. It has no `Debug`, so that it cannot reach a log.
#[derive(Clone)]
pub enum ImageContent {
    Inline {
        format: FileFormat,
        bytes: Bytes,
    },
    /// An earlier upload of the same account: a video when `video` is set, else an image.
    Upload {
        id: ImageId,
        video: bool,
    },
}

/// Why a job ended as `failed`. The cause is always a fault of a machine, never of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name_everywhere() {
        for &state in JobState::ALL {
            assert_eq!(JobState::parse(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert_eq!(JobState::parse("expired"), None);
    }

    #[test]
    fn names_in_databases_and_messages_stay_as_they_are() {
        use crate::identity::IdType;
        use crate::review::{CaseState, Reason};
        use crate::tenant::{Scope, Service};

        let names = |names: &[&'static str]| names.join(" ");
        macro_rules! names_of {
            ($of:ty) => {
                names(&<$of>::ALL.iter().map(|item| item.name()).collect::<Vec<_>>())
            };
        }
        assert_eq!(names_of!(Lane), "interactive bulk");
        assert_eq!(names_of!(JobState), "queued running succeeded failed cancelled");
        assert_eq!(names_of!(Verdict), "approved in_review rejected not_finished");
        assert_eq!(names_of!(Action), "turn_left turn_right look_up look_down close_eyes open_mouth");
        assert_eq!(names_of!(Service), "likeness_check id_match face_match compare_with_liveness");
        assert_eq!(names_of!(Scope), "submit read erase billing webhooks");
        assert_eq!(names_of!(IdType), "nin bvn vnin drivers_license passport");
        assert_eq!(names_of!(CaseState), "waiting second disputed settling decided lapsed erased");
        let reasons =
            "same_person aged appearance_changed different_person not_live document_altered wrong_face too_poor other";
        assert_eq!(names_of!(Reason), reasons);
        assert_eq!(IdType::parse("Drivers_License"), Some(IdType::DriversLicense));
    }
}
