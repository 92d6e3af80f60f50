//! Puts a pack together. Each part comes from the optional pack that brings it, or else from the default pack.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::calibration_file::CalibrationFile;
use super::fault::PackFault;
use super::manifest::{self, MANIFEST, Manifest, ModelTask};
use super::{Pack, PackParts};
use crate::compare::{ScorePart, Scorer, Scorers};
use crate::detect::DetectorSpec;
use crate::embed::EmbedderSpec;
use crate::landmarks::{LANDMARKS, LandmarkSpec};
use crate::model::InputSpec;
use crate::network::{Network, NetworkSpec, Onnx};
use crate::session::{Interface, OutputSpec};
use visavis_domain::calibration::Calibration;

mod liveness;

/// A pack's description, and where its files lie.
pub struct PackSource {
    pub manifest: Manifest,
    /// The file of the description. Calibrations lie beside it.
    path: PathBuf,
    /// The folder of the networks' files.
    weights: PathBuf,
}

impl PackSource {
    pub fn new(manifest: Manifest, path: PathBuf, weights: PathBuf) -> Self {
        Self { manifest, path, weights }
    }

    pub fn default_pack(folder: &Path) -> Result<Self, PackFault> {
        let path = folder.join(MANIFEST);
        Ok(Self::new(Manifest::read(&path)?, path, folder.to_owned()))
    }

    fn inconsistent(&self, what: &str) -> PackFault {
        PackFault::Inconsistent { path: self.path.clone(), what: what.to_owned() }
    }
}

impl Pack {
    /// Reads and verifies the default pack in `folder`, without optional packs.
    ///
    /// # Errors
    /// When a file is missing, has another hash than the manifest says, or the manifest is inconsistent.
    pub fn load(folder: &Path) -> Result<Self, PackFault> {
        Assembly::new(PackSource::default_pack(folder)?, Vec::new()).load()
    }
}

/// The default pack, and the optional packs that are used with it.
pub struct Assembly {
    default: PackSource,
    optional: Vec<PackSource>,
}

impl Assembly {
    pub fn new(default: PackSource, optional: Vec<PackSource>) -> Self {
        Self { default, optional }
    }

    /// Reads and verifies every file that the parts in use need.
    pub fn load(&self) -> Result<Pack, PackFault> {
        let (source, detection) = self.required("detectors", |manifest| manifest.detection.as_ref())?;
        let opened = detection.detectors.iter().map(|name| self.detector(source, name));
        let detectors = opened.collect::<Result<Vec<_>, _>>()?;
        if detectors.is_empty() {
            return Err(source.inconsistent("detection.detectors is empty"));
        }
        let certainty = detection.certainty;
        let (source, landmarks) = self.required("landmarks", |manifest| manifest.landmarks.as_ref())?;
        let landmarks = self.landmarks(source, &landmarks.model)?;
        let scorers = self.scorers()?;
        let (source, _) = self.required("modes", |manifest| manifest.modes.as_ref())?;
        let mut embedders: Vec<Network<EmbedderSpec>> = Vec::new();
        for part in scorers.fast.parts.iter().chain(&scorers.accurate.parts) {
            if !embedders.iter().any(|embedder| embedder.onnx.name == part.model) {
                embedders.push(self.embedder(source, &part.model)?);
            }
        }
        let liveness = self.liveness()?;
        let replacing = self.optional.iter().filter(|source| !source.manifest.only_adds());
        let names = std::iter::once(&self.default).chain(replacing).map(|source| source.manifest.pack.as_str());
        let name = names.collect::<Vec<_>>().join("+");
        Ok(Pack(Arc::new(PackParts { name, detectors, certainty, landmarks, embedders, scorers, liveness })))
    }

    /// Reads the calibrations, but no networks.
    pub fn scorers(&self) -> Result<Scorers, PackFault> {
        let (source, modes) = self.required("modes", |manifest| manifest.modes.as_ref())?;
        let scorer = |name, mode| self.scorer(source, name, mode);
        Ok(Scorers { fast: scorer("fast", &modes.fast)?, accurate: scorer("accurate", &modes.accurate)? })
    }

    /// The pack that brings a part: an optional one, or else the default pack.
    fn part<'a, T>(
        &'a self,
        name: &'static str,
        of: impl Fn(&'a Manifest) -> Option<&'a T>,
    ) -> Result<Option<(&'a PackSource, &'a T)>, PackFault> {
        let brings = |source: &'a PackSource| of(&source.manifest).map(|part| (source, part));
        let mut brought = self.optional.iter().filter_map(brings);
        match (brought.next(), brought.next()) {
            (Some((first, _)), Some((second, _))) => Err(PackFault::Twice {
                part: name,
                first: first.manifest.pack.clone(),
                second: second.manifest.pack.clone(),
            }),
            (Some(one), None) => Ok(Some(one)),
            (None, _) => Ok(brings(&self.default)),
        }
    }

    fn required<'a, T>(
        &'a self,
        name: &'static str,
        of: impl Fn(&'a Manifest) -> Option<&'a T>,
    ) -> Result<(&'a PackSource, &'a T), PackFault> {
        self.part(name, of)?.ok_or_else(|| self.default.inconsistent(&format!("the section for {name} is missing")))
    }

    /// The network `name` in `source`, or else in the default pack.
    fn model<'a>(
        &'a self,
        source: &'a PackSource,
        name: &str,
    ) -> Result<(&'a PackSource, &'a manifest::ModelEntry), PackFault> {
        let find = |from: &'a PackSource| {
            from.manifest.models.iter().find(|model| model.name == name).map(|model| (from, model))
        };
        find(source)
            .or_else(|| find(&self.default))
            .ok_or_else(|| source.inconsistent(&format!("no model is named {name}")))
    }

    fn detector(&self, source: &PackSource, name: &str) -> Result<Network<DetectorSpec>, PackFault> {
        let (source, model) = self.model(source, name)?;
        let ModelTask::Detector(params) = &model.task else { return Err(misplaced(source, model, "detector")) };
        let spec = DetectorSpec {
            input: input(source, model)?,
            decoding: params.decoding.clone(),
            score: params.score_threshold,
            overlap: params.nms_iou,
        };
        network(source, model, spec)
    }

    fn landmarks(&self, source: &PackSource, name: &str) -> Result<Network<LandmarkSpec>, PackFault> {
        let (source, model) = self.model(source, name)?;
        let ModelTask::Landmarks(params) = &model.task else { return Err(misplaced(source, model, "landmarks")) };
        let fits = |indices: &Vec<usize>| !indices.is_empty() && indices.iter().all(|&i| i < LANDMARKS);
        if !params.five_points.iter().all(fits) {
            return Err(source.inconsistent(&format!("five_points of {name} name no landmark of {LANDMARKS}")));
        }
        let spec = LandmarkSpec {
            input: input(source, model)?,
            crop: params.roi_scale,
            presence: params.presence_threshold,
            five_points: params.five_points.clone(),
        };
        network(source, model, spec)
    }

    fn embedder(&self, source: &PackSource, name: &str) -> Result<Network<EmbedderSpec>, PackFault> {
        let (source, model) = self.model(source, name)?;
        let ModelTask::Embedder(params) = &model.task else { return Err(misplaced(source, model, "embedder")) };
        let output = model.outputs.iter().find(|output| output.name == "embedding");
        let Some([dimensions]) = output.map(|output| output.shape.as_slice()) else {
            return Err(source.inconsistent(&format!("{name} has no output \"embedding\" of one dimension")));
        };
        let template = params.template.map(Into::into);
        network(source, model, EmbedderSpec { input: input(source, model)?, template, dimensions: *dimensions })
    }

    fn scorer(&self, source: &PackSource, mode: &str, section: &manifest::ModeSection) -> Result<Scorer, PackFault> {
        let path = source.path.with_file_name(&section.calibration);
        let file = CalibrationFile::read(&path, &section.calibration_sha256)?;
        let version = format!("{}/{mode}@{}", source.manifest.pack, file.version);
        let calibration = Calibration::new(version, file.knots(), file.rates())
            .map_err(|fault| PackFault::Calibration { path, source: fault })?;
        if file.mode != mode || section.embedders.is_empty() {
            return Err(
                source.inconsistent(&format!("mode {mode} has no embedder, or the calibration of another mode"))
            );
        }
        let part = |entry: &manifest::EmbedderEntry| {
            let (_, model) = self.model(source, &entry.model)?;
            let (model, version) = (entry.model.clone(), model.version.clone());
            Ok(ScorePart { model, version, weight: entry.weight, mirrored: entry.mirrored })
        };
        Ok(Scorer { parts: section.embedders.iter().map(part).collect::<Result<_, PackFault>>()?, calibration })
    }
}

fn misplaced(source: &PackSource, model: &manifest::ModelEntry, needed: &str) -> PackFault {
    source.inconsistent(&format!("{} is a model for {}, not {needed}", model.name, model.task()))
}

fn input(source: &PackSource, model: &manifest::ModelEntry) -> Result<InputSpec, PackFault> {
    let input = &model.input;
    if input.width != input.height || input.layout != "nchw" {
        return Err(source.inconsistent(&format!("the input of {} is not a square in nchw layout", model.name)));
    }
    Ok(InputSpec { side: input.width, colour: input.colour, mean: input.mean, std: input.std })
}

fn network<S: NetworkSpec>(
    source: &PackSource,
    model: &manifest::ModelEntry,
    spec: S,
) -> Result<Network<S>, PackFault> {
    let output = |(name, shape): (String, Vec<usize>)| {
        let described = model.outputs.iter().find(|entry| entry.name == name);
        let tensor = described.and_then(|entry| entry.tensor.clone()).unwrap_or_else(|| name.clone());
        OutputSpec { name, tensor, shape }
    };
    let interface = Interface {
        input: model.input.name.clone(),
        side: spec.input().side,
        free: model.input.free.clone().into_iter().collect(),
        outputs: spec.outputs().into_iter().map(output).collect(),
    };
    let bytes = model.read_in(&source.weights)?;
    let onnx = Onnx { name: model.name.clone(), version: model.version.clone(), interface, bytes };
    Ok(Network { spec, onnx })
}
