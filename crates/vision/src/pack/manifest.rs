//! The description of a pack: `manifest.toml` of the default pack, or `packs/NAME.toml` of an optional pack. Both have
//! the same sections. An optional pack has only the sections that it replaces.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use strum::IntoStaticStr;

use super::fault::PackFault;
use super::files::{parse, read, read_verified};
use crate::detect::{Certainty, Decoding};
use crate::geometry::Point;
use crate::liveness::Resize;
use crate::model::Colour;

/// The file that describes the default pack.
pub(super) const MANIFEST: &str = "manifest.toml";

/// A pack's parts, and the networks that they use.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the pack.
    pub pack: String,
    /// Version of the pack.
    pub version: String,
    /// Finding faces.
    pub detection: Option<DetectionSection>,
    /// Finding the points of a face.
    pub landmarks: Option<LandmarksSection>,
    /// Comparing faces.
    pub modes: Option<ModesSection>,
    /// Testing liveness.
    pub liveness: Option<LivenessSection>,
    /// The networks.
    pub models: Vec<ModelEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionSection {
    /// Names of models. Each is used only if the one before it found no face that the landmark network confirms.
    pub detectors: Vec<String>,
    pub certainty: Certainty,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LandmarksSection {
    pub model: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModesSection {
    pub fast: ModeSection,
    pub accurate: ModeSection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeSection {
    /// A file beside the description.
    pub calibration: String,
    pub calibration_sha256: String,
    /// Models of this pack or of the default pack.
    pub embedders: Vec<EmbedderEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderEntry {
    pub model: String,
    pub weight: f64,
    #[serde(default)]
    pub mirrored: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivenessSection {
    /// The models. The weighted mean of their probabilities of `live` is used.
    pub models: Vec<LivenessEntry>,
    /// If present, this test is fused with the default pack's test instead of replacing it.
    pub fusion: Option<FusionSection>,
    /// score = sigmoid(logit + shift). The logit is that of the mean probability, or with `fusion` the weighted sum of
    /// the logits of both tests.
    pub shift: f64,
    /// A score below this is an attack.
    pub spoof_below: f64,
    /// The least context in which a picture can be judged: side of the largest possible crop, as a multiple of the side
    /// of the face's box.
    pub least_context: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivenessEntry {
    pub model: String,
    pub weight: f64,
}

/// Weights of the logits of two liveness tests in one score.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionSection {
    /// Weight of the pack's own test.
    pub own: f64,
    /// Weight of the default pack's test.
    pub default: f64,
}

/// One network.
#[derive(Debug, Deserialize)]
pub struct ModelEntry {
    /// Name of the network.
    pub name: String,
    /// Version of the network.
    pub version: String,
    /// Name of its file.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The licence. The user must accept it by name before an optional pack is downloaded.
    pub licence: String,
    /// Where it came from.
    pub origin: ModelOrigin,
    pub(super) input: InputEntry,
    pub(super) outputs: Vec<OutputEntry>,
    /// The fields `task` and `params`.
    #[serde(flatten)]
    pub(super) task: ModelTask,
}

/// The purpose of a network, and the parameters for it.
#[derive(Debug, Deserialize, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[serde(tag = "task", content = "params", rename_all = "lowercase")]
pub(super) enum ModelTask {
    Detector(DetectorParams),
    Landmarks(LandmarkParams),
    Embedder(EmbedderParams),
    Liveness(LivenessParams),
}

#[derive(Debug, Deserialize)]
pub(super) struct InputEntry {
    /// Name in the ONNX file.
    pub name: String,
    pub width: usize,
    pub height: usize,
    pub layout: String,
    pub colour: Colour,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// Sizes of the dimensions that the file leaves free, by their names in it.
    #[serde(default)]
    pub free: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutputEntry {
    /// Name in the code.
    pub name: String,
    /// Name in the ONNX file, if it differs.
    pub tensor: Option<String>,
    pub shape: Vec<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DetectorParams {
    #[serde(flatten)]
    pub decoding: Decoding,
    pub score_threshold: f64,
    pub nms_iou: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct LandmarkParams {
    pub roi_scale: f64,
    pub presence_threshold: f64,
    pub five_points: [Vec<usize>; 5],
}

#[derive(Debug, Deserialize)]
pub(super) struct EmbedderParams {
    pub template: [PointEntry; 5],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LivenessParams {
    pub scale: f64,
    pub resize: Resize,
    pub classes: usize,
    pub live: usize,
}

/// A point: x, then y.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct PointEntry([f64; 2]);

impl From<PointEntry> for Point {
    fn from(PointEntry([x, y]): PointEntry) -> Self {
        Self::new(x, y)
    }
}

/// Where a network came from.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ModelOrigin {
    /// A public repository. The file is downloaded from `url`.
    Address {
        /// Address of the file.
        url: String,
        /// Name of the repository.
        repository: String,
        /// Commit of the repository.
        commit: String,
    },
    /// A package from a registry. The scripts in `convert/` converted it.
    Package {
        /// `pypi` or `npm`.
        registry: String,
        /// Name of the package.
        package: String,
        /// Version of the package.
        version: String,
    },
    /// Trained by a script of this project.
    Trained {
        /// The script.
        trained_by: String,
    },
}

impl fmt::Display for ModelOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { repository, commit, .. } => {
                let commit = commit.get(..12).unwrap_or(commit);
                write!(f, "{repository} at {commit}")
            }
            Self::Package { registry, package, version } => write!(f, "{registry} {package} {version}"),
            Self::Trained { trained_by } => write!(f, "trained by {trained_by}"),
        }
    }
}

impl Manifest {
    /// Reads a description.
    ///
    /// # Errors
    /// When the file is missing or malformed.
    pub fn read(path: &Path) -> Result<Self, PackFault> {
        parse(path, &read(path)?)
    }

    /// Whether the pack replaces no part of the default pack, and at most adds to its liveness test.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        let fused = self.liveness.as_ref().is_none_or(|liveness| liveness.fusion.is_some());
        fused && self.detection.is_none() && self.landmarks.is_none() && self.modes.is_none()
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.pack, self.version)
    }

    /// The licences of its networks, without duplicates.
    #[must_use]
    pub fn licences(&self) -> Vec<&str> {
        let mut licences: Vec<_> = self.models.iter().map(|model| model.licence.as_str()).collect();
        licences.sort_unstable();
        licences.dedup();
        licences
    }

    /// Checks the networks' files in `folder`.
    ///
    /// # Errors
    /// When one is missing or has another hash.
    pub fn verify_in(&self, folder: &Path) -> Result<(), PackFault> {
        self.models.iter().try_for_each(|model| model.read_in(folder).map(drop))
    }
}

impl ModelEntry {
    /// `detector`, `landmarks`, `embedder` or `liveness`.
    #[must_use]
    pub fn task(&self) -> &'static str {
        (&self.task).into()
    }

    /// The bytes of its file in `folder`.
    ///
    /// # Errors
    /// When it is missing or has another hash.
    pub fn read_in(&self, folder: &Path) -> Result<Vec<u8>, PackFault> {
        read_verified(&folder.join(&self.file), &self.sha256)
    }
}
