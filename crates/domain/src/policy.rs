//! From evidence to verdict. The only place where a threshold meets a score.

use super::challenge::ChallengeAnswer;
use super::evidence::{Judgement, Liveness, Similarity, Threshold};
use super::frames::FrameSummary;
use super::image::ImageRole;
use super::job::{JobParams, Verdict};
use super::outcome::{Comparison, ImageFinding, ImageReport, Outcome, compared_probe};
use super::quality::QualityLimits;
use super::tenant::LivenessPolicy;
use super::warning::{LogType, Warning};

/// Pixels of the shorter side of a report's target image, at least: 720p, by its contract.
const REPORT_SHORT_SIDE: u32 = 720;

/// What a worker found out.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Each image that was looked at.
    pub images: Vec<ImageReport>,
    /// Of a probe of several frames.
    pub frames: Option<FrameSummary>,
    /// Absent when no pair of images had two usable faces.
    pub comparison: Option<Comparison>,
    /// Of kinds with a gallery, one entry an image.
    pub gallery_scores: Vec<Option<Similarity>>,
    /// Absent when it was not tested.
    pub liveness: Option<Liveness>,
    /// The source has no portrait for the number: there was nothing to compare with.
    pub id_not_found: bool,
    /// Milliseconds of computing.
    pub compute_ms: f64,
}

/// Whether the probe's liveness is still to be tested, given the comparison.
#[must_use]
pub fn wants_liveness(params: &JobParams, comparison: Option<&Comparison>) -> bool {
    match params {
        JobParams::LikenessCheck { .. } | JobParams::IdMatch { .. } => false,
        JobParams::FaceMatch { liveness, .. } => *liveness != LivenessPolicy::Off && comparison.is_some(),
        JobParams::CompareWithLiveness { compare_min, .. } => {
            comparison.is_some_and(|it| it.similarity.meets(*compare_min))
        }
    }
}

/// Decides a job.
#[must_use]
pub fn decide(params: JobParams, evidence: Evidence) -> Outcome {
    let mut warnings = Vec::new();
    if evidence.id_not_found {
        warnings.push(Warning::id_not_found());
    }
    let best = evidence.frames.as_ref().and_then(|it| it.best);
    // Of frames, what is wrong with the one that was compared: the others are there to choose from.
    let matters = |it: &&ImageReport| it.role == ImageRole::Reference || best.is_none_or(|best| it.position == best);
    for report in evidence.images.iter().filter(matters) {
        let image = params.image_name(report.role, report.position);
        match &report.seen {
            ImageFinding::Unreadable { code, reason } => warnings.push(Warning::invalid_image(&image, code, reason)),
            ImageFinding::Picture { faces: 0, .. } if report.role == ImageRole::Probe && evidence.frames.is_some() => {
                // Of all frames once: none of them shows one.
                let warning = Warning::no_face(params.field(report.role));
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            ImageFinding::Picture { faces: 0, .. } => warnings.push(Warning::no_face(&image)),
            ImageFinding::Picture { faces, quality, provenance, .. } => {
                if *faces > 1 {
                    warnings.push(Warning::several_faces(&image, *faces, quality.map(|it| it.dominance)));
                }
                let defects = quality.map(|it| it.defects(&QualityLimits::default())).unwrap_or_default();
                // Nobody can retake a source's portrait.
                let retaken = !(report.role == ImageRole::Reference && matches!(params, JobParams::IdMatch { .. }));
                let weight = if retaken { LogType::Warning } else { LogType::Information };
                warnings.extend(defects.iter().map(|it| it.warning(&image, weight)));
                warnings.extend(provenance.filter(|_| retaken).map(|it| it.warning(&image)));
            }
        }
    }
    // Of a gallery, one image without a usable face spoils nothing as long as another has one.
    if evidence.comparison.is_some() && !evidence.gallery_scores.is_empty() {
        for warning in &mut warnings {
            warning.log_type = LogType::Warning;
        }
    }
    if let Some(frames) = evidence.frames.as_ref().filter(|it| !it.are_consistent()) {
        warnings.push(frames.warning(params.field(ImageRole::Probe)));
    }
    let challenge = evidence.frames.as_ref().and_then(|frames| match &params {
        JobParams::FaceMatch { challenge, .. } if !challenge.is_empty() => Some(ChallengeAnswer::of(challenge, frames)),
        _ => None,
    });
    let unmet = challenge.as_ref().zip(evidence.frames.as_ref()).filter(|(answer, _)| !answer.passed);
    warnings.extend(unmet.map(|(answer, frames)| answer.warning(frames, params.field(ImageRole::Probe))));
    let probe = compared_probe(&evidence.images, evidence.frames.as_ref());
    let probe_name = probe.map(|it| params.image_name(it.role, it.position)).unwrap_or_default();
    let mut verdict = evidence.comparison.as_ref().map_or(Verdict::NotFinished, |it| by_thresholds(&params, it));
    if let Some(comparison) = &evidence.comparison {
        let wanted = wanted(&params);
        if !comparison.similarity.meets(wanted) {
            warnings.push(Warning::low_similarity(comparison.similarity.percent(), wanted.get() * 100.0));
        }
        verdict = with_liveness(verdict, &params, (evidence.liveness.as_ref(), &probe_name), &mut warnings);
    }
    if let JobParams::FaceMatch { .. } = params {
        warnings.extend(probe.and_then(|it| low_resolution(&it.seen, &probe_name)));
    }
    let grave = warnings.iter().any(|it| it.log_type == LogType::Error);
    if grave && verdict == Verdict::Approved {
        verdict = Verdict::InReview;
    }
    Outcome {
        verdict,
        params,
        comparison: evidence.comparison,
        gallery_scores: evidence.gallery_scores,
        liveness: evidence.liveness,
        images: evidence.images,
        frames: evidence.frames,
        challenge,
        warnings,
        compute_ms: evidence.compute_ms,
        sandbox: false,
    }
}

/// Of the probe that a report shows.
fn low_resolution(seen: &ImageFinding, image: &str) -> Option<Warning> {
    match *seen {
        ImageFinding::Picture { width, height, .. } if width.min(height) < REPORT_SHORT_SIDE => {
            Some(Warning::low_resolution(image, (width, height), REPORT_SHORT_SIDE))
        }
        _ => None,
    }
}

/// What a test of an image's liveness, or its absence, makes of the comparison's verdict: never a better one.
fn with_liveness(
    verdict: Verdict,
    params: &JobParams,
    (liveness, image): (Option<&Liveness>, &str),
    warnings: &mut Vec<Warning>,
) -> Verdict {
    match (params, liveness) {
        (JobParams::LikenessCheck { .. } | JobParams::IdMatch { .. }, _) => verdict,
        (JobParams::FaceMatch { liveness_min, .. }, Some(liveness)) => {
            warnings.extend(doubt(liveness, *liveness_min, image));
            match liveness.judgement {
                Judgement::Spoof => Verdict::Rejected,
                Judgement::Live if liveness.score.meets(*liveness_min) => verdict,
                Judgement::Live | Judgement::Uncertain if verdict == Verdict::Approved => Verdict::InReview,
                Judgement::Live | Judgement::Uncertain => verdict,
            }
        }
        (JobParams::FaceMatch { liveness, .. }, None) => {
            warnings.push(Warning::liveness_not_performed());
            let doubtful = *liveness == LivenessPolicy::Required && verdict == Verdict::Approved;
            if doubtful { Verdict::InReview } else { verdict }
        }
        (JobParams::CompareWithLiveness { liveness_min, .. }, Some(liveness)) => {
            warnings.extend(doubt(liveness, *liveness_min, image));
            let passed = liveness.score.meets(*liveness_min) && liveness.judgement != Judgement::Spoof;
            if passed { verdict } else { Verdict::Rejected }
        }
        // Never passed in silence: without a test there is no approval.
        (JobParams::CompareWithLiveness { .. }, None) => {
            if verdict == Verdict::Approved {
                Verdict::NotFinished
            } else {
                verdict
            }
        }
    }
}

/// What is told of a probe that is not live, or not live enough.
fn doubt(liveness: &Liveness, least: Threshold, image: &str) -> Option<Warning> {
    let score = liveness.score.get();
    if let Some((context, wanted)) = liveness.lacking_context() {
        Some(Warning::insufficient_context(image, context, wanted))
    } else if liveness.judgement == Judgement::Spoof {
        Some(Warning::liveness_attack(score, image))
    } else if liveness.judgement == Judgement::Uncertain || !liveness.score.meets(least) {
        Some(Warning::low_liveness(score, least.get(), image))
    } else {
        None
    }
}

fn by_thresholds(params: &JobParams, comparison: &Comparison) -> Verdict {
    if comparison.similarity.meets(wanted(params)) {
        return Verdict::Approved;
    }
    match params {
        JobParams::FaceMatch { review, .. } if comparison.similarity.meets(*review) => Verdict::InReview,
        _ => Verdict::Rejected,
    }
}

/// The threshold that an approval needs.
fn wanted(params: &JobParams) -> Threshold {
    match params {
        JobParams::LikenessCheck { threshold, .. } | JobParams::IdMatch { threshold, .. } => *threshold,
        JobParams::FaceMatch { approve, .. } => *approve,
        JobParams::CompareWithLiveness { compare_min, .. } => *compare_min,
    }
}

#[cfg(test)]
mod tests {
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
        let told = |params, liveness| {
            let evidence = Evidence { liveness: Some(liveness), ..evidence([1, 1], Some(comparison(0.9))) };
            let outcome = decide(params, evidence);
            let warnings = outcome.warnings.into_iter().filter(|it| it.risk != Risk::LowResolution);
            (outcome.verdict, warnings.map(|it| (it.risk, it.additional_data.unwrap())).collect::<Vec<_>>())
        };
        let lacking = vec![(Risk::InsufficientContext, "image=target_image context=1.42 wanted=2.00".to_owned())];
        assert_eq!(told(band(), liveness(1.42, 2.0)), (Verdict::InReview, lacking));
        let enough = vec![(Risk::LowLivenessScore, "image=target_image liveness_score=0.40 threshold=0.50".to_owned())];
        assert_eq!(told(band(), liveness(2.0, 2.0)), (Verdict::InReview, enough));
        let (verdict, warnings) = told(gallery(), liveness(1.42, 2.0));
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
        let found =
            Evidence { images, gallery_scores, liveness, comparison: Some(comparison(0.9)), ..Evidence::default() };
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
        let risks: Vec<_> = outcome.warnings.iter().map(|it| it.risk).collect();
        assert_eq!(risks, [Risk::MultipleFacesDetected, Risk::LowFaceMatchSimilarity]);
        assert_eq!(outcome.warnings[1].additional_data.as_deref(), Some("score=50.00 threshold=75.00"));
    }

    #[test]
    fn a_target_image_below_720p_is_told_about_in_a_report_alone() {
        let sized = |width, height| {
            let mut found = evidence([1, 1], Some(comparison(0.9)));
            found.images[1].seen =
                ImageFinding::Picture { width, height, faces: 1, face: None, quality: None, provenance: None };
            found
        };
        let told = |params, found| decide(params, found).warnings.into_iter().find(|it| it.risk == Risk::LowResolution);
        assert_eq!(told(band(), sized(1280, 720)), None);
        let warning = told(band(), sized(719, 2000)).unwrap();
        assert_eq!(warning.additional_data.as_deref(), Some("image=target_image width=719 height=2000 wanted=720"));
        assert_eq!(warning.log_type, LogType::Information);
        assert_eq!(decide(band(), sized(719, 2000)).verdict, Verdict::Approved);
        assert_eq!(told(single(), sized(719, 2000)), None);
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
            let warnings = outcome.warnings.into_iter().filter(|it| it.risk != Risk::LivenessNotPerformed);
            (outcome.verdict, warnings.map(|it| (it.risk, it.additional_data.unwrap())).collect::<Vec<_>>())
        };
        let frames = FrameSummary { best: Some(1), looked_at: 3, ..FrameSummary::default() };
        assert_eq!(decided(frames.clone()), (Verdict::Approved, Vec::new()));
        let (_, worse) = decided(FrameSummary { best: Some(2), ..frames.clone() });
        assert_eq!(worse, [(Risk::Blurred, "image=target_frames[2] sharpness=0.10 limit=0.16".to_owned())]);
        let data = |rest: &str| format!("image=target_frames frames=3 {rest}");
        let cut = decided(FrameSummary { cuts: 1, ..frames.clone() });
        let told = data("without_face=0 other_person=0 cuts=1");
        assert_eq!(cut, (Verdict::Approved, vec![(Risk::FramesInconsistent, told)]));
        let swapped = decided(FrameSummary { other_person: 1, ..frames });
        let told = data("without_face=0 other_person=1 cuts=0");
        assert_eq!(swapped, (Verdict::InReview, vec![(Risk::FramesInconsistent, told)]));
    }

    #[test]
    fn a_challenge_that_is_not_met_is_told_and_never_approved() {
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
            let is_told = outcome.has(Risk::ChallengeFailed);
            (outcome.verdict, outcome.challenge.map(|it| it.passed), is_told)
        };
        assert_eq!(decided(&asked, &met), (Verdict::Approved, Some(true), false));
        assert_eq!(decided(&[], &met), (Verdict::Approved, None, false));
        let unmet = FrameSummary { actions: Vec::new(), ..met };
        assert_eq!(decided(&asked, &unmet), (Verdict::InReview, Some(false), true));
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
