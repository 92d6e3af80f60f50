//! False match rates and thresholds, by the calibrations of the model pack in use.

use std::sync::Arc;

use super::calibration::Calibration;
use super::evidence::{Mode, Threshold};

/// The false match rates that were measured for a mode, in (0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredRange {
    pub low: f64,
    pub high: f64,
}

/// The calibrations of both modes. Clones share them.
#[derive(Debug, Clone)]
pub struct Rates(Arc<Calibrations>);

#[derive(Debug)]
struct Calibrations {
    fast: Calibration,
    accurate: Calibration,
}

impl Rates {
    #[must_use]
    pub fn new(fast: Calibration, accurate: Calibration) -> Self {
        Self(Arc::new(Calibrations { fast, accurate }))
    }

    /// The threshold at which `fmr` was measured.
    ///
    /// # Errors
    /// The measured range, when `fmr` lies outside it.
    pub fn threshold_at(&self, mode: Mode, fmr: f64) -> Result<Threshold, MeasuredRange> {
        let calibration = self.of(mode);
        calibration.threshold_at(fmr).ok_or_else(|| {
            let (low, high) = calibration.measured_rates().unwrap_or_default();
            MeasuredRange { low, high }
        })
    }

    /// The share of pairs of different people whose score reaches `threshold`; `None` where nothing was measured.
    #[must_use]
    pub fn rate_of(&self, mode: Mode, threshold: Threshold) -> Option<f64> {
        self.of(mode).false_match_rate(threshold)
    }

    fn of(&self, mode: Mode) -> &Calibration {
        match mode {
            Mode::Fast => &self.0.fast,
            Mode::Accurate => &self.0.accurate,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::calibration::{Knot, MeasuredRate};

    /// Rates of 1e-2 at 0.6, 1e-3 at 0.75 and 1e-4 at 0.85, in both modes.
    pub(crate) fn rates() -> Rates {
        let knots = [0.0, 1.0].map(|raw| Knot { raw, similarity: raw }).to_vec();
        let rates = [(0.6, 1e-2), (0.75, 1e-3), (0.85, 1e-4)].map(|(similarity, fmr)| MeasuredRate { similarity, fmr });
        let calibration = Calibration::new("test@1".to_owned(), knots, rates.to_vec()).unwrap();
        Rates::new(calibration.clone(), calibration)
    }

    #[test]
    fn outside_the_measured_rates_there_is_no_threshold() {
        let threshold = rates().threshold_at(Mode::Fast, 1e-3).unwrap();
        assert!((threshold.get() - 0.75).abs() < 1e-9);
        assert!((rates().rate_of(Mode::Accurate, threshold).unwrap() - 1e-3).abs() < 1e-9);
        assert_eq!(rates().threshold_at(Mode::Fast, 1e-6), Err(MeasuredRange { low: 1e-4, high: 1e-2 }));
        assert_eq!(rates().rate_of(Mode::Fast, Threshold::new(0.9).unwrap()), None);
    }
}
