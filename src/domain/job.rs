//! What a job is: its kind and settings, its lane, its states and its verdict.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::evidence::{Mode, Threshold};
use super::image::{ImageFormat, ImageRole};

/// The settings of a job by its kind, as stored: thresholds are resolved, images are elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Params {
    /// One threshold: passed at or above it.
    LikenessCheck { threshold: Threshold, mode: Mode },
    /// Two thresholds: approved at or above one, rejected below the other, reviewed between.
    FaceMatch { approve: Threshold, review: Threshold, mode: Mode },
}

impl Params {
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LikenessCheck { .. } => "likeness_check",
            Self::FaceMatch { .. } => "face_match",
        }
    }

    /// What the request calls the image of that role.
    #[must_use]
    pub fn field(&self, role: ImageRole) -> &'static str {
        match (self, role) {
            (Self::LikenessCheck { .. }, ImageRole::Reference) => "photo",
            (Self::LikenessCheck { .. }, ImageRole::Probe) => "probe_image",
            (Self::FaceMatch { .. }, ImageRole::Reference) => "source_image",
            (Self::FaceMatch { .. }, ImageRole::Probe) => "target_image",
        }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        match *self {
            Self::LikenessCheck { mode, .. } | Self::FaceMatch { mode, .. } => mode,
        }
    }
}

/// Which queue a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// Nobody waits; never starved.
    Bulk,
}

impl Lane {
    /// Every lane, the one that is served first in front.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }

    /// The lane of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.name() == name)
    }
}

/// What a finished comparison came to, for every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Approved,
    InReview,
    Rejected,
    /// No verdict could be reached: the warnings say why.
    NotFinished,
}

impl Verdict {
    /// As stored, and as in routing keys and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::InReview => "in_review",
            Self::Rejected => "rejected",
            Self::NotFinished => "not_finished",
        }
    }

    /// As the report spells it.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Self::Approved => "Approved",
            Self::InReview => "In Review",
            Self::Rejected => "Rejected",
            Self::NotFinished => "Not Finished",
        }
    }
}

/// A request that has been read and found good: what `intake` stores.
#[derive(Clone)]
pub struct Submission {
    pub params: Params,
    pub lane: Lane,
    /// Up to 16 strings of the caller's, given back untouched.
    pub metadata: BTreeMap<String, String>,
    pub reference: SubmittedImage,
    pub probe: SubmittedImage,
}

impl Submission {
    /// The images with their parts, reference first.
    #[must_use]
    pub fn images(&self) -> [(ImageRole, &SubmittedImage); 2] {
        [(ImageRole::Reference, &self.reference), (ImageRole::Probe, &self.probe)]
    }
}

/// Biometric: has no `Debug`, so that it cannot reach a log.
#[derive(Clone)]
pub struct SubmittedImage {
    pub format: ImageFormat,
    pub bytes: Bytes,
}

/// Why a job ended as `failed`: a machine's fault, never the picture's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub detail: String,
}
