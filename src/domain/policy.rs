//! From evidence to verdict. The only place where a threshold meets a score.

use super::evidence::Threshold;
use super::image::ImageRole;
use super::job::{Params, Verdict};
use super::outcome::{Comparison, Outcome};
use super::warning::{LogType, Warning};

/// What was seen in one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The image could not be read: a stable code, and a sentence for people.
    Unreadable { code: &'static str, reason: String },
    /// It was read; so many faces were found.
    Faces(usize),
}

/// Decides a job. `comparison` is absent when either image had no usable face.
#[must_use]
pub fn decide(
    params: Params,
    reference: &Seen,
    probe: &Seen,
    comparison: Option<Comparison>,
    compute_ms: f64,
) -> Outcome {
    let mut warnings = Vec::new();
    for (role, seen) in [(ImageRole::Reference, reference), (ImageRole::Probe, probe)] {
        let image = params.field(role);
        match seen {
            Seen::Unreadable { code, reason } => warnings.push(Warning::invalid_image(image, code, reason)),
            Seen::Faces(0) => warnings.push(Warning::no_face(image)),
            Seen::Faces(1) => {}
            Seen::Faces(count) => warnings.push(Warning::several_faces(image, *count)),
        }
    }
    let mut verdict = comparison.as_ref().map_or(Verdict::NotFinished, |it| by_thresholds(&params, it));
    if let Some(comparison) = &comparison {
        let wanted = wanted(&params);
        if !comparison.similarity.meets(wanted) {
            warnings.push(Warning::low_similarity(comparison.similarity.percent(), wanted.get() * 100.0));
        }
    }
    if matches!(params, Params::FaceMatch { .. }) && comparison.is_some() {
        warnings.push(Warning::liveness_not_performed());
    }
    let grave = warnings.iter().any(|it| it.log_type == LogType::Error);
    if grave && verdict == Verdict::Approved {
        verdict = Verdict::InReview;
    }
    Outcome { verdict, params, comparison, warnings, compute_ms }
}

fn by_thresholds(params: &Params, comparison: &Comparison) -> Verdict {
    match params {
        Params::LikenessCheck { threshold, .. } if comparison.similarity.meets(*threshold) => Verdict::Approved,
        Params::FaceMatch { approve, .. } if comparison.similarity.meets(*approve) => Verdict::Approved,
        Params::FaceMatch { review, .. } if comparison.similarity.meets(*review) => Verdict::InReview,
        Params::LikenessCheck { .. } | Params::FaceMatch { .. } => Verdict::Rejected,
    }
}

/// The threshold that an approval needs.
fn wanted(params: &Params) -> Threshold {
    match params {
        Params::LikenessCheck { threshold, .. } => *threshold,
        Params::FaceMatch { approve, .. } => *approve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::{Mode, RawScore, Similarity};
    use crate::domain::warning::Risk;
    use proptest::prelude::*;

    fn comparison(similarity: f64) -> Comparison {
        Comparison {
            raw: RawScore::new(0.9).unwrap(),
            similarity: Similarity::new(similarity).unwrap(),
            mode: Mode::Fast,
            model: "m@1".to_owned(),
            calibration: "c@1".to_owned(),
        }
    }

    fn band() -> Params {
        Params::FaceMatch {
            approve: Threshold::new(0.75).unwrap(),
            review: Threshold::new(0.60).unwrap(),
            mode: Mode::Fast,
        }
    }

    fn single() -> Params {
        Params::LikenessCheck { threshold: Threshold::new(0.75).unwrap(), mode: Mode::Fast }
    }

    fn verdict(params: Params, similarity: f64) -> Verdict {
        decide(params, &Seen::Faces(1), &Seen::Faces(1), Some(comparison(similarity)), 1.0).verdict
    }

    #[test]
    fn each_threshold_belongs_to_the_better_side() {
        assert_eq!(verdict(band(), 0.75), Verdict::Approved);
        assert_eq!(verdict(band(), 0.7499), Verdict::InReview);
        assert_eq!(verdict(band(), 0.60), Verdict::InReview);
        assert_eq!(verdict(band(), 0.5999), Verdict::Rejected);
        assert_eq!(verdict(single(), 0.75), Verdict::Approved);
        assert_eq!(verdict(single(), 0.7499), Verdict::Rejected);
    }

    #[test]
    fn without_two_faces_a_job_is_not_finished_and_names_the_image() {
        let outcome = decide(band(), &Seen::Faces(1), &Seen::Faces(0), None, 1.0);
        assert_eq!(outcome.verdict, Verdict::NotFinished);
        assert_eq!(outcome.warnings[0].risk, Risk::NoFaceDetected);
        assert_eq!(outcome.warnings[0].additional_data.as_deref(), Some("image=target_image"));
    }

    #[test]
    fn an_unreadable_image_says_why() {
        let seen = Seen::Unreadable { code: "too_many_pixels", reason: "100 megapixels, 24 allowed".to_owned() };
        let outcome = decide(single(), &seen, &Seen::Faces(1), None, 1.0);
        assert_eq!(outcome.verdict, Verdict::NotFinished);
        assert_eq!(outcome.warnings[0].risk, Risk::InvalidImage);
        assert_eq!(
            outcome.warnings[0].additional_data.as_deref(),
            Some("image=photo code=too_many_pixels: 100 megapixels, 24 allowed")
        );
    }

    #[test]
    fn a_low_score_is_warned_about_with_both_numbers() {
        let outcome = decide(single(), &Seen::Faces(1), &Seen::Faces(3), Some(comparison(0.5)), 1.0);
        let risks: Vec<_> = outcome.warnings.iter().map(|it| it.risk).collect();
        assert_eq!(risks, [Risk::MultipleFacesDetected, Risk::LowFaceMatchSimilarity]);
        assert_eq!(outcome.warnings[1].additional_data.as_deref(), Some("score=50.00 threshold=75.00"));
    }

    proptest! {
        #[test]
        fn a_higher_score_never_makes_a_worse_verdict(a in 0.0..=1.0_f64, b in 0.0..=1.0_f64) {
            let rank = |v| match v { Verdict::Approved => 2, Verdict::InReview => 1, _ => 0 };
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(rank(verdict(band(), low)) <= rank(verdict(band(), high)));
            prop_assert!(rank(verdict(single(), low)) <= rank(verdict(single(), high)));
        }
    }
}
