//! From a false match rate to the threshold that was measured to give it: known to the model pack's calibrations, asked
//! for by requests.

use std::sync::Arc;

use super::evidence::{Mode, Threshold};

/// The rates at which a mode was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredRange {
    pub low: f64,
    pub high: f64,
}

type ThresholdAt = dyn Fn(Mode, f64) -> Result<Threshold, MeasuredRange> + Send + Sync;
type RateOf = dyn Fn(Mode, Threshold) -> Option<f64> + Send + Sync;

/// A lookup of thresholds by false match rate, and back; clones share it.
#[derive(Clone)]
pub struct Rates {
    threshold_at: Arc<ThresholdAt>,
    rate_of: Arc<RateOf>,
}

impl Rates {
    #[must_use]
    pub fn new(
        threshold_at: impl Fn(Mode, f64) -> Result<Threshold, MeasuredRange> + Send + Sync + 'static,
        rate_of: impl Fn(Mode, Threshold) -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        Self { threshold_at: Arc::new(threshold_at), rate_of: Arc::new(rate_of) }
    }

    /// # Errors
    /// Outside the measured range, where nothing is known.
    pub fn threshold_at(&self, mode: Mode, fmr: f64) -> Result<Threshold, MeasuredRange> {
        (self.threshold_at)(mode, fmr)
    }

    /// The share of pairs of different people whose score is at or above that; `None` where nothing was measured.
    #[must_use]
    pub fn rate_of(&self, mode: Mode, threshold: Threshold) -> Option<f64> {
        (self.rate_of)(mode, threshold)
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates")
    }
}
