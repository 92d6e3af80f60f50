//! Warnings of a report, for reviewers and for the person who took the photo.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::RequestId;
use super::job::JobState;

/// How serious a warning is. A job with an `error` is never approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogType {
    Information,
    Warning,
    Error,
}

/// The subject of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Risk {
    LowFaceMatchSimilarity,
    NoFaceDetected,
    MultipleFacesDetected,
    InvalidImage,
    LowLivenessScore,
    LivenessFaceAttack,
    InsufficientContext,
    LivenessNotPerformed,
    IdNotFound,
    LowResolution,
    LowFaceQuality,
    FaceTooSmall,
    ExtremePose,
    FaceOccluded,
    FaceAtEdge,
    EyesClosed,
    MouthOpen,
    FramesInconsistent,
    ChallengeFailed,
    DuplicatedImage,
    ImageEdited,
    Screenshot,
    Blurred,
    PoorLighting,
    ProcessingFailed,
    InProgress,
    Erased,
}

/// One warning, in the report's own fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    pub risk: Risk,
    /// The name of the image in the request, and the measured value.
    pub additional_data: Option<String>,
    pub log_type: LogType,
    pub short_description: String,
    pub long_description: String,
}

impl Warning {
    /// The similarity is below the threshold. Both are in percent.
    #[must_use]
    pub fn low_similarity(score: f64, threshold: f64) -> Self {
        Self::new(
            Risk::LowFaceMatchSimilarity,
            LogType::Warning,
            Some(format!("score={score:.2} threshold={threshold:.2}")),
            "Low face match similarity",
            "The facial features of the two images do not closely match, which suggests a potential identity mismatch.",
        )
    }

    #[must_use]
    pub fn no_face(image: &str) -> Self {
        Self::new(
            Risk::NoFaceDetected,
            LogType::Error,
            Some(format!("image={image}")),
            "No face detected",
            "No face was found in this image. Retake it with the whole face in view, in even light.",
        )
    }

    /// `dominance` is the share of the compared face among the two most prominent ones, in [0, 1].
    #[must_use]
    pub fn several_faces(image: &str, count: u32, dominance: Option<f64>) -> Self {
        Self::new(
            Risk::MultipleFacesDetected,
            LogType::Warning,
            Some(match dominance {
                Some(dominance) => format!("image={image} faces={count} dominance={dominance:.2}"),
                None => format!("image={image} faces={count}"),
            }),
            "Several faces detected",
            "More than one face was found in this image; the most prominent one was compared.",
        )
    }

    /// `reason` is a sentence for people. It must not quote the image.
    #[must_use]
    pub fn invalid_image(image: &str, code: &str, reason: &str) -> Self {
        Self::new(
            Risk::InvalidImage,
            LogType::Error,
            Some(format!("image={image} code={code}: {reason}")),
            "Image could not be read",
            "This file could not be used. Send a whole JPEG, PNG or WebP file, or an MP4 or WebM for a video, as \
             the camera made it.",
        )
    }

    /// The liveness score is too low. Both numbers are in [0, 1].
    #[must_use]
    pub fn low_liveness(score: f64, threshold: f64, image: &str) -> Self {
        Self::new(
            Risk::LowLivenessScore,
            LogType::Warning,
            Some(format!("image={image} liveness_score={score:.2} threshold={threshold:.2}")),
            "Low liveness score",
            "It is uncertain whether a living person was in front of the camera. Retake the selfie in even light \
             and send it uncropped.",
        )
    }

    /// The picture shows less around the face than the model needs. Both numbers are in sides of the face.
    #[must_use]
    pub fn insufficient_context(image: &str, context: f64, wanted: f64) -> Self {
        Self::new(
            Risk::InsufficientContext,
            LogType::Warning,
            Some(format!("image={image} context={context:.2} wanted={wanted:.2}")),
            "Too little around the face",
            "The image shows too little around the face to tell a living person from a photo of one. Send the \
             selfie as the camera took it, uncropped.",
        )
    }

    /// The model takes the picture for an attack.
    #[must_use]
    pub fn liveness_attack(score: f64, image: &str) -> Self {
        Self::new(
            Risk::LivenessFaceAttack,
            LogType::Error,
            Some(format!("image={image} liveness_score={score:.2}")),
            "Presentation attack suspected",
            "The image looks like a photo of a print or a screen rather than of a living person. Take a new selfie \
             in colour and even light, and send it as the camera made it.",
        )
    }

    /// The frames do not show the actions of the challenge. `data` says what they show.
    #[must_use]
    pub fn challenge_failed(data: String) -> Self {
        Self::new(
            Risk::ChallengeFailed,
            LogType::Error,
            Some(data),
            "Challenge not met",
            "The frames do not show the actions that were asked for, each once and in their order, made by a face \
             with depth. Take a new challenge and record again: turn by about 30 degrees, look straight between two \
             actions, hold each for a second, and do not speak.",
        )
    }

    /// The same picture was compared with another picture or number before: in `jobs` jobs, the last of them `request`.
    #[must_use]
    pub fn duplicated_image(image: &str, jobs: usize, request: &RequestId) -> Self {
        Self::new(
            Risk::DuplicatedImage,
            LogType::Warning,
            Some(format!("image={image} jobs={jobs} latest={request}")),
            "Image sent before",
            "This image, or one that is all but the same, was sent before with another picture or number to compare \
             with. If that was not the same person again, ask for a new one, taken now.",
        )
    }

    /// No source has a portrait for the number.
    #[must_use]
    pub fn id_not_found() -> Self {
        Self::new(
            Risk::IdNotFound,
            LogType::Error,
            None,
            "ID not found",
            "The source of this ID type has no photo for this number. Check the number and the ID type.",
        )
    }

    #[must_use]
    pub fn liveness_not_performed() -> Self {
        Self::new(
            Risk::LivenessNotPerformed,
            LogType::Information,
            None,
            "Liveness not performed",
            "Liveness was not tested, so this result does not say whether a living person was in front of the camera.",
        )
    }

    /// The shorter side has fewer pixels than a report should show.
    #[must_use]
    pub fn low_resolution(image: &str, (width, height): (u32, u32), wanted: u32) -> Self {
        Self::new(
            Risk::LowResolution,
            LogType::Information,
            Some(format!("image={image} width={width} height={height} wanted={wanted}")),
            "Low resolution",
            "The shorter side of this image has fewer pixels than wanted, so it is shown as it was sent. Retake it \
             closer, or with a better camera.",
        )
    }

    /// The job was erased: only its verdict is left.
    #[must_use]
    pub fn erased() -> Self {
        Self::new(
            Risk::Erased,
            LogType::Information,
            None,
            "Erased",
            "The images and the result of this job were erased on request; its verdict alone was kept.",
        )
    }

    #[must_use]
    pub fn processing_failed(code: &str) -> Self {
        Self::new(
            Risk::ProcessingFailed,
            LogType::Error,
            Some(format!("code={code}")),
            "Processing failed",
            "The comparison could not be finished because of a fault on our side. Submit it again, under a new \
             idempotency key.",
        )
    }

    /// The job has no verdict yet.
    #[must_use]
    pub fn in_progress(state: JobState) -> Self {
        Self::new(
            Risk::InProgress,
            LogType::Information,
            Some(format!("state={}", state.name())),
            "Still in progress",
            "The comparison has not ended yet. Ask again, or wait with ?wait=30.",
        )
    }

    pub(super) fn new(risk: Risk, log_type: LogType, additional_data: Option<String>, short: &str, long: &str) -> Self {
        Self { risk, additional_data, log_type, short_description: short.to_owned(), long_description: long.to_owned() }
    }
}
