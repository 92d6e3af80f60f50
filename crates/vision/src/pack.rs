//! A model pack in memory: the default pack of `manifest.toml`, in which optional packs replaced parts. A file whose hash
//! differs from the one in its description is never handed on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::assembly::{Assembly, PackSource};
use super::compare::Scorers;
use super::detect::{Certainty, DetectorSpec};
use super::embed::EmbedderSpec;
use super::landmarks::LandmarkSpec;
use super::liveness::LivenessPack;
use super::network::{Network, Onnx};
use visavis_domain::calibration::CalibrationFault;

mod assembly;
pub mod manifest;
pub mod registry;

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
    #[error("{} does not have the form of a manifest or calibration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A file that is not the one that the manifest names.
    #[error(
        "{} is not the file that the manifest names: its sha256 is {found}, expected is {expected}",
        path.display()
    )]
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
    /// Parts of the manifest that do not fit each other or the code.
    #[error("{}: {what}", path.display())]
    Inconsistent {
        /// The manifest.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A name that no description has.
    #[error("there is no pack named {name}: see `visavis models list`")]
    Unknown {
        /// As it was asked for.
        name: String,
    },
    /// A pack that is to be used and is not there.
    #[error("the pack {name} was not pulled: run `visavis models pull {name} --accept-licence {licences}`")]
    NotPulled {
        /// Name of the pack.
        name: String,
        /// The licences of its networks.
        licences: String,
    },
    /// Two packs for one part.
    #[error("the packs {first} and {second} both bring {part}: name one of them in --use-packs, not both")]
    Twice {
        /// The part.
        part: &'static str,
        /// A pack that has it.
        first: String,
        /// Another.
        second: String,
    },
}

/// A verified pack in memory. Clones share it.
#[derive(Clone)]
pub struct Pack(Arc<Contents>);

struct Contents {
    name: String,
    detectors: Vec<Network<DetectorSpec>>,
    certainty: Certainty,
    landmarks: Network<LandmarkSpec>,
    embedders: Vec<Network<EmbedderSpec>>,
    scorers: Scorers,
    liveness: Option<LivenessPack>,
}

impl Pack {
    /// Reads and verifies the default pack in `folder`, and none besides.
    ///
    /// # Errors
    /// When a file is missing, has another hash than the manifest says, or the manifest does not fit itself.
    pub fn load(folder: &Path) -> Result<Self, PackFault> {
        Assembly::new(PackSource::default_pack(folder)?, Vec::new()).load()
    }

    /// Name of the pack; where others replaced parts of it, `default+OTHER`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The detectors in the order in which they are asked; at least one.
    #[must_use]
    pub fn detectors(&self) -> &[Network<DetectorSpec>] {
        &self.0.detectors
    }

    /// What the detectors' scores mean.
    #[must_use]
    pub fn certainty(&self) -> Certainty {
        self.0.certainty
    }

    /// The landmark network.
    #[must_use]
    pub fn landmarks(&self) -> &Network<LandmarkSpec> {
        &self.0.landmarks
    }

    /// Every embedder that a mode uses.
    #[must_use]
    pub fn embedders(&self) -> &[Network<EmbedderSpec>] {
        &self.0.embedders
    }

    /// How templates are compared, by mode.
    #[must_use]
    pub fn scorers(&self) -> &Scorers {
        &self.0.scorers
    }

    /// The liveness test, where a pack has one.
    #[must_use]
    pub fn liveness(&self) -> Option<&LivenessPack> {
        self.0.liveness.as_ref()
    }

    /// Every network that a template depends on.
    pub fn template_networks(&self) -> impl Iterator<Item = &Onnx> {
        let detectors = self.0.detectors.iter().map(|it| &it.onnx);
        detectors.chain([&self.0.landmarks.onnx]).chain(self.0.embedders.iter().map(|it| &it.onnx))
    }

    /// Every network.
    pub fn networks(&self) -> impl Iterator<Item = &Onnx> {
        let liveness = self.liveness().into_iter().flat_map(LivenessPack::networks);
        self.template_networks().chain(liveness.map(|it| &it.onnx))
    }
}
