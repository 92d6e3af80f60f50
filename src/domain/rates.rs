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

type Lookup = dyn Fn(Mode, f64) -> Result<Threshold, MeasuredRange> + Send + Sync;

/// A lookup of thresholds by false match rate; clones share it.
#[derive(Clone)]
pub struct Rates(Arc<Lookup>);

impl Rates {
    #[must_use]
    pub fn new(lookup: impl Fn(Mode, f64) -> Result<Threshold, MeasuredRange> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// # Errors
    /// Outside the measured range, where nothing is known.
    pub fn threshold_at(&self, mode: Mode, fmr: f64) -> Result<Threshold, MeasuredRange> {
        (self.0)(mode, fmr)
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates")
    }
}
