//! Error rates from scores, after ISO/IEC 19795-1: false match rate (FMR), false non-match rate (FNMR), true acceptance
//! rate (TAR = 1 - FNMR), equal error rate (EER). A score that equals the threshold is a match.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of pairs, far below 2^52, and shares of them"
)]

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Poisson};

use super::scores::{Scored, Scores};

/// Pairs, or pictures, of a kind from which an error rate says something. With no error among 30, the 95 % interval
/// still reaches 11 %.
pub const LEAST_SAMPLE: usize = 30;

/// The false match rates at which a report gives figures.
pub const RATES: [(&str, f64); 3] = [("1e-2", 1e-2), ("1e-3", 1e-3), ("1e-4", 1e-4)];

/// Scores in descending order.
#[derive(Debug, Clone, Default)]
pub struct Descending(Vec<f32>);

impl FromIterator<f32> for Descending {
    fn from_iter<I: IntoIterator<Item = f32>>(scores: I) -> Self {
        let mut scores: Vec<f32> = scores.into_iter().collect();
        scores.sort_unstable_by(|a, b| b.total_cmp(a));
        Self(scores)
    }
}

impl Descending {
    #[must_use]
    pub fn new(pairs: &[Scored]) -> Self {
        pairs.iter().map(|pair| pair.score).collect()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest threshold that at most the share `rate` of these scores reaches. `None` for fewer than 1 / `rate`
    /// scores: they cannot show so low a rate.
    #[must_use]
    pub fn threshold_at(&self, rate: f64) -> Option<f32> {
        let allowed = (rate * self.0.len() as f64).floor() as usize;
        if allowed == 0 {
            return None;
        }
        self.0.get(allowed).map(|refused| refused.next_up())
    }

    /// The share of these scores that reaches `threshold`; 0 when there are no scores.
    #[must_use]
    pub fn share_at(&self, threshold: f32) -> f64 {
        let count = self.0.partition_point(|score| *score >= threshold);
        count as f64 / (self.0.len().max(1)) as f64
    }

    /// From the highest to the lowest.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }
}

/// A point of the detection error trade-off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetPoint {
    pub threshold: f32,
    pub fmr: f64,
    pub fnmr: f64,
}

/// The trade-off at thresholds whose false match rates are evenly spaced on a logarithmic scale, from one pair to all
/// pairs.
#[must_use]
pub fn det(genuine: &Descending, impostor: &Descending, points: usize) -> Vec<DetPoint> {
    let count = impostor.len();
    if count == 0 || genuine.is_empty() || points < 2 {
        return Vec::new();
    }
    let last = (count as f64).ln();
    let mut curve: Vec<DetPoint> = Vec::new();
    for i in 0..points {
        let rank = (last * i as f64 / (points - 1) as f64).exp().round() as usize;
        let threshold = impostor.0[rank.clamp(1, count) - 1];
        if curve.last().is_some_and(|point| point.threshold <= threshold) {
            continue;
        }
        curve.push(DetPoint { threshold, fmr: impostor.share_at(threshold), fnmr: 1.0 - genuine.share_at(threshold) });
    }
    curve
}

/// The rate at which both error rates are equal, interpolated between the two thresholds around that point. `None`
/// without pairs of both kinds.
#[must_use]
pub fn equal_error_rate(genuine: &Descending, impostor: &Descending) -> Option<f64> {
    if genuine.is_empty() || impostor.is_empty() {
        return None;
    }
    // As the threshold falls through all scores, the false non-match rate falls and the false match rate rises.
    let (mut matched, mut passed) = (0, 0);
    let mut above = (1.0, 0.0);
    while let Some(threshold) =
        [genuine.0.get(matched), impostor.0.get(passed)].into_iter().flatten().copied().reduce(f32::max)
    {
        matched += genuine.0[matched..].iter().take_while(|score| **score >= threshold).count();
        passed += impostor.0[passed..].iter().take_while(|score| **score >= threshold).count();
        let below = (1.0 - matched as f64 / genuine.len() as f64, passed as f64 / impostor.len() as f64);
        if below.1 >= below.0 {
            // Both rates are taken as straight lines between the two thresholds; they cross here.
            let (before, after) = (above.0 - above.1, below.1 - below.0);
            let along = if before + after > 0.0 { before / (before + after) } else { 0.0 };
            return Some(above.1 + along * (below.1 - above.1));
        }
        above = below;
    }
    Some(f64::midpoint(above.0, above.1))
}

/// The area under the receiver operating characteristic: the share of (positive, negative) pairs whose positive score
/// is higher. Ties count half.
#[must_use]
pub fn area_under_curve(positive: &Descending, negative: &Descending) -> Option<f64> {
    if positive.is_empty() || negative.is_empty() {
        return None;
    }
    let wins: f64 = positive
        .0
        .iter()
        .map(|score| {
            let above = negative.0.partition_point(|other| other > score);
            let reached = negative.0.partition_point(|other| other >= score);
            let ties = reached - above;
            (negative.len() - reached) as f64 + ties as f64 / 2.0
        })
        .sum();
    Some(wins / (positive.len() as f64 * negative.len() as f64))
}

/// A 95 % confidence interval: it covers the true rate for 95 of 100 lists like this one.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Bootstrap replicates.
const REPLICATES: usize = 400;
/// Only the impostor pairs with the highest scores decide a replicate's threshold: this many times as many as the
/// highest rate allows to pass.
const TAIL: f64 = 3.0;

/// Bootstrap intervals of the true acceptance rate at each of [`RATES`]. Every replicate finds its own threshold. It
/// resamples people where the list names them, because all pairs of one person depend on each other, and pairs
/// otherwise.
/// `None` where the rate cannot be measured.
#[must_use]
pub fn tar_intervals(scores: &Scores) -> [Option<Interval>; RATES.len()] {
    let mut impostor: Vec<&Scored> = scores.impostor.iter().collect();
    impostor.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
    let deepest = RATES.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    impostor.truncate((TAIL * deepest * scores.impostor.len() as f64).ceil() as usize + 1);
    // A fixed seed gives the same report on every run.
    let mut random = StdRng::seed_from_u64(20);
    let mut found: [Vec<f64>; RATES.len()] = Default::default();
    for _ in 0..REPLICATES {
        let replicate = Replicate::draw(scores, &mut random);
        for (i, (_, rate)) in RATES.iter().enumerate() {
            if (rate * scores.impostor.len() as f64) < 1.0 {
                continue;
            }
            if let Some(tar) = replicate.tar(scores, &impostor, *rate) {
                found[i].push(tar);
            }
        }
    }
    found.map(|mut tars| {
        tars.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| tars.get((share * (tars.len() as f64 - 1.0)).round() as usize).copied();
        Some(Interval { low: at(0.025)?, high: at(0.975)? })
    })
}

/// How often each person, or each pair, was drawn with replacement.
enum Replicate {
    People { times: Vec<f64>, impostors: f64 },
    Pairs { genuine: Vec<f64>, seed: u64 },
}

impl Replicate {
    fn draw(scores: &Scores, random: &mut StdRng) -> Self {
        let draw = |count: usize, random: &mut StdRng| {
            let mut times = vec![0.0; count];
            for _ in 0..count {
                times[random.random_range(0..count)] += 1.0;
            }
            times
        };
        if let Some(images) = &scores.images_by_person {
            let times = draw(images.len(), random);
            // All pairs of drawn pictures, less those within one person.
            let (mut sum, mut squares) = (0.0, 0.0);
            for (count, times) in images.iter().zip(&times) {
                let pictures = f64::from(*count) * times;
                sum += pictures;
                squares += pictures * pictures;
            }
            Self::People { times, impostors: f64::midpoint(sum * sum, -squares) }
        } else {
            Self::Pairs { genuine: draw(scores.genuine.len(), random), seed: random.random() }
        }
    }

    fn tar(&self, scores: &Scores, impostor: &[&Scored], rate: f64) -> Option<f64> {
        match self {
            Self::People { times, impostors } => {
                let weight = |pair: &Scored| times[pair.people.0 as usize] * times[pair.people.1 as usize];
                let threshold = weighted_threshold(impostor, weight, rate * impostors)?;
                let weight = |pair: &Scored| times[pair.people.0 as usize];
                weighted_share(scores.genuine.iter().map(|pair| (pair.score, weight(pair))), threshold)
            }
            Self::Pairs { genuine, seed } => {
                // When as many pairs are drawn as there are, each is drawn about Poisson(1) times.
                let (mut random, times) = (StdRng::seed_from_u64(*seed), Poisson::new(1.0).ok()?);
                let weight = |_: &Scored| times.sample(&mut random);
                let threshold = weighted_threshold(impostor, weight, rate * scores.impostor.len() as f64)?;
                let genuine = scores.genuine.iter().zip(genuine).map(|(pair, times)| (pair.score, *times));
                weighted_share(genuine, threshold)
            }
        }
    }
}

/// The lowest threshold at which the summed weights of the passing scores do not exceed `allowed`.
fn weighted_threshold(descending: &[&Scored], mut weight: impl FnMut(&Scored) -> f64, allowed: f64) -> Option<f32> {
    let mut sum = 0.0;
    for scored in descending {
        sum += weight(scored);
        if sum > allowed {
            return Some(scored.score.next_up());
        }
    }
    None
}

fn weighted_share(scores: impl Iterator<Item = (f32, f64)>, threshold: f32) -> Option<f64> {
    let (mut above, mut all) = (0.0, 0.0);
    for (score, weight) in scores {
        all += weight;
        if score >= threshold {
            above += weight;
        }
    }
    (all > 0.0).then(|| above / all)
}

/// The 95 % interval of an equal error rate: Wilson's, as if the rate were measured on the kind with fewer pairs.
/// `None` without pairs of both kinds. The pairs of one person depend on each other, so the interval of a list of
/// identities is wider than this one.
#[must_use]
pub fn equal_error_interval(rate: f64, genuine: usize, impostor: usize) -> Option<Interval> {
    wilson_of_share(rate, genuine.min(impostor))
}

/// The 95 % interval of the share `successes` / `trials` (Wilson 1927).
#[must_use]
pub fn wilson(successes: usize, trials: usize) -> Option<Interval> {
    wilson_of_share(successes as f64 / trials as f64, trials)
}

fn wilson_of_share(share: f64, trials: usize) -> Option<Interval> {
    if trials == 0 {
        return None;
    }
    let (n, z) = (trials as f64, 1.96_f64);
    let middle = share + z * z / (2.0 * n);
    let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    Some(Interval { low: ((middle - spread) / scale).max(0.0), high: ((middle + spread) / scale).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scored(scores: &[f32]) -> Vec<Scored> {
        scores.iter().map(|score| Scored { score: *score, images: (0, 1), people: (0, 1) }).collect()
    }

    fn descending(scores: &[f32]) -> Descending {
        Descending::new(&scored(scores))
    }

    #[test]
    fn a_threshold_lets_exactly_the_allowed_share_pass() {
        let impostor = descending(&(0..1000u16).map(|rank| f32::from(rank) / 1000.0).collect::<Vec<_>>());
        let threshold = impostor.threshold_at(1e-2).unwrap();
        assert!((impostor.share_at(threshold) - 1e-2).abs() < 1e-12);
        assert!(threshold > 0.989 && threshold <= 0.990);
        assert_eq!(impostor.threshold_at(1e-4), None, "a thousand pairs cannot show one in ten thousand");
    }

    #[test]
    fn the_equal_error_rate_of_known_scores() {
        // At a threshold between 0.4 and 0.6, one of four genuine pairs is lost and one of four impostors passes.
        let (genuine, impostor) = (descending(&[0.9, 0.8, 0.7, 0.3]), descending(&[0.6, 0.2, 0.1, 0.0]));
        assert!((equal_error_rate(&genuine, &impostor).unwrap() - 0.25).abs() < 1e-9);
        let apart = equal_error_rate(&descending(&[0.9, 0.8]), &descending(&[0.2, 0.1]));
        assert_eq!(apart, Some(0.0));
        assert_eq!(equal_error_rate(&genuine, &Descending::default()), None);
    }

    #[test]
    fn the_area_counts_ties_half() {
        assert_eq!(area_under_curve(&descending(&[0.9, 0.8]), &descending(&[0.1, 0.2])), Some(1.0));
        assert_eq!(area_under_curve(&descending(&[0.5]), &descending(&[0.5])), Some(0.5));
        assert_eq!(area_under_curve(&descending(&[0.1]), &descending(&[0.5, 0.0])), Some(0.5));
    }

    #[test]
    fn an_interval_holds_the_share_and_narrows_with_the_trials() {
        let few = wilson(9, 10).unwrap();
        let many = wilson(900, 1000).unwrap();
        assert!(few.low < 0.9 && few.high > 0.9 && many.low < 0.9 && many.high > 0.9);
        assert!(many.high - many.low < few.high - few.low);
        // Published tables give 0.5958 to 0.9821.
        assert!((few.low - 0.5958).abs() < 1e-3 && (few.high - 0.9821).abs() < 1e-3, "{few:?}");
    }

    #[test]
    fn few_pairs_without_an_error_leave_a_wide_interval() {
        let of = |pairs| equal_error_interval(0.0, pairs, 1000).unwrap().high;
        assert!(of(1) > 0.79 && of(LEAST_SAMPLE) < 0.12 && of(1000) < 0.004, "{} {}", of(1), of(LEAST_SAMPLE));
        assert_eq!(equal_error_interval(0.0, 0, 5), None);
    }

    proptest! {
        #[test]
        fn the_trade_off_never_turns_back(
            genuine in proptest::collection::vec(-1.0..1.0f32, 1..60),
            impostor in proptest::collection::vec(-1.0..1.0f32, 1..60),
        ) {
            let curve = det(&descending(&genuine), &descending(&impostor), 40);
            prop_assert!(!curve.is_empty());
            for pair in curve.windows(2) {
                prop_assert!(pair[0].threshold > pair[1].threshold);
                prop_assert!(pair[0].fmr <= pair[1].fmr && pair[0].fnmr >= pair[1].fnmr);
            }
        }
    }

    #[test]
    fn the_interval_of_a_list_of_pairs_holds_its_figure() {
        for seed in 0..4 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut around = |middle: f32| -> Vec<f32> {
                (0..500).map(|_| middle + random.random::<f32>() + random.random::<f32>()).collect()
            };
            let (genuine, impostor) = (scored(&around(0.9)), scored(&around(0.0)));
            let scores = Scores { genuine, impostor, ..Scores::default() };
            let threshold = Descending::new(&scores.impostor).threshold_at(1e-2).unwrap();
            let tar = Descending::new(&scores.genuine).share_at(threshold);
            let interval = tar_intervals(&scores)[0].unwrap();
            assert!(interval.low <= tar && tar <= interval.high, "{tar} {interval:?}");
            assert!(tar_intervals(&scores)[2].is_none());
        }
    }
}
