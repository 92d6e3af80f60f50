//! A model pack in memory: the default pack, in which optional packs may replace parts. Every file was checked against
//! the hash in its description.

use std::sync::Arc;

use super::compare::Scorers;
use super::detect::{Certainty, DetectorSpec};
use super::embed::EmbedderSpec;
use super::landmarks::LandmarkSpec;
use super::liveness::LivenessPack;
use super::network::{Network, Onnx};

mod assembly;
mod calibration_file;
pub mod fault;
mod files;
pub mod manifest;
pub mod registry;

/// A verified pack in memory. Clones share it.
#[derive(Clone)]
pub struct Pack(Arc<PackParts>);

/// What a pack consists of.
struct PackParts {
    name: String,
    detectors: Vec<Network<DetectorSpec>>,
    certainty: Certainty,
    landmarks: Network<LandmarkSpec>,
    embedders: Vec<Network<EmbedderSpec>>,
    scorers: Scorers,
    liveness: Option<LivenessPack>,
}

impl Pack {
    /// Name of the pack. If others replaced parts of it, `default+OTHER`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The detectors in the order in which they are used; at least one.
    #[must_use]
    pub fn detectors(&self) -> &[Network<DetectorSpec>] {
        &self.0.detectors
    }

    /// How the detectors' scores tell whether a picture lies on its side.
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

    /// How each mode compares templates.
    #[must_use]
    pub fn scorers(&self) -> &Scorers {
        &self.0.scorers
    }

    /// The liveness test, if a pack has one.
    #[must_use]
    pub fn liveness(&self) -> Option<&LivenessPack> {
        self.0.liveness.as_ref()
    }

    /// Every network that a template depends on.
    pub fn template_networks(&self) -> impl Iterator<Item = &Onnx> {
        let detectors = self.0.detectors.iter().map(|detector| &detector.onnx);
        detectors.chain([&self.0.landmarks.onnx]).chain(self.0.embedders.iter().map(|embedder| &embedder.onnx))
    }

    /// Every network.
    pub fn networks(&self) -> impl Iterator<Item = &Onnx> {
        let liveness = self.liveness().into_iter().flat_map(LivenessPack::networks);
        self.template_networks().chain(liveness.map(|network| &network.onnx))
    }
}
