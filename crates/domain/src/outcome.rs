//! What a job came to, with the evidence it rests on; stored as the job's result.

use serde::{Deserialize, Serialize};

use super::challenge::ChallengeAnswer;
use super::evidence::{Liveness, Mode, RawScore, Similarity};
use super::frames::FrameSummary;
use super::image::ImageRole;
use super::job::{JobParams, Verdict};
use super::provenance::Provenance;
use super::quality::Quality;
use super::warning::{Risk, Warning};

/// A finished job's result. Holds no image, no embedding and nothing of an identity record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The settings that were applied.
    pub params: JobParams,
    /// The best one, of several; absent when no pair of images had two usable faces.
    pub comparison: Option<Comparison>,
    /// One entry an image of a gallery: its similarity, or nothing where no face was found in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gallery_scores: Vec<Option<Similarity>>,
    /// Absent when it was not tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Liveness>,
    /// What was seen in each image that was looked at; of a video, in the frame that was compared.
    #[serde(default)]
    pub images: Vec<ImageReport>,
    /// Of a probe of several frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameSummary>,
    /// Absent without a challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ChallengeAnswer>,
    pub warnings: Vec<Warning>,
    /// Milliseconds of computing, all images together.
    pub compute_ms: f64,
    /// Made up for a test key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
}

impl Outcome {
    /// Whether a warning of that risk was given.
    #[must_use]
    pub fn has(&self, risk: Risk) -> bool {
        self.warnings.iter().any(|it| it.risk == risk)
    }

    /// The report on the probe that was compared; where none was, on the first that was looked at.
    #[must_use]
    pub fn probe(&self) -> Option<&ImageReport> {
        compared_probe(&self.images, self.frames.as_ref())
    }

    /// The report on one image.
    #[must_use]
    pub fn image(&self, role: ImageRole, position: u16) -> Option<&ImageReport> {
        self.images.iter().find(|it| it.role == role && it.position == position)
    }
}

pub(super) fn compared_probe<'a>(images: &'a [ImageReport], frames: Option<&FrameSummary>) -> Option<&'a ImageReport> {
    let best = frames.and_then(|it| it.best);
    images.iter().find(|it| it.role == ImageRole::Probe && best.is_none_or(|best| it.position == best))
}

/// Two faces held against each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the model said.
    pub raw: RawScore,
    /// What it means.
    pub similarity: Similarity,
    pub mode: Mode,
    /// `name@version`.
    pub model: String,
    /// `name@version`.
    pub calibration: String,
}

/// What was seen in one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageReport {
    pub role: ImageRole,
    /// Counted from 0 within the role.
    pub position: u16,
    pub seen: ImageFinding,
}

/// What an image showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFinding {
    /// The image could not be read: a stable code, and a sentence for people.
    Unreadable { code: String, reason: String },
    /// It was read.
    Picture {
        /// Pixels across and down, once upright.
        width: u32,
        height: u32,
        /// Faces found.
        faces: u32,
        /// The box of the face that was compared: left, top, right, bottom in pixels of the upright picture.
        face: Option<[f64; 4]>,
        /// How well that face was captured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quality: Option<Quality>,
        /// What the file says of its making, where that was not by a camera.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provenance: Option<Provenance>,
    },
}

impl ImageFinding {
    /// Faces found; none where the image could not be read.
    #[must_use]
    pub fn faces(&self) -> u32 {
        match self {
            Self::Unreadable { .. } => 0,
            Self::Picture { faces, .. } => *faces,
        }
    }
}
