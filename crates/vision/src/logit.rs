//! The logistic function and its inverse.

/// The sigmoid of a larger logit is 0 or 1 anyway, and `exp` overflows.
const LOGIT_LIMIT: f64 = 80.0;
/// Probabilities are kept this far from 0 and 1, so that no network outvotes all others.
const LEAST_DOUBT: f64 = 1e-6;

/// The logistic function.
#[must_use]
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)).exp())
}

/// The logit of a probability in [0, 1].
#[must_use]
pub fn logit(probability: f64) -> f64 {
    let probability = probability.clamp(LEAST_DOUBT, 1.0 - LEAST_DOUBT);
    (probability / (1.0 - probability)).ln()
}
