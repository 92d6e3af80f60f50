//! A mode's calibration, as stored beside the manifest.

use std::path::Path;

use serde::Deserialize;

use super::fault::PackFault;
use super::files::{parse, read_verified};
use visavis_domain::calibration::{Knot, MeasuredRate};

#[derive(Deserialize)]
pub struct CalibrationFile {
    pub version: String,
    pub mode: String,
    /// Pairs of a raw score and its similarity.
    knots: Vec<[f64; 2]>,
    operating_points: Vec<OperatingPoint>,
}

#[derive(Deserialize)]
struct OperatingPoint {
    fmr: f64,
    calibrated: f64,
    /// Whether too few impostor pairs lie above it to call it measured.
    extrapolated: bool,
}

impl CalibrationFile {
    pub fn read(path: &Path, sha256: &str) -> Result<Self, PackFault> {
        parse(path, &read_verified(path, sha256)?)
    }

    pub fn knots(&self) -> Vec<Knot> {
        self.knots.iter().map(|&[raw, similarity]| Knot { raw, similarity }).collect()
    }

    /// The measured rates. Extrapolated ones are left out, because nothing was observed there.
    pub fn rates(&self) -> Vec<MeasuredRate> {
        let measured = self.operating_points.iter().filter(|point| !point.extrapolated);
        measured.map(|point| MeasuredRate { similarity: point.calibrated, fmr: point.fmr }).collect()
    }
}
