//! Scores and thresholds as types that cannot be out of range, and the mode that produced them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The model's own score: a cosine, or a weighted sum of cosines, in [-1, 1]. A calibration turns it into a
/// [`Similarity`]. Callers' thresholds never apply to it directly.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct RawScore(f64);

impl RawScore {
    /// # Errors
    /// When `value` is not a finite number.
    pub fn new(value: f64) -> Result<Self, OutOfRange> {
        if value.is_finite() {
            Ok(Self(value))
        } else {
            Err(OutOfRange { what: "raw score", range: "the finite numbers" })
        }
    }

    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A calibrated score in [0, 1]. 0.60, 0.75 and 0.85 stand for false match rates of 1e-2, 1e-3 and 1e-4. It is compared
/// with a [`Threshold`] in `policy` only.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Similarity(f64);

/// A score in [0, 1] at or above which a test passes: two faces are taken for one person, or a selfie for a live one.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Threshold(f64);

impl Similarity {
    /// # Errors
    /// When `value` is not in [0, 1].
    pub fn new(value: f64) -> Result<Self, OutOfRange> {
        unit_interval("similarity", value).map(Self)
    }

    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// The score on the report's scale, 0-100 with 2 decimals.
    #[must_use]
    pub fn percent(self) -> f64 {
        (self.0 * 1e4).round() / 1e2
    }
}

impl Threshold {
    /// # Errors
    /// When `value` is not in [0, 1].
    pub fn new(value: f64) -> Result<Self, OutOfRange> {
        unit_interval("threshold", value).map(Self)
    }

    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Threshold {
    /// One pair of different people in a hundred reaches it.
    pub const PERMISSIVE: Self = Self(0.60);
    /// One pair of different people in a thousand reaches it.
    pub const BALANCED: Self = Self(0.75);
    /// One pair of different people in ten thousand reaches it.
    pub const STRICT: Self = Self(0.85);
    /// The operating point of every liveness score.
    pub const LIVE: Self = Self(0.5);
    /// The minimum of `compare_with_liveness` unless the caller gives one.
    pub const LIVE_SELFIE: Self = Self(0.60);

    /// The lower of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other < self { other } else { self }
    }
}

impl TryFrom<f64> for Similarity {
    type Error = OutOfRange;
    fn try_from(value: f64) -> Result<Self, OutOfRange> {
        Self::new(value)
    }
}

impl From<Similarity> for f64 {
    fn from(value: Similarity) -> Self {
        value.0
    }
}

impl TryFrom<f64> for Threshold {
    type Error = OutOfRange;
    fn try_from(value: f64) -> Result<Self, OutOfRange> {
        Self::new(value)
    }
}

impl From<Threshold> for f64 {
    fn from(value: Threshold) -> Self {
        value.0
    }
}

/// A model's judgement whether a living person was in front of the camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LivenessResult)]
pub struct Liveness {
    /// In [0, 1]. The model's operating point is 0.5: uncertain results and attacks lie below it.
    #[schema(value_type = f64, minimum = 0.0, maximum = 1.0)]
    pub score: Similarity,
    pub judgement: Judgement,
    /// `name@version`.
    pub model: String,
    /// The score before the context was taken into account, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    pub raw_score: Option<f64>,
    /// The side of the largest crop around the face that the picture allows, in sides of the face.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub context: Option<f64>,
    /// The context that the model needs, in sides of the face.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub least_context: Option<f64>,
}

impl Liveness {
    /// The picture's context and the context that the model needs, when the picture has too little.
    #[must_use]
    pub fn lacking_context(&self) -> Option<(f64, f64)> {
        self.context.zip(self.least_context).filter(|(context, least)| context < least)
    }
}

/// The three-way verdict of a liveness test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    Live,
    /// Neither is likely enough, or the model cannot judge the picture, for example because it was cropped too tightly.
    Uncertain,
    Spoof,
}

/// How much computing a comparison may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// One embedder, one pass.
    Fast,
    /// Every embedder of the pack, fused.
    #[default]
    Accurate,
}

/// A number outside what its type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be in {range}")]
pub struct OutOfRange {
    what: &'static str,
    range: &'static str,
}

fn unit_interval(what: &'static str, value: f64) -> Result<f64, OutOfRange> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(OutOfRange { what, range: "[0, 1]" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_the_unit_interval_and_nan_are_refused() {
        for value in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            assert!(Similarity::new(value).is_err());
            assert!(Threshold::new(value).is_err());
        }
        assert!(RawScore::new(f64::NAN).is_err());
    }

    #[test]
    fn percent_keeps_two_decimals() {
        assert_eq!(Similarity::new(0.876_54).unwrap().percent().to_string(), "87.65");
    }
}
