//! What was measured of a case, ready to be shown: score, liveness, warnings, quality, facts.

use super::pages::{LivenessView, QualityRow, Scale, WarningView};
use super::words;
use crate::domain::evidence::{Judgement, Mode, Threshold};
use crate::domain::image::ImageRole;
use crate::domain::job::JobParams;
use crate::domain::outcome::{ImageFinding, ImageReport, Outcome};
use crate::domain::quality::{Quality, QualityLimits};
use crate::domain::rates::Rates;
use crate::domain::warning::{LogType, Warning};
use crate::store::jobs::JobView;

/// The score among its thresholds.
pub(super) fn scale(outcome: &Outcome, rates: Option<&Rates>) -> Option<Scale> {
    let comparison = outcome.comparison.as_ref()?;
    let (review, approve) = thresholds(&outcome.params);
    let mode = comparison.mode;
    Some(Scale {
        score: comparison.similarity.percent(),
        score_text: format!("{:.2}", comparison.similarity.percent()),
        review: review.get() * 100.0,
        approve: approve.get() * 100.0,
        meaning: words::false_matches(rates, mode, comparison.similarity.get()),
        approve_meaning: words::false_matches(rates, mode, approve.get()),
        mode: mode_words(mode),
        model: comparison.model.clone(),
    })
}

/// Below the first a case is rejected, from the second on it is approved.
fn thresholds(params: &JobParams) -> (Threshold, Threshold) {
    match params {
        JobParams::FaceMatch { approve, review, .. } => (*review, *approve),
        JobParams::LikenessCheck { threshold, .. } | JobParams::IdMatch { threshold, .. } => (*threshold, *threshold),
        JobParams::CompareWithLiveness { compare_min, .. } => (*compare_min, *compare_min),
    }
}

fn mode_words(mode: Mode) -> &'static str {
    match mode {
        Mode::Fast => "fast",
        Mode::Accurate => "accurate",
    }
}

pub(super) fn liveness(outcome: &Outcome) -> Option<LivenessView> {
    let it = outcome.liveness.as_ref()?;
    let (judgement, words) = match it.judgement {
        Judgement::Live => ("live", "A living person was in front of the camera, as far as the model can tell."),
        Judgement::Uncertain => ("uncertain", "The model cannot tell a living person from a photo of one here."),
        Judgement::Spoof => ("spoof", "This looks like a photo of a print or of a screen."),
    };
    let challenge = outcome.challenge.as_ref().map(|it| {
        let asked = it.asked.iter().filter_map(|it| serde_json::to_value(it).ok()?.as_str().map(str::to_owned));
        let asked = asked.map(|it| it.replace('_', " ")).collect::<Vec<_>>().join(", ");
        let met =
            if it.passed { "The frames show what was asked for" } else { "The frames do not show what was asked for" };
        format!("{met}: {asked}.")
    });
    Some(LivenessView {
        score: format!("{:.2}", it.score.get()),
        percent: it.score.percent(),
        judgement,
        words: words.to_owned(),
        challenge,
    })
}

pub(super) fn warning(it: &Warning) -> WarningView {
    let weight = match it.log_type {
        LogType::Error => "error",
        LogType::Warning => "warning",
        LogType::Information => "information",
    };
    WarningView {
        weight,
        risk: serde_json::to_value(it.risk).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default(),
        title: it.short_description.clone(),
        words: it.long_description.clone(),
        measured: it.additional_data.as_deref().map(words::measured).unwrap_or_default(),
    }
}

/// The measures that say something to people, of both faces.
pub(super) fn quality(outcome: &Outcome) -> Vec<QualityRow> {
    let of = |report: Option<&ImageReport>| match report.map(|it| &it.seen) {
        Some(ImageFinding::Picture { quality, .. }) => *quality,
        _ => None,
    };
    let reference = of(outcome.images.iter().find(|it| it.role == ImageRole::Reference));
    let probe = of(outcome.probe());
    if reference.is_none() && probe.is_none() {
        return Vec::new();
    }
    let limits = QualityLimits::default();
    let row = |name, limit: f64, is_least: bool, read: &dyn Fn(&Quality) -> f64, decimals: usize| {
        let bad = |it: &Quality| if is_least { read(it) < limit } else { read(it) > limit };
        let shown = |it: &Quality| format!("{:.decimals$}", read(it));
        QualityRow {
            name,
            reference: reference.as_ref().map(shown),
            probe: probe.as_ref().map(shown),
            reference_bad: reference.as_ref().is_some_and(bad),
            probe_bad: probe.as_ref().is_some_and(bad),
            limit: format!("at {} {limit:.decimals$}", if is_least { "least" } else { "most" }),
        }
    };
    vec![
        row("Pixels between the eyes", limits.inter_eye_px, true, &|it| it.inter_eye_px, 0),
        row("Sharpness", limits.sharpness, true, &|it| it.sharpness, 2),
        row("Brightness", limits.brightness, true, &|it| it.brightness, 2),
        row("Contrast", limits.dynamic_range, true, &|it| it.dynamic_range, 2),
        row("Too bright, share of the face", limits.overexposed, false, &|it| it.overexposed, 2),
        row("Too dark, share of the face", limits.underexposed, false, &|it| it.underexposed, 2),
        row("Turned, degrees", limits.pose_deg, false, &|it| it.yaw_deg.abs(), 0),
        row("Tilted, degrees", limits.pose_deg, false, &|it| it.pitch_deg.abs(), 0),
        row("Eyes open", limits.eyes_open, true, &|it| it.eyes_open, 2),
        row("Mouth open", limits.mouth_open, false, &|it| it.mouth_open, 2),
        row("Dark about the eyes", limits.eyes_darkness, false, &|it| it.eyes_darkness, 2),
        row("Detail of the eyes", limits.eyes_detail, true, &|it| it.eyes_detail, 2),
        row("Detail of the mouth", limits.mouth_detail, true, &|it| it.mouth_detail, 2),
        row("From the edge, in eye distances", limits.margin, true, &|it| it.margin, 2),
        row("All together", limits.composite, true, &|it| it.composite(&limits), 2),
    ]
}

/// What else is known of the job.
pub(super) fn facts(job: &JobView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Request", job.summary.request_id.to_string()),
        ("Service", words::kind(&job.summary.kind).to_owned()),
        ("Submitted", words::moment(job.created_at).1),
    ];
    if let Some(at) = job.finished_at {
        facts.push(("Compared", words::moment(at).1));
    }
    if let Some(outcome) = &job.outcome {
        if let Some(comparison) = &outcome.comparison {
            facts.push(("Mode", mode_words(comparison.mode).to_owned()));
            facts.push(("Model", comparison.model.clone()));
            facts.push(("Calibration", comparison.calibration.clone()));
        }
        if let Some(liveness) = &outcome.liveness {
            facts.push(("Liveness model", liveness.model.clone()));
        }
        if let Some(frames) = &outcome.frames {
            facts.push(("Frames looked at", frames.looked_at.to_string()));
        }
        facts.push(("Computed in", format!("{:.0} ms", outcome.compute_ms)));
    }
    if job.attempt > 1 {
        facts.push(("Attempts", job.attempt.to_string()));
    }
    facts
}
