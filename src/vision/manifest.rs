//! A model pack on disk: `manifest.toml`, the networks it lists and their calibrations. A file whose hash differs from
//! the manifest's is never handed on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::calibration::{Calibration, CalibrationFault, Knot, Rate};
use super::compare::{ScorePart, Scorer, Scorers};
use super::model::{Model, RuntimeFault};
use super::session::Runtime;

const MANIFEST: &str = "manifest.toml";

/// Why a pack was refused.
#[derive(Debug, thiserror::Error)]
pub enum PackFault {
    /// A file that is missing or cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not the TOML that is expected.
    #[error("{} is not a valid manifest or calibration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A file that is not the one that the manifest names.
    #[error("{} has the sha256 {found}, but the manifest says {expected}; fetch the pack again", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A calibration that is not monotone.
    #[error("{} is not a usable calibration", path.display())]
    Calibration {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CalibrationFault,
    },
    /// The manifest lists no model for a task, or one that the code does not know how to feed.
    #[error("{}: {what}", path.display())]
    Incomplete {
        /// The manifest.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
}

/// A verified pack in memory. Clones share it.
#[derive(Clone)]
pub struct Pack(Arc<Contents>);

struct Contents {
    name: String,
    models: Vec<PackModel>,
    scorers: Scorers,
}

/// A network of a pack.
#[derive(Clone)]
pub struct PackModel {
    /// Name in the manifest.
    pub name: String,
    /// Version in the manifest.
    pub version: String,
    /// What it is for.
    pub task: Task,
    /// The verified bytes.
    pub onnx: Arc<[u8]>,
}

/// What a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Faces that fill a good part of the frame.
    DetectShort,
    /// Smaller faces.
    DetectFull,
    /// Points and presence.
    Landmarks,
    /// dlib's embedder.
    EmbedDlib,
    /// The faceres embedder.
    EmbedFaceres,
}

impl Pack {
    /// Reads and verifies the pack in `folder`.
    ///
    /// # Errors
    /// When a file is missing, has another hash than the manifest says, or does not parse.
    pub fn load(folder: &Path) -> Result<Self, PackFault> {
        let _ = (folder, MANIFEST);
        todo!("the manifest's format is being written")
    }

    /// Name of the pack.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its networks.
    #[must_use]
    pub fn models(&self) -> &[PackModel] {
        &self.0.models
    }

    /// How its embedders are compared.
    #[must_use]
    pub fn scorers(&self) -> &Scorers {
        &self.0.scorers
    }

    /// A session on the network for `task`.
    ///
    /// # Errors
    /// When it does not load or does not fit the code.
    pub fn open(&self, task: Task, runtime: &Runtime) -> Result<Box<dyn Model>, RuntimeFault> {
        let _ = (task, runtime);
        todo!()
    }
}
