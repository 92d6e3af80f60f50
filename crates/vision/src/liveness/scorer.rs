//! Turns the networks' probabilities into a score and a judgement.

use crate::logit::{logit, sigmoid};
use visavis_domain::evidence::Judgement;

/// How probabilities become a score, and which scores mean what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LivenessScorer {
    /// Added to the logit, so that the operating point is 0.5.
    pub shift: f64,
    /// A score below this is an attack; from here up to [`OPERATING_POINT`] it is uncertain. In [0, 0.5].
    pub spoof_below: f64,
    /// The least context in which a picture can be judged: side of the largest possible crop, as a multiple of the side
    /// of the face's box.
    pub least_context: f64,
}

/// From this score on, the face is a living person's.
const OPERATING_POINT: f64 = 0.5;
/// The highest score of a picture that cannot be judged. It is below the operating point and below any minimum that a
/// caller may set.
const MOST_WITHOUT_CONTEXT: f64 = 0.49;

impl LivenessScorer {
    /// Combines weights and probabilities of `live` into one score in [0, 1]: sigmoid(sum of weight * logit(p) +
    /// shift).
    #[must_use]
    pub fn score(&self, tests: impl Iterator<Item = (f64, f64)>) -> f64 {
        sigmoid(tests.map(|(weight, p)| weight * logit(p)).sum::<f64>() + self.shift)
    }

    /// The judgement on a score, and the score itself. Where the picture shows too little context, the judgement is
    /// uncertain and the score is limited.
    #[must_use]
    pub fn judge(&self, score: f64, context: f64) -> (Judgement, f64) {
        if context < self.least_context {
            (Judgement::Uncertain, score.min(MOST_WITHOUT_CONTEXT))
        } else if score >= OPERATING_POINT {
            (Judgement::Live, score)
        } else if score >= self.spoof_below {
            (Judgement::Uncertain, score)
        } else {
            (Judgement::Spoof, score)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: LivenessScorer = LivenessScorer { shift: -0.23, spoof_below: 0.4, least_context: 2.0 };
    const BOTH: LivenessScorer = LivenessScorer { shift: -1.5, spoof_below: 0.2, least_context: 2.0 };

    #[test]
    fn the_logit_is_shifted_so_that_one_half_is_the_operating_point() {
        let score = |p: f64| OURS.score([(1.0, p)].into_iter());
        assert!((score(sigmoid(0.23)) - 0.5).abs() < 1e-12);
        // ln 4 - 0.23 = 1.156294
        assert!((score(0.8) - 0.760_659).abs() < 1e-6, "{}", score(0.8));
    }

    #[test]
    fn two_tests_are_fused_by_their_weighted_logits_and_neither_outvotes_the_other() {
        let score = |p: f64, q: f64| BOTH.score([(0.5, q), (0.5, p)].into_iter());
        // (ln 4 + ln 99) / 2 - 1.5 = 1.490707
        assert!((score(0.8, 0.99) - 0.816_184).abs() < 1e-6, "{}", score(0.8, 0.99));
        // A probability of 1 counts as one of 1 - 1e-6: (13.815510 - 2.197225) / 2 - 1.5
        assert!((score(0.1, 1.0) - sigmoid(4.309_142)).abs() < 1e-6);
        assert!((score(1.0, 0.0) - sigmoid(-1.5)).abs() < 1e-9);
    }

    #[test]
    fn below_the_operating_point_it_is_uncertain_first_and_then_an_attack() {
        for (score, judgement) in [
            (0.5, Judgement::Live),
            (0.499, Judgement::Uncertain),
            (0.4, Judgement::Uncertain),
            (0.399, Judgement::Spoof),
        ] {
            assert_eq!(OURS.judge(score, 2.0), (judgement, score));
        }
    }

    #[test]
    fn a_picture_without_surroundings_is_uncertain_below_the_operating_point_whatever_the_networks_say() {
        assert_eq!(OURS.judge(0.9, 1.999), (Judgement::Uncertain, 0.49));
        assert_eq!(OURS.judge(0.1, 1.2), (Judgement::Uncertain, 0.1));
    }
}
