//! A model pack on disk: `manifest.toml`, the networks it lists and their calibrations. A file whose hash differs from
//! the manifest's is never handed on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};

use super::calibration::{Calibration, CalibrationFault};
use super::compare::{ScorePart, Scorer, Scorers};
use super::detect::{BOX_VALUES, DetectorSpec};
use super::embed::EmbedderSpec;
use super::landmarks::{COORDINATES, LANDMARKS, LandmarkSpec};
use super::liveness::LivenessPack;
use super::model::{InputSpec, Model, RuntimeFault};
use super::session::{Interface, Runtime};

mod format;

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
}

/// A verified pack in memory. Clones share it.
#[derive(Clone)]
pub struct Pack {
    contents: Arc<Contents>,
    liveness: Option<Arc<LivenessPack>>,
}

struct Contents {
    name: String,
    version: String,
    detectors: Vec<Network<DetectorSpec>>,
    landmarks: Network<LandmarkSpec>,
    embedders: Vec<Network<EmbedderSpec>>,
    scorers: Scorers,
}

/// A verified network and how it is fed and read.
pub struct Network<S> {
    /// Name in the manifest.
    pub name: String,
    /// Version in the manifest.
    pub version: String,
    /// Sizes, thresholds, templates.
    pub spec: S,
    onnx: Vec<u8>,
}

impl Pack {
    /// Reads and verifies the pack in `folder`.
    ///
    /// # Errors
    /// When a file is missing, has another hash than the manifest says, or the manifest does not fit itself.
    pub fn load(folder: &Path) -> Result<Self, PackFault> {
        let path = folder.join(MANIFEST);
        let manifest: format::Manifest = parse(&path, &read(&path)?)?;
        let loader = Loader { folder, path: &path, manifest: &manifest };
        let cascade = &manifest.cascade;
        let detectors = cascade.detectors.iter().map(|name| loader.detector(name)).collect::<Result<Vec<_>, _>>()?;
        if detectors.is_empty() {
            return Err(loader.inconsistent("the cascade names no detector"));
        }
        let scorers = loader.scorers()?;
        let mut embedders: Vec<Network<EmbedderSpec>> = Vec::new();
        for part in scorers.fast.parts.iter().chain(&scorers.accurate.parts) {
            if !embedders.iter().any(|e| e.name == part.model) {
                embedders.push(loader.embedder(&part.model)?);
            }
        }
        let contents = Contents {
            landmarks: loader.landmarks(&cascade.landmarks)?,
            scorers,
            detectors,
            embedders,
            name: manifest.pack,
            version: manifest.version,
        };
        Ok(Self { contents: Arc::new(contents), liveness: None })
    }

    /// With a liveness test beside.
    #[must_use]
    pub fn with_liveness(self, liveness: Option<LivenessPack>) -> Self {
        Self { liveness: liveness.map(Arc::new), ..self }
    }

    /// The liveness test, where one is installed.
    #[must_use]
    pub fn liveness(&self) -> Option<&LivenessPack> {
        self.liveness.as_deref()
    }

    /// Reads the calibrations of the pack in `folder` and none of its networks: for those who only ask what a threshold
    /// means.
    ///
    /// # Errors
    /// As [`Pack::load`], of the manifest and the calibrations.
    pub fn load_scorers(folder: &Path) -> Result<Scorers, PackFault> {
        let path = folder.join(MANIFEST);
        let manifest: format::Manifest = parse(&path, &read(&path)?)?;
        Loader { folder, path: &path, manifest: &manifest }.scorers()
    }

    /// Name of the pack.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.contents.name
    }

    /// Version of the pack.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.contents.version
    }

    /// The detectors in the order in which they are asked; at least one.
    #[must_use]
    pub fn detectors(&self) -> &[Network<DetectorSpec>] {
        &self.contents.detectors
    }

    /// The landmark network.
    #[must_use]
    pub fn landmarks(&self) -> &Network<LandmarkSpec> {
        &self.contents.landmarks
    }

    /// Every embedder that a mode uses.
    #[must_use]
    pub fn embedders(&self) -> &[Network<EmbedderSpec>] {
        &self.contents.embedders
    }

    /// Every network that a template depends on, `name@version`.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        let of = |name: &str, version: &str| format!("{name}@{version}");
        let contents = &self.contents;
        let detectors = contents.detectors.iter().map(|it| of(&it.name, &it.version));
        let landmarks = std::iter::once(of(&contents.landmarks.name, &contents.landmarks.version));
        detectors.chain(landmarks).chain(contents.embedders.iter().map(|it| of(&it.name, &it.version))).collect()
    }

    /// How templates are compared, by mode.
    #[must_use]
    pub fn scorers(&self) -> &Scorers {
        &self.contents.scorers
    }
}

/// What the code needs of a network: checked against the file when its session opens.
pub trait Needs {
    /// Input side and output shapes.
    fn interface(&self) -> Interface;
}

impl Needs for DetectorSpec {
    fn interface(&self) -> Interface {
        let anchors = self.anchors();
        let outputs = vec![("boxes", vec![anchors, BOX_VALUES]), ("scores", vec![anchors, 1])];
        Interface { side: self.input.side, outputs }
    }
}

impl Needs for LandmarkSpec {
    fn interface(&self) -> Interface {
        let outputs = vec![("landmarks", vec![LANDMARKS, COORDINATES]), ("presence", vec![1])];
        Interface { side: self.input.side, outputs }
    }
}

impl Needs for EmbedderSpec {
    fn interface(&self) -> Interface {
        Interface { side: self.input.side, outputs: vec![("embedding", vec![self.dimensions])] }
    }
}

impl<S: Needs> Network<S> {
    /// A network whose bytes were verified.
    pub(super) fn new(name: &str, version: &str, spec: S, onnx: Vec<u8>) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), spec, onnx }
    }

    /// Opens a session for the calling thread.
    ///
    /// # Errors
    /// When the runtime refuses the network, or its inputs and outputs are not those that `spec` needs.
    pub fn open(&self, runtime: &Runtime) -> Result<Box<dyn Model>, RuntimeFault> {
        Ok(Box::new(runtime.open(&self.name, &self.onnx, &self.spec.interface())?))
    }
}

struct Loader<'a> {
    folder: &'a Path,
    path: &'a Path,
    manifest: &'a format::Manifest,
}

impl Loader<'_> {
    fn detector(&self, name: &str) -> Result<Network<DetectorSpec>, PackFault> {
        self.network(name, "detector", |model, params: format::DetectorParams| {
            let spec = DetectorSpec {
                input: self.input(model)?,
                grids: params.anchors,
                score: params.score_threshold,
                overlap: params.nms_iou,
            };
            Ok(spec)
        })
    }

    fn landmarks(&self, name: &str) -> Result<Network<LandmarkSpec>, PackFault> {
        self.network(name, "landmarks", |model, params: format::LandmarkParams| {
            let fits = |indices: &Vec<usize>| !indices.is_empty() && indices.iter().all(|&i| i < LANDMARKS);
            if !params.five_points.iter().all(fits) {
                return Err(self.inconsistent(&format!("five_points of {name} name no landmark of {LANDMARKS}")));
            }
            Ok(LandmarkSpec {
                input: self.input(model)?,
                crop: params.roi_scale,
                presence: params.presence_threshold,
                five_points: params.five_points,
            })
        })
    }

    fn embedder(&self, name: &str) -> Result<Network<EmbedderSpec>, PackFault> {
        self.network(name, "embedder", |model, params: format::EmbedderParams| {
            let output = model.outputs.iter().find(|o| o.name == "embedding");
            let Some([dimensions]) = output.map(|o| o.shape.as_slice()) else {
                return Err(self.inconsistent(&format!("{name} has no output \"embedding\" of one dimension")));
            };
            let template = params.template.map(Into::into);
            Ok(EmbedderSpec { input: self.input(model)?, template, dimensions: *dimensions })
        })
    }

    fn network<P: serde::de::DeserializeOwned, S>(
        &self,
        name: &str,
        task: &str,
        spec: impl FnOnce(&format::Model, P) -> Result<S, PackFault>,
    ) -> Result<Network<S>, PackFault> {
        let model = self.manifest.models.iter().find(|m| m.name == name);
        let model = model.ok_or_else(|| self.inconsistent(&format!("no model is named {name}")))?;
        if model.task != task {
            return Err(self.inconsistent(&format!("{name} is a model for {}, not {task}", model.task)));
        }
        let params = model
            .params
            .clone()
            .try_into()
            .map_err(|e| PackFault::Parse { path: self.path.to_owned(), source: Box::new(e) })?;
        let spec = spec(model, params)?;
        let onnx = read_verified(&self.folder.join(&model.file), &model.sha256)?;
        Ok(Network { name: name.to_owned(), version: model.version.clone(), spec, onnx })
    }

    fn input(&self, model: &format::Model) -> Result<InputSpec, PackFault> {
        let input = &model.input;
        if input.width != input.height || input.layout != "nchw" {
            return Err(self.inconsistent(&format!("the input of {} is not a square in nchw layout", model.name)));
        }
        Ok(InputSpec { side: input.width, colour: input.colour, mean: input.mean, std: input.std })
    }

    fn scorers(&self) -> Result<Scorers, PackFault> {
        let modes = &self.manifest.modes;
        Ok(Scorers { fast: self.scorer("fast", &modes.fast)?, accurate: self.scorer("accurate", &modes.accurate)? })
    }

    fn scorer(&self, mode: &str, of: &format::Mode) -> Result<Scorer, PackFault> {
        let path = self.folder.join(&of.calibration);
        let file: format::CalibrationFile = parse(&path, &read_verified(&path, &of.calibration_sha256)?)?;
        let version = format!("{}/{mode}@{}", self.manifest.pack, file.version);
        let calibration = Calibration::new(version, file.knots(), file.rates())
            .map_err(|source| PackFault::Calibration { path, source })?;
        if file.mode != mode || of.embedders.is_empty() {
            return Err(self.inconsistent(&format!("mode {mode} has no embedder, or the calibration of another mode")));
        }
        let part = |e: &format::Weighted| {
            let model = self.manifest.models.iter().find(|m| m.name == e.model);
            let model = model.ok_or_else(|| self.inconsistent(&format!("no model is named {}", e.model)))?;
            Ok(ScorePart {
                model: e.model.clone(),
                version: model.version.clone(),
                weight: e.weight,
                mirrored: e.mirrored,
            })
        };
        Ok(Scorer { parts: of.embedders.iter().map(part).collect::<Result<_, PackFault>>()?, calibration })
    }

    fn inconsistent(&self, what: &str) -> PackFault {
        PackFault::Inconsistent { path: self.path.to_owned(), what: what.to_owned() }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, PackFault> {
    std::fs::read(path).map_err(|source| PackFault::Read { path: path.to_owned(), source })
}

pub(super) fn read_verified(path: &Path, expected: &str) -> Result<Vec<u8>, PackFault> {
    let bytes = read(path)?;
    let found = hex::encode(digest(&SHA256, &bytes));
    if found == expected {
        Ok(bytes)
    } else {
        Err(PackFault::Hash { path: path.to_owned(), expected: expected.to_owned(), found })
    }
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, PackFault> {
    toml::from_slice(bytes).map_err(|e| PackFault::Parse { path: path.to_owned(), source: Box::new(e) })
}
