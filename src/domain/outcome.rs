//! What a job came to, with the evidence it rests on; stored as the job's result.

use serde::{Deserialize, Serialize};

use super::evidence::{Mode, RawScore, Similarity};
use super::job::{Params, Verdict};
use super::warning::Warning;

/// A finished job's result. Holds no image and no embedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The settings that were applied.
    pub params: Params,
    /// Absent when either image had no usable face.
    pub comparison: Option<Comparison>,
    pub warnings: Vec<Warning>,
    /// Milliseconds of computing, both images together.
    pub compute_ms: f64,
}

/// Two faces held against each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the model said.
    pub raw: RawScore,
    /// What it means.
    pub similarity: Similarity,
    pub mode: Mode,
    /// `name@version`.
    pub model: String,
    /// `name@version`.
    pub calibration: String,
}
