//! A pack as it is described: the default pack's `manifest.toml`, an optional pack's `packs/NAME.toml`, and calibration
//! files. Both descriptions have one vocabulary; an optional pack leaves out the parts that it does not replace.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::PackFault;
use crate::detect::{Certainty, Decoding};
use crate::geometry::Point;
use crate::liveness::Resize;
use crate::model::Colour;
use visavis_domain::calibration::{Knot, MeasuredRate};

/// A pack's parts, and the networks that they are made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the pack.
    pub pack: String,
    /// Version of the pack.
    pub version: String,
    /// Where faces are.
    pub detection: Option<DetectionSection>,
    /// Points on a face, and whether it is one.
    pub landmarks: Option<LandmarksSection>,
    /// Whether two faces are one person's.
    pub modes: Option<ModesSection>,
    /// Whether a face is a living person's.
    pub liveness: Option<LivenessSection>,
    /// The networks.
    pub models: Vec<ModelEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionSection {
    /// Each is asked only when no face of the one before passes the presence gate.
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
    /// File, beside the description.
    pub calibration: String,
    pub calibration_sha256: String,
    /// Of this pack or of the default one.
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
    /// Their probabilities of `live` are averaged by weight.
    pub models: Vec<LivenessEntry>,
    /// With it, this test does not replace the default pack's but is fused with it.
    pub fusion: Option<FusionSection>,
    /// score = sigmoid(logit + shift), the logit being that of the mean, or with `fusion` the weighted sum of both tests'.
    pub shift: f64,
    /// A score below it is an attack's.
    pub spoof_below: f64,
    /// Sides of the largest crop in sides of the face's box, from which surroundings can be judged.
    pub least_context: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivenessEntry {
    pub model: String,
    pub weight: f64,
}

/// What the logits of two liveness tests weigh in one score.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionSection {
    /// Of the pack's own test.
    pub own: f64,
    /// Of the default pack's.
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
    /// Of the file.
    pub sha256: String,
    /// To be accepted by name before an optional pack is fetched.
    pub licence: String,
    /// Where it came from.
    pub origin: ModelOrigin,
    pub(super) input: InputEntry,
    pub(super) outputs: Vec<OutputEntry>,
    /// `task`, and its `params`.
    #[serde(flatten)]
    pub(super) task: ModelTask,
}

/// What a network is for, with the numbers that its use needs.
#[derive(Debug, Deserialize)]
#[serde(tag = "task", content = "params", rename_all = "lowercase")]
pub(super) enum ModelTask {
    Detector(DetectorParams),
    Landmarks(LandmarkParams),
    Embedder(EmbedderParams),
    Liveness(LivenessParams),
}

#[derive(Debug, Deserialize)]
pub(super) struct InputEntry {
    /// What the file calls it.
    pub name: String,
    pub width: usize,
    pub height: usize,
    pub layout: String,
    pub colour: Colour,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// What dimensions are here that the file leaves free under these names.
    #[serde(default)]
    pub free: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutputEntry {
    /// What the code calls it.
    pub name: String,
    /// What the file calls it, where that is something else.
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

/// x, then y.
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
    /// A public repository; the file is fetched from `url`.
    Address {
        /// Of the file.
        url: String,
        /// Of the repository.
        repository: String,
        /// State of the repository.
        commit: String,
    },
    /// A registry's package, converted by the scripts in `convert/`.
    Package {
        /// `pypi` or `npm`.
        registry: String,
        /// Name of the package.
        package: String,
        /// Version of the package.
        version: String,
    },
    /// Trained here, by a script beside the manifest.
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

    /// Whether it leaves the default pack's parts as they are, or is fused with them.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        let fused = self.liveness.as_ref().is_none_or(|it| it.fusion.is_some());
        fused && self.detection.is_none() && self.landmarks.is_none() && self.modes.is_none()
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.pack, self.version)
    }

    /// The licences of its networks, each once.
    #[must_use]
    pub fn licences(&self) -> Vec<&str> {
        let mut licences: Vec<_> = self.models.iter().map(|it| it.licence.as_str()).collect();
        licences.sort_unstable();
        licences.dedup();
        licences
    }

    /// Checks the networks' files in `folder`.
    ///
    /// # Errors
    /// When one is missing or has another hash.
    pub fn verify_in(&self, folder: &Path) -> Result<(), PackFault> {
        self.models.iter().try_for_each(|it| it.read_in(folder).map(drop))
    }
}

impl ModelEntry {
    /// `detector`, `landmarks`, `embedder` or `liveness`.
    #[must_use]
    pub fn task(&self) -> &'static str {
        match self.task {
            ModelTask::Detector(_) => "detector",
            ModelTask::Landmarks(_) => "landmarks",
            ModelTask::Embedder(_) => "embedder",
            ModelTask::Liveness(_) => "liveness",
        }
    }

    /// The bytes of its file in `folder`.
    ///
    /// # Errors
    /// When it is missing or has another hash.
    pub fn read_in(&self, folder: &Path) -> Result<Vec<u8>, PackFault> {
        read_verified(&folder.join(&self.file), &self.sha256)
    }
}

#[derive(Deserialize)]
pub(super) struct CalibrationFile {
    pub version: String,
    pub mode: String,
    /// Raw score, then similarity.
    knots: Vec<[f64; 2]>,
    operating_points: Vec<OperatingPoint>,
}

#[derive(Deserialize)]
struct OperatingPoint {
    fmr: f64,
    calibrated: f64,
    /// Too few impostor pairs lie above it to call it measured.
    extrapolated: bool,
}

impl CalibrationFile {
    pub fn read(path: &Path, sha256: &str) -> Result<Self, PackFault> {
        parse(path, &read_verified(path, sha256)?)
    }

    pub fn knots(&self) -> Vec<Knot> {
        self.knots.iter().map(|&[raw, similarity]| Knot { raw, similarity }).collect()
    }

    /// The measured ones: nothing is promised beyond them.
    pub fn rates(&self) -> Vec<MeasuredRate> {
        let measured = self.operating_points.iter().filter(|p| !p.extrapolated);
        measured.map(|p| MeasuredRate { similarity: p.calibrated, fmr: p.fmr }).collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PackFault> {
    std::fs::read(path).map_err(|source| PackFault::Read { path: path.to_owned(), source })
}

fn read_verified(path: &Path, expected: &str) -> Result<Vec<u8>, PackFault> {
    let bytes = read(path)?;
    let found = hex::encode(digest(&SHA256, &bytes));
    if found == expected {
        Ok(bytes)
    } else {
        Err(PackFault::Hash { path: path.to_owned(), expected: expected.to_owned(), found })
    }
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, PackFault> {
    toml::from_slice(bytes).map_err(|e| PackFault::Parse { path: path.to_owned(), source: Box::new(e) })
}
