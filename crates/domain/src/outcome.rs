//! The outcome of a job with the evidence for it, stored as the job's result.

use serde::{Deserialize, Serialize};

use super::challenge::ChallengeAnswer;
use super::evidence::{Liveness, Mode, RawScore, Similarity};
use super::frames::FrameSummary;
use super::image::ImageRole;
use super::job::{JobParams, Verdict};
use super::provenance::Provenance;
use super::quality::Quality;
use super::warning::{Risk, Warning};

/// A finished job's result. It holds no image, no embedding and no part of an identity record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The settings that were applied.
    pub params: JobParams,
    /// The best comparison. Absent when no pair of images had two usable faces.
    pub comparison: Option<Comparison>,
    /// One entry for each gallery image: its similarity, or none where no face was found in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gallery_scores: Vec<Option<Similarity>>,
    /// Absent when liveness was not tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Liveness>,
    /// One report for each image that was analysed; for a video, one for the compared frame.
    #[serde(default)]
    pub images: Vec<ImageReport>,
    /// Present when the probe is several frames or a video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameSummary>,
    /// Absent without a challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ChallengeAnswer>,
    pub warnings: Vec<Warning>,
    /// Milliseconds of computing, all images together.
    pub compute_ms: f64,
    /// Whether the outcome was made up for a test key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
}

impl Outcome {
    /// Whether there is a warning about this risk.
    #[must_use]
    pub fn has(&self, risk: Risk) -> bool {
        self.warnings.iter().any(|warning| warning.risk == risk)
    }

    /// The report on the compared probe image, or on the first one when none was compared.
    #[must_use]
    pub fn probe(&self) -> Option<&ImageReport> {
        compared_probe(&self.images, self.frames.as_ref())
    }

    /// The report on one image.
    #[must_use]
    pub fn image(&self, role: ImageRole, position: u16) -> Option<&ImageReport> {
        self.images.iter().find(|report| report.role == role && report.position == position)
    }
}

pub(super) fn compared_probe<'a>(images: &'a [ImageReport], frames: Option<&FrameSummary>) -> Option<&'a ImageReport> {
    let best = frames.and_then(|frames| frames.best);
    images.iter().find(|report| report.role == ImageRole::Probe && best.is_none_or(|best| report.position == best))
}

/// The comparison of two faces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The model's own score.
    pub raw: RawScore,
    /// The calibrated score.
    pub similarity: Similarity,
    pub mode: Mode,
    /// `name@version`.
    pub model: String,
    /// `name@version`.
    pub calibration: String,
}

/// What was found in one image of the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageReport {
    pub role: ImageRole,
    /// Counted from 0 within the role.
    pub position: u16,
    pub seen: ImageFinding,
}

/// What an image shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFinding {
    /// The image could not be read: a stable code, and a sentence for people.
    Unreadable { code: String, reason: String },
    /// The image was read.
    Picture {
        /// Pixels across and down, after the image was turned upright.
        width: u32,
        height: u32,
        /// The number of faces.
        faces: u32,
        /// The box of the compared face: left, top, right, bottom in pixels of the upright picture.
        face: Option<[f64; 4]>,
        /// How well the compared face was captured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quality: Option<Quality>,
        /// How the file was made according to its metadata, when that was not by a camera.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provenance: Option<Provenance>,
    },
}

impl ImageFinding {
    /// The number of faces; 0 when the image could not be read.
    #[must_use]
    pub fn faces(&self) -> u32 {
        match self {
            Self::Unreadable { .. } => 0,
            Self::Picture { faces, .. } => *faces,
        }
    }
}
