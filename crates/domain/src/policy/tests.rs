//! Tables of verdicts and warnings.

use super::*;
use crate::action::Action;
use crate::evidence::{Mode, RawScore, Similarity};
use crate::job::LiveCapture;
use crate::motion::MotionLimits;
use crate::quality::Quality;
use crate::quality::tests::GOOD;
use crate::warning::Risk;
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

fn band() -> JobParams {
    JobParams::FaceMatch {
        approve: Threshold::new(0.75).unwrap(),
        review: Threshold::new(0.60).unwrap(),
        target: LiveCapture::Image,
        liveness: LivenessPolicy::IfAvailable,
        liveness_min: Threshold::LIVE,
        challenge: Vec::new(),
        mode: Mode::Fast,
    }
}

fn framed(challenge: Vec<Action>) -> JobParams {
    let JobParams::FaceMatch { approve, review, liveness, liveness_min, mode, .. } = band() else { panic!() };
    JobParams::FaceMatch { approve, review, target: LiveCapture::Frames, liveness, liveness_min, challenge, mode }
}

fn single() -> JobParams {
    JobParams::LikenessCheck { threshold: Threshold::new(0.75).unwrap(), mode: Mode::Fast }
}

fn report(role: ImageRole, faces: u32) -> ImageReport {
    ImageReport {
        role,
        position: 0,
        seen: ImageFinding::Picture { width: 9, height: 9, faces, face: None, quality: None, provenance: None },
    }
}

/// Of two images with so many faces.
fn evidence(faces: [u32; 2], comparison: Option<Comparison>) -> Evidence {
    let images = vec![report(ImageRole::Reference, faces[0]), report(ImageRole::Probe, faces[1])];
    Evidence { images, comparison, compute_ms: 1.0, ..Evidence::default() }
}

fn verdict(params: JobParams, similarity: f64) -> Verdict {
    decide(params, evidence([1, 1], Some(comparison(similarity)))).verdict
}

fn live(score: f64, judgement: Judgement) -> Liveness {
    Liveness {
        score: Similarity::new(score).unwrap(),
        judgement,
        model: "l@1".to_owned(),
        raw_score: None,
        context: None,
        least_context: None,
    }
}

fn gallery() -> JobParams {
    let at = |value| Threshold::new(value).unwrap();
    let os = crate::capture_os::CaptureOs::Ios;
    JobParams::CompareWithLiveness { compare_min: at(0.85), liveness_min: at(0.60), os, mode: Mode::Fast }
}

#[test]
fn liveness_never_makes_a_verdict_better_and_its_absence_never_passes_where_it_is_needed() {
    let decided = |params: JobParams, similarity, liveness| {
        let evidence = Evidence { liveness, ..evidence([1, 1], Some(comparison(similarity))) };
        decide(params, evidence).verdict
    };
    let set = |policy, least: f64| match band() {
        JobParams::FaceMatch { approve, review, target, mode, .. } => {
            let liveness_min = Threshold::new(least).unwrap();
            JobParams::FaceMatch {
                approve,
                review,
                target,
                mode,
                challenge: Vec::new(),
                liveness: policy,
                liveness_min,
            }
        }
        other => other,
    };
    let required = || set(LivenessPolicy::Required, 0.5);
    let strict = || set(LivenessPolicy::IfAvailable, 0.7);
    for (params, similarity, liveness, expected) in [
        (band(), 0.9, Some(live(0.9, Judgement::Live)), Verdict::Approved),
        (band(), 0.9, Some(live(0.4, Judgement::Uncertain)), Verdict::InReview),
        (band(), 0.9, Some(live(0.1, Judgement::Spoof)), Verdict::Rejected),
        (band(), 0.2, Some(live(0.9, Judgement::Live)), Verdict::Rejected),
        (band(), 0.2, Some(live(0.4, Judgement::Uncertain)), Verdict::Rejected),
        (strict(), 0.9, Some(live(0.7, Judgement::Live)), Verdict::Approved),
        (strict(), 0.9, Some(live(0.69, Judgement::Live)), Verdict::InReview),
        (strict(), 0.9, Some(live(0.1, Judgement::Spoof)), Verdict::Rejected),
        (band(), 0.9, None, Verdict::Approved),
        (required(), 0.9, None, Verdict::InReview),
        (gallery(), 0.85, Some(live(0.6, Judgement::Live)), Verdict::Approved),
        (gallery(), 0.85, Some(live(0.59, Judgement::Live)), Verdict::Rejected),
        (gallery(), 0.85, Some(live(0.9, Judgement::Spoof)), Verdict::Rejected),
        (gallery(), 0.84, None, Verdict::Rejected),
        (gallery(), 0.9, None, Verdict::NotFinished),
    ] {
        assert_eq!(
            decided(params.clone(), similarity, liveness.clone()),
            expected,
            "{params:?} {similarity} {liveness:?}"
        );
    }
}

#[test]
fn a_picture_without_surroundings_is_asked_for_uncropped_and_its_score_not_spoken_of() {
    let liveness = |context, least| Liveness {
        context: Some(context),
        least_context: Some(least),
        ..live(0.4, Judgement::Uncertain)
    };
    let warned = |params, liveness| {
        let evidence = Evidence { liveness: Some(liveness), ..evidence([1, 1], Some(comparison(0.9))) };
        let outcome = decide(params, evidence);
        let warnings = outcome.warnings.into_iter().filter(|warning| warning.risk != Risk::LowResolution);
        (outcome.verdict, warnings.map(|warning| (warning.risk, warning.additional_data.unwrap())).collect::<Vec<_>>())
    };
    let lacking = vec![(Risk::InsufficientContext, "image=target_image context=1.42 wanted=2.00".to_owned())];
    assert_eq!(warned(band(), liveness(1.42, 2.0)), (Verdict::InReview, lacking));
    let enough = vec![(Risk::LowLivenessScore, "image=target_image liveness_score=0.40 threshold=0.50".to_owned())];
    assert_eq!(warned(band(), liveness(2.0, 2.0)), (Verdict::InReview, enough));
    let (verdict, warnings) = warned(gallery(), liveness(1.42, 2.0));
    assert_eq!((verdict, warnings[0].0), (Verdict::Rejected, Risk::InsufficientContext));
}

#[test]
fn liveness_is_wanted_after_a_passed_comparison_and_in_reports_always() {
    let wants = |params: &JobParams, similarity| wants_liveness(params, Some(&comparison(similarity)));
    assert!(wants(&gallery(), 0.85) && !wants(&gallery(), 0.8499));
    assert!(wants(&band(), 0.1) && !wants_liveness(&band(), None));
    assert!(!wants(&single(), 0.9));
}

#[test]
fn one_image_of_a_gallery_without_a_face_spoils_nothing() {
    let images = vec![report(ImageRole::Reference, 0), report(ImageRole::Probe, 1)];
    let gallery_scores = vec![None, Some(Similarity::new(0.9).unwrap())];
    let liveness = Some(live(0.9, Judgement::Live));
    let found = Evidence { images, gallery_scores, liveness, comparison: Some(comparison(0.9)), ..Evidence::default() };
    assert_eq!(decide(gallery(), found).verdict, Verdict::Approved);
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
    let outcome = decide(band(), evidence([1, 0], None));
    assert_eq!(outcome.verdict, Verdict::NotFinished);
    assert_eq!(outcome.warnings[0].risk, Risk::NoFaceDetected);
    assert_eq!(outcome.warnings[0].additional_data.as_deref(), Some("image=target_image"));
}

#[test]
fn an_unreadable_image_says_why() {
    let reason = "100 megapixels, 24 allowed".to_owned();
    let mut found = evidence([1, 1], None);
    found.images[0].seen = ImageFinding::Unreadable { code: "too_many_pixels".to_owned(), reason };
    let outcome = decide(single(), found);
    assert_eq!(outcome.verdict, Verdict::NotFinished);
    assert_eq!(outcome.warnings[0].risk, Risk::InvalidImage);
    assert_eq!(
        outcome.warnings[0].additional_data.as_deref(),
        Some("image=photo code=too_many_pixels: 100 megapixels, 24 allowed")
    );
}

#[test]
fn a_low_score_is_warned_about_with_both_numbers() {
    let outcome = decide(single(), evidence([1, 3], Some(comparison(0.5))));
    let risks: Vec<_> = outcome.warnings.iter().map(|warning| warning.risk).collect();
    assert_eq!(risks, [Risk::MultipleFacesDetected, Risk::LowFaceMatchSimilarity]);
    assert_eq!(outcome.warnings[1].additional_data.as_deref(), Some("score=50.00 threshold=75.00"));
}

#[test]
fn a_target_image_below_720p_is_warned_about_in_a_report_alone() {
    let sized = |width, height| {
        let mut found = evidence([1, 1], Some(comparison(0.9)));
        found.images[1].seen =
            ImageFinding::Picture { width, height, faces: 1, face: None, quality: None, provenance: None };
        found
    };
    let warned =
        |params, found| decide(params, found).warnings.into_iter().find(|warning| warning.risk == Risk::LowResolution);
    assert_eq!(warned(band(), sized(1280, 720)), None);
    let warning = warned(band(), sized(719, 2000)).unwrap();
    assert_eq!(warning.additional_data.as_deref(), Some("image=target_image width=719 height=2000 wanted=720"));
    assert_eq!(warning.log_type, LogType::Information);
    assert_eq!(decide(band(), sized(719, 2000)).verdict, Verdict::Approved);
    assert_eq!(warned(single(), sized(719, 2000)), None);
}

#[test]
fn of_frames_the_one_that_was_compared_is_warned_about_and_whether_they_belong_together() {
    let params = framed(Vec::new());
    let blurred = Quality { sharpness: 0.1, ..GOOD };
    let frame = |position, quality| ImageReport {
        role: ImageRole::Probe,
        position,
        seen: ImageFinding::Picture {
            width: 720,
            height: 720,
            faces: 1,
            face: None,
            quality: Some(quality),
            provenance: None,
        },
    };
    let decided = |frames| {
        let images = vec![report(ImageRole::Reference, 1), frame(0, blurred), frame(1, GOOD), frame(2, blurred)];
        let comparison = Some(comparison(0.9));
        let outcome =
            decide(params.clone(), Evidence { images, frames: Some(frames), comparison, ..Evidence::default() });
        let warnings = outcome.warnings.into_iter().filter(|warning| warning.risk != Risk::LivenessNotPerformed);
        (outcome.verdict, warnings.map(|warning| (warning.risk, warning.additional_data.unwrap())).collect::<Vec<_>>())
    };
    let frames = FrameSummary { best: Some(1), looked_at: 3, ..FrameSummary::default() };
    assert_eq!(decided(frames.clone()), (Verdict::Approved, Vec::new()));
    let (_, worse) = decided(FrameSummary { best: Some(2), ..frames.clone() });
    assert_eq!(worse, [(Risk::Blurred, "image=target_frames[2] sharpness=0.10 limit=0.16".to_owned())]);
    let data = |rest: &str| format!("image=target_frames frames=3 {rest}");
    let cut = decided(FrameSummary { cuts: 1, ..frames.clone() });
    let expected = data("without_face=0 other_person=0 cuts=1");
    assert_eq!(cut, (Verdict::Approved, vec![(Risk::FramesInconsistent, expected)]));
    let swapped = decided(FrameSummary { other_person: 1, ..frames });
    let expected = data("without_face=0 other_person=1 cuts=0");
    assert_eq!(swapped, (Verdict::InReview, vec![(Risk::FramesInconsistent, expected)]));
}

#[test]
fn a_challenge_that_is_not_met_is_warned_about_and_never_approved() {
    let asked = vec![Action::TurnLeft, Action::OpenMouth, Action::TurnRight];
    let met = FrameSummary { best: Some(0), looked_at: 20, actions: asked.clone(), ..FrameSummary::default() };
    let met = FrameSummary { parallax: Some(MotionLimits::default().solid), least_similarity: Some(0.9), ..met };
    let decided = |challenge: &[Action], frames: &FrameSummary| {
        let images = vec![report(ImageRole::Reference, 1), report(ImageRole::Probe, 1)];
        let frames = Some(frames.clone());
        let outcome = decide(
            framed(challenge.to_vec()),
            Evidence { images, frames, comparison: Some(comparison(0.9)), ..Evidence::default() },
        );
        let has_warning = outcome.has(Risk::ChallengeFailed);
        (outcome.verdict, outcome.challenge.map(|answer| answer.passed), has_warning)
    };
    assert_eq!(decided(&asked, &met), (Verdict::Approved, Some(true), false));
    assert_eq!(decided(&[], &met), (Verdict::Approved, None, false));
    let unmet = FrameSummary { actions: Vec::new(), ..met };
    assert_eq!(decided(&asked, &unmet), (Verdict::InReview, Some(false), true));
}

#[test]
fn a_threshold_is_met_at_its_own_value_and_missed_just_below() {
    let met = |value| is_same_person(Similarity::new(value).unwrap(), Threshold::BALANCED);
    assert!(met(0.75) && !met(0.749_999));
    let strong = |value| is_strong_match(Similarity::new(value).unwrap());
    assert!(strong(0.85) && !strong(0.849_999));
}

#[test]
fn the_risk_of_a_case_is_the_rate_that_its_score_stands_for() {
    let rates = crate::rates::tests::rates();
    let two =
        |rule, score| needs_two_reviewers(rule, Some(&rates), Some((Mode::Fast, Similarity::new(score).unwrap())));
    assert!(!two(None, 0.1));
    assert!(two(Some(1e-3), 0.74) && two(Some(1e-3), 0.75) && !two(Some(1e-3), 0.76));
    assert!(two(Some(0.0), 0.99), "every case");
    assert!(!two(Some(0.5), 0.1), "rates above all that were measured");
    assert!(needs_two_reviewers(Some(1e-3), Some(&rates), None) && needs_two_reviewers(Some(1e-3), None, None));
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
