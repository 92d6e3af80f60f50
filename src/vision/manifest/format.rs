//! `manifest.toml` and the calibration files as they are written. Fields that only people and `models pull` read
//! (licence, origin) are left out.

use serde::Deserialize;

use crate::vision::calibration::{Knot, Rate};
use crate::vision::detect::Grid;
use crate::vision::geometry::Point;
use crate::vision::model::Colour;

#[derive(Deserialize)]
pub struct Manifest {
    pub pack: String,
    pub version: String,
    pub cascade: Cascade,
    pub modes: Modes,
    pub models: Vec<Model>,
}

#[derive(Deserialize)]
pub struct Cascade {
    pub detectors: Vec<String>,
    pub landmarks: String,
}

#[derive(Deserialize)]
pub struct Modes {
    pub fast: Mode,
    pub accurate: Mode,
}

#[derive(Deserialize)]
pub struct Mode {
    pub calibration: String,
    pub calibration_sha256: String,
    pub embedders: Vec<Weighted>,
}

#[derive(Deserialize)]
pub struct Weighted {
    pub model: String,
    pub weight: f64,
    #[serde(default)]
    pub mirrored: bool,
}

#[derive(Deserialize)]
pub struct Model {
    pub name: String,
    pub version: String,
    pub task: String,
    pub file: String,
    pub sha256: String,
    pub input: Input,
    pub outputs: Vec<Output>,
    /// By task: one of the `*Params` below.
    pub params: toml::Table,
}

#[derive(Deserialize)]
pub struct Input {
    pub width: usize,
    pub height: usize,
    pub layout: String,
    pub colour: Colour,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

#[derive(Deserialize)]
pub struct Output {
    pub name: String,
    pub shape: Vec<usize>,
}

#[derive(Deserialize)]
pub struct DetectorParams {
    pub anchors: Vec<Grid>,
    pub score_threshold: f64,
    pub nms_iou: f64,
}

#[derive(Deserialize)]
pub struct LandmarkParams {
    pub roi_scale: f64,
    pub presence_threshold: f64,
    pub five_points: [Vec<usize>; 5],
}

#[derive(Deserialize)]
pub struct EmbedderParams {
    pub template: [Pair; 5],
}

/// x, then y.
#[derive(Deserialize)]
pub struct Pair([f64; 2]);

impl From<Pair> for Point {
    fn from(Pair([x, y]): Pair) -> Self {
        Self::new(x, y)
    }
}

#[derive(Deserialize)]
pub struct CalibrationFile {
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
    pub fn knots(&self) -> Vec<Knot> {
        self.knots.iter().map(|&[raw, similarity]| Knot { raw, similarity }).collect()
    }

    /// The measured ones: nothing is promised beyond them.
    pub fn rates(&self) -> Vec<Rate> {
        let measured = self.operating_points.iter().filter(|p| !p.extrapolated);
        measured.map(|p| Rate { similarity: p.calibrated, fmr: p.fmr }).collect()
    }
}
