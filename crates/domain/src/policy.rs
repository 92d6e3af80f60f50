//! From evidence to verdict: the only place where a threshold meets a score. The comparison of the two types is private
//! to this file, so that no other code can make one by accident.

use super::challenge::ChallengeAnswer;
use super::evidence::{Judgement, Liveness, Mode, Similarity, Threshold};
use super::frames::FrameSummary;
use super::image::ImageRole;
use super::job::{JobParams, Verdict};
use super::outcome::{Comparison, ImageFinding, ImageReport, Outcome, compared_probe};
use super::quality::QualityLimits;
use super::rates::Rates;
use super::tenant::LivenessPolicy;
use super::warning::{LogType, Warning};

#[cfg(test)]
mod tests;

/// The shorter side that a report's target image should have, in pixels. The report's contract asks for 720p.
const REPORT_SHORT_SIDE: u32 = 720;

/// What a worker found out about a job's images.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// One report for each image that was analysed.
    pub images: Vec<ImageReport>,
    /// Present when the probe is several frames or a video.
    pub frames: Option<FrameSummary>,
    /// Absent when no pair of images had two usable faces.
    pub comparison: Option<Comparison>,
    /// One entry for each gallery image; empty for kinds without a gallery.
    pub gallery_scores: Vec<Option<Similarity>>,
    /// Absent when liveness was not tested.
    pub liveness: Option<Liveness>,
    /// The identity source has no portrait for the number, so there was nothing to compare with.
    pub id_not_found: bool,
    /// Milliseconds of computing.
    pub compute_ms: f64,
}

/// Met or exceeded: a score equal to the threshold passes.
fn meets(score: Similarity, threshold: Threshold) -> bool {
    score.get() >= threshold.get()
}

/// Whether two faces with this similarity count as one person's under that threshold.
#[must_use]
pub fn is_same_person(similarity: Similarity, threshold: Threshold) -> bool {
    meets(similarity, threshold)
}

/// Whether a match is called a strong one, whatever threshold the request set.
#[must_use]
pub fn is_strong_match(similarity: Similarity) -> bool {
    meets(similarity, Threshold::STRICT)
}

/// Whether a liveness test passes under the caller's minimum. An attack never passes.
#[must_use]
pub fn is_live(liveness: &Liveness, min: Threshold) -> bool {
    meets(liveness.score, min) && liveness.judgement != Judgement::Spoof
}

/// Whether two reviewers must agree on a case with this score: its false match rate is at or above the organisation's
/// `four_eyes_fmr`. A case without a score needs two, and so does a score whose rate nobody measured.
#[must_use]
pub fn needs_two_reviewers(
    four_eyes_fmr: Option<f64>,
    rates: Option<&Rates>,
    scored: Option<(Mode, Similarity)>,
) -> bool {
    let Some(fmr) = four_eyes_fmr else { return false };
    let (Some(rates), Some((mode, score))) = (rates, scored) else { return true };
    match rates.threshold_at(mode, fmr) {
        Ok(threshold) => score.get() <= threshold.get(),
        Err(measured) => fmr < measured.high,
    }
}

/// Whether the probe's liveness is to be tested after this comparison.
#[must_use]
pub fn wants_liveness(params: &JobParams, comparison: Option<&Comparison>) -> bool {
    match params {
        JobParams::LikenessCheck { .. } | JobParams::IdMatch { .. } => false,
        JobParams::FaceMatch { liveness, .. } => *liveness != LivenessPolicy::Off && comparison.is_some(),
        JobParams::CompareWithLiveness { compare_min, .. } => {
            comparison.is_some_and(|comparison| meets(comparison.similarity, *compare_min))
        }
    }
}

/// Decides a job.
#[must_use]
pub fn decide(params: JobParams, evidence: Evidence) -> Outcome {
    let frames = evidence.frames.as_ref();
    let challenge = frames.and_then(|frames| answer_to_challenge(&params, frames));
    let probe = compared_probe(&evidence.images, frames);
    let probe_name = probe.map(|probe| params.image_name(probe.role, probe.position)).unwrap_or_default();

    let mut warnings = image_warnings(&params, &evidence);
    if let Some(frames) = frames {
        warnings.extend(frame_warnings(frames, challenge.as_ref(), params.field(ImageRole::Probe)));
    }
    let mut verdict = Verdict::NotFinished;
    if let Some(comparison) = &evidence.comparison {
        let liveness = evidence.liveness.as_ref();
        warnings.extend(similarity_warning(&params, comparison.similarity));
        warnings.extend(liveness_warning(&params, liveness, &probe_name));
        verdict = with_liveness(by_thresholds(&params, comparison.similarity), &params, liveness);
    }
    if let JobParams::FaceMatch { .. } = params {
        warnings.extend(probe.and_then(|probe| resolution_warning(&probe.seen, &probe_name)));
    }
    Outcome {
        verdict: with_warnings(verdict, &warnings),
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

/// `None` when the job set no challenge.
fn answer_to_challenge(params: &JobParams, frames: &FrameSummary) -> Option<ChallengeAnswer> {
    match params {
        JobParams::FaceMatch { challenge, .. } if !challenge.is_empty() => Some(ChallengeAnswer::of(challenge, frames)),
        _ => None,
    }
}

/// Warnings about single images. Only the compared one of several frames counts: the others are there to choose from.
fn image_warnings(params: &JobParams, evidence: &Evidence) -> Vec<Warning> {
    let best = evidence.frames.as_ref().and_then(|frames| frames.best);
    let counts = |report: &&ImageReport| {
        report.role == ImageRole::Reference || best.is_none_or(|position| report.position == position)
    };
    let mut warnings = Vec::new();
    if evidence.id_not_found {
        warnings.push(Warning::id_not_found());
    }
    for report in evidence.images.iter().filter(counts) {
        if evidence.frames.is_some() && report.role == ImageRole::Probe && is_without_face(&report.seen) {
            // Said once for all frames together.
            let warning = Warning::no_face(params.field(report.role));
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        } else {
            warnings.extend(finding_warnings(params, report));
        }
    }
    // One gallery image without a usable face spoils nothing while another has one.
    if evidence.comparison.is_some() && !evidence.gallery_scores.is_empty() {
        for warning in &mut warnings {
            warning.log_type = LogType::Warning;
        }
    }
    warnings
}

fn is_without_face(seen: &ImageFinding) -> bool {
    matches!(seen, ImageFinding::Picture { faces: 0, .. })
}

fn finding_warnings(params: &JobParams, report: &ImageReport) -> Vec<Warning> {
    let image = params.image_name(report.role, report.position);
    match &report.seen {
        ImageFinding::Unreadable { code, reason } => vec![Warning::invalid_image(&image, code, reason)],
        ImageFinding::Picture { faces: 0, .. } => vec![Warning::no_face(&image)],
        ImageFinding::Picture { faces, quality, provenance, .. } => {
            let mut warnings = Vec::new();
            if *faces > 1 {
                let dominance = quality.map(|quality| quality.dominance);
                warnings.push(Warning::several_faces(&image, *faces, dominance));
            }
            // Nobody can retake the portrait of an identity source.
            let can_retake = !(report.role == ImageRole::Reference && matches!(params, JobParams::IdMatch { .. }));
            let log_type = if can_retake { LogType::Warning } else { LogType::Information };
            let defects = quality.map(|quality| quality.defects(&QualityLimits::default())).unwrap_or_default();
            warnings.extend(defects.iter().map(|defect| defect.warning(&image, log_type)));
            warnings.extend(provenance.filter(|_| can_retake).map(|provenance| provenance.warning(&image)));
            warnings
        }
    }
}

/// Warnings about the frames together. `image` is their name in the request.
fn frame_warnings(frames: &FrameSummary, challenge: Option<&ChallengeAnswer>, image: &str) -> Vec<Warning> {
    let inconsistent = (!frames.are_consistent()).then(|| frames.warning(image));
    let unmet = challenge.filter(|answer| !answer.passed).map(|answer| answer.warning(frames, image));
    inconsistent.into_iter().chain(unmet).collect()
}

fn similarity_warning(params: &JobParams, similarity: Similarity) -> Option<Warning> {
    let wanted = approving(params);
    (!meets(similarity, wanted)).then(|| Warning::low_similarity(similarity.percent(), wanted.get() * 100.0))
}

/// The warning about the probe's liveness, or about a report without a test. `image` is the probe's name in the
/// request.
fn liveness_warning(params: &JobParams, liveness: Option<&Liveness>, image: &str) -> Option<Warning> {
    match (params, liveness) {
        (JobParams::LikenessCheck { .. } | JobParams::IdMatch { .. }, _)
        | (JobParams::CompareWithLiveness { .. }, None) => None,
        (JobParams::FaceMatch { .. }, None) => Some(Warning::liveness_not_performed()),
        (
            JobParams::FaceMatch { liveness_min, .. } | JobParams::CompareWithLiveness { liveness_min, .. },
            Some(liveness),
        ) => doubt(liveness, *liveness_min, image),
    }
}

fn doubt(liveness: &Liveness, min: Threshold, image: &str) -> Option<Warning> {
    let score = liveness.score.get();
    if let Some((context, wanted)) = liveness.lacking_context() {
        Some(Warning::insufficient_context(image, context, wanted))
    } else if liveness.judgement == Judgement::Spoof {
        Some(Warning::liveness_attack(score, image))
    } else if liveness.judgement == Judgement::Uncertain || !meets(liveness.score, min) {
        Some(Warning::low_liveness(score, min.get(), image))
    } else {
        None
    }
}

fn resolution_warning(seen: &ImageFinding, image: &str) -> Option<Warning> {
    match *seen {
        ImageFinding::Picture { width, height, .. } if width.min(height) < REPORT_SHORT_SIDE => {
            Some(Warning::low_resolution(image, (width, height), REPORT_SHORT_SIDE))
        }
        _ => None,
    }
}

fn by_thresholds(params: &JobParams, similarity: Similarity) -> Verdict {
    if meets(similarity, approving(params)) {
        return Verdict::Approved;
    }
    match params {
        JobParams::FaceMatch { review, .. } if meets(similarity, *review) => Verdict::InReview,
        _ => Verdict::Rejected,
    }
}

/// The threshold that an approval needs.
fn approving(params: &JobParams) -> Threshold {
    match params {
        JobParams::LikenessCheck { threshold, .. } | JobParams::IdMatch { threshold, .. } => *threshold,
        JobParams::FaceMatch { approve, .. } => *approve,
        JobParams::CompareWithLiveness { compare_min, .. } => *compare_min,
    }
}

/// The comparison's verdict after the probe's liveness test, or after its absence. It never becomes a better one.
fn with_liveness(verdict: Verdict, params: &JobParams, liveness: Option<&Liveness>) -> Verdict {
    match (params, liveness) {
        (JobParams::FaceMatch { liveness_min, .. }, Some(liveness)) => match liveness.judgement {
            Judgement::Spoof => Verdict::Rejected,
            Judgement::Live if meets(liveness.score, *liveness_min) => verdict,
            Judgement::Live | Judgement::Uncertain => unless_approved(verdict, Verdict::InReview),
        },
        (JobParams::FaceMatch { liveness: LivenessPolicy::Required, .. }, None) => {
            unless_approved(verdict, Verdict::InReview)
        }
        (JobParams::LikenessCheck { .. } | JobParams::IdMatch { .. }, _) | (JobParams::FaceMatch { .. }, None) => {
            verdict
        }
        (JobParams::CompareWithLiveness { liveness_min, .. }, Some(liveness)) => {
            if is_live(liveness, *liveness_min) {
                verdict
            } else {
                Verdict::Rejected
            }
        }
        // A comparison that passed is never approved without the test.
        (JobParams::CompareWithLiveness { .. }, None) => unless_approved(verdict, Verdict::NotFinished),
    }
}

/// An `error` among the warnings never ends as approved.
fn with_warnings(verdict: Verdict, warnings: &[Warning]) -> Verdict {
    let has_error = warnings.iter().any(|warning| warning.log_type == LogType::Error);
    if has_error { unless_approved(verdict, Verdict::InReview) } else { verdict }
}

/// `instead` in place of an approval.
fn unless_approved(verdict: Verdict, instead: Verdict) -> Verdict {
    if verdict == Verdict::Approved { instead } else { verdict }
}
