//! Turns a model's raw score into a similarity on which users can set a threshold. The map is monotone and piecewise
//! linear, is fitted on labelled pairs, and is versioned with the model.

use super::evidence::{RawScore, Similarity, Threshold};

/// One corner of the map.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
pub struct Knot {
    /// Raw score.
    pub raw: f64,
    /// The similarity that it stands for, in [0, 1].
    pub similarity: f64,
}

/// The false match rate at a similarity: the share of impostor pairs, among the pairs that the calibration was fitted
/// on, at or above it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
pub struct MeasuredRate {
    /// In [0, 1].
    pub similarity: f64,
    /// False match rate, above 0.
    pub fmr: f64,
}

/// A calibration that passed its checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    version: String,
    knots: Vec<Knot>,
    rates: Vec<MeasuredRate>,
}

/// Why a calibration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationFault {
    /// Fewer than two knots make no map.
    #[error("a calibration needs at least two knots")]
    TooFewKnots,
    /// A knot that is out of order would let a better score give a lower similarity.
    #[error("knot {0} does not have both a higher raw score and a higher similarity than the one before it")]
    NotMonotone(usize),
    /// A similarity outside [0, 1], or a raw score that is not finite.
    #[error("knot {0} is out of range")]
    OutOfRange(usize),
    /// Rates must fall as similarities rise, and lie in (0, 1].
    #[error("false match rate {0} is out of order or out of range")]
    Rates(usize),
}

impl Calibration {
    /// `knots` in ascending order of both numbers; `rates` in ascending order of similarity.
    ///
    /// # Errors
    /// When either is out of order or range.
    pub fn new(version: String, knots: Vec<Knot>, rates: Vec<MeasuredRate>) -> Result<Self, CalibrationFault> {
        if knots.len() < 2 {
            return Err(CalibrationFault::TooFewKnots);
        }
        for (i, knot) in knots.iter().enumerate() {
            if !knot.raw.is_finite() || !(0.0..=1.0).contains(&knot.similarity) {
                return Err(CalibrationFault::OutOfRange(i));
            }
        }
        for (i, pair) in knots.windows(2).enumerate() {
            if pair[0].raw >= pair[1].raw || pair[0].similarity >= pair[1].similarity {
                return Err(CalibrationFault::NotMonotone(i + 1));
            }
        }
        for (i, rate) in rates.iter().enumerate() {
            let in_range = (0.0..=1.0).contains(&rate.similarity) && rate.fmr > 0.0 && rate.fmr <= 1.0;
            let in_order = i == 0 || (rates[i - 1].similarity < rate.similarity && rates[i - 1].fmr > rate.fmr);
            if !in_range || !in_order {
                return Err(CalibrationFault::Rates(i));
            }
        }
        Ok(Self { version, knots, rates })
    }

    /// Name and version, as stored with every result.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The similarity that `raw` stands for. Beyond the outer knots it stays at theirs.
    #[must_use]
    pub fn similarity(&self, raw: RawScore) -> Similarity {
        clamped(interpolate(raw.get(), &self.knots, |k| (k.raw, k.similarity)), Similarity::new)
    }

    /// The raw score that stands for `similarity`: the inverse, within the outer knots.
    #[must_use]
    pub fn raw(&self, similarity: Similarity) -> f64 {
        interpolate(similarity.get(), &self.knots, |k| (k.similarity, k.raw))
    }

    /// The false match rate that `threshold` stands for, interpolated in its logarithm. `None` outside the measured
    /// range, where nothing is known.
    #[must_use]
    pub fn false_match_rate(&self, threshold: Threshold) -> Option<f64> {
        let (first, last) = (self.rates.first()?, self.rates.last()?);
        let known = (first.similarity..=last.similarity).contains(&threshold.get());
        known.then(|| interpolate(threshold.get(), &self.rates, |r| (r.similarity, r.fmr.ln())).exp())
    }

    /// The lowest and the highest false match rate that were measured.
    #[must_use]
    pub fn measured_rates(&self) -> Option<(f64, f64)> {
        Some((self.rates.last()?.fmr, self.rates.first()?.fmr))
    }

    /// The threshold at which `fmr` was measured, interpolated in its logarithm. `None` outside the measured range.
    #[must_use]
    pub fn threshold_at(&self, fmr: f64) -> Option<Threshold> {
        let (first, last) = (self.rates.first()?, self.rates.last()?);
        let known = (last.fmr..=first.fmr).contains(&fmr);
        known.then(|| {
            let similarity = interpolate(-fmr.ln(), &self.rates, |r| (-r.fmr.ln(), r.similarity));
            clamped(similarity, Threshold::new)
        })
    }
}

/// Linear interpolation at `value` between the two points whose abscissae enclose it. `points` ascend on both axes.
fn interpolate<T>(value: f64, points: &[T], axes: impl Fn(&T) -> (f64, f64)) -> f64 {
    let above = points.partition_point(|p| axes(p).0 < value);
    let at = |i: usize| points.get(i).map(&axes);
    match (above.checked_sub(1).and_then(at), at(above)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * ((value - x0) / (x1 - x0)),
        (Some((_, y)), None) | (None, Some((_, y))) => y,
        (None, None) => f64::NAN,
    }
}

/// Interpolation between numbers in [0, 1] can leave the interval only by rounding.
#[expect(clippy::expect_used, reason = "the knots were checked to lie in [0, 1]")]
fn clamped<T, E: std::fmt::Debug>(value: f64, new: impl Fn(f64) -> Result<T, E>) -> T {
    new(value.clamp(0.0, 1.0)).expect("a number in [0, 1]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn calibration() -> Calibration {
        let knots = [(-1.0, 0.0), (0.80, 0.3), (0.8591, 0.75), (0.8797, 0.85), (1.0, 1.0)];
        let rates = [(0.6, 1e-2), (0.75, 1e-3), (0.85, 1e-4)];
        Calibration::new(
            "test@1".to_owned(),
            knots.map(|(raw, similarity)| Knot { raw, similarity }).to_vec(),
            rates.map(|(similarity, fmr)| MeasuredRate { similarity, fmr }).to_vec(),
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn a_better_raw_score_never_gives_a_lower_similarity(a in -1.5..1.5f64, b in -1.5..1.5f64) {
            let c = calibration();
            let of = |raw| c.similarity(RawScore::new(raw).unwrap()).get();
            prop_assert!(of(a.min(b)) <= of(a.max(b)));
        }

        #[test]
        fn raw_leads_back_from_similarity(raw in -1.0..1.0f64) {
            let c = calibration();
            prop_assert!((c.raw(c.similarity(RawScore::new(raw).unwrap())) - raw).abs() < 1e-9);
        }
    }

    #[test]
    fn beyond_the_outer_knots_the_similarity_stays() {
        let c = calibration();
        assert_eq!(c.similarity(RawScore::new(2.0).unwrap()).get().to_string(), "1");
        assert_eq!(c.similarity(RawScore::new(-2.0).unwrap()).get().to_string(), "0");
    }

    #[test]
    fn a_threshold_stands_at_its_rate_and_outside_the_measured_range_at_none() {
        let c = calibration();
        let rate = |t| c.false_match_rate(Threshold::new(t).unwrap());
        assert!((rate(0.75).unwrap() / 1e-3 - 1.0).abs() < 1e-9);
        assert!((rate(0.80).unwrap() / 1e-3_f64.powf(0.5) / 1e-4_f64.powf(0.5) - 1.0).abs() < 1e-9);
        assert_eq!(rate(0.9), None);
        assert!((c.threshold_at(1e-4).unwrap().get() - 0.85).abs() < 1e-9);
        assert_eq!(c.threshold_at(1e-6), None);
        assert_eq!(c.measured_rates(), Some((1e-4, 1e-2)));
    }

    #[test]
    fn knots_out_of_order_are_refused() {
        let knot = |raw, similarity| Knot { raw, similarity };
        let new = |knots| Calibration::new(String::new(), knots, Vec::new());
        assert_eq!(new(vec![knot(0.0, 0.0)]), Err(CalibrationFault::TooFewKnots));
        assert_eq!(new(vec![knot(0.0, 0.0), knot(0.0, 1.0)]), Err(CalibrationFault::NotMonotone(1)));
        assert_eq!(new(vec![knot(0.0, 0.5), knot(1.0, 0.4)]), Err(CalibrationFault::NotMonotone(1)));
        assert_eq!(new(vec![knot(0.0, 0.0), knot(1.0, 1.1)]), Err(CalibrationFault::OutOfRange(1)));
        assert_eq!(new(vec![knot(f64::NAN, 0.0), knot(1.0, 1.0)]), Err(CalibrationFault::OutOfRange(0)));
        let rates = vec![MeasuredRate { similarity: 0.6, fmr: 1e-3 }, MeasuredRate { similarity: 0.7, fmr: 1e-2 }];
        let knots = vec![knot(0.0, 0.0), knot(1.0, 1.0)];
        assert_eq!(Calibration::new(String::new(), knots, rates), Err(CalibrationFault::Rates(1)));
    }
}
