//! A case's measurements, ready for its page: score, liveness, warnings, quality, facts.

use super::pages::{LivenessView, QualityRow, ScoreScale, WarningView};
use super::words;
use crate::domain::evidence::{Judgement, Mode, Threshold};
use crate::domain::image::ImageRole;
use crate::domain::job::JobParams;
use crate::domain::outcome::{ImageFinding, ImageReport, Outcome};
use crate::domain::policy;
use crate::domain::quality::{Quality, QualityLimits};
use crate::domain::rates::Rates;
use crate::domain::warning::{LogType, Warning};
use crate::store::jobs::JobView;

/// The score and its thresholds on a scale from 0 to 100; `None` if nothing was compared.
pub(super) fn scale(outcome: &Outcome, rates: Option<&Rates>) -> Option<ScoreScale> {
    let comparison = outcome.comparison.as_ref()?;
    let (review, approve) = thresholds(&outcome.params);
    let mode = comparison.mode;
    let zone = if policy::is_same_person(comparison.similarity, approve) {
        "approve"
    } else if policy::is_same_person(comparison.similarity, review) {
        "review"
    } else {
        "reject"
    };
    Some(ScoreScale {
        score: comparison.similarity.percent(),
        score_text: format!("{:.2}", comparison.similarity.percent()),
        zone,
        review: review.get() * 100.0,
        approve: approve.get() * 100.0,
        meaning: words::false_matches(rates, mode, comparison.similarity.get()),
        approve_meaning: words::false_matches(rates, mode, approve.get()),
        mode: mode_words(mode),
        model: comparison.model.clone(),
    })
}

/// Scores below the first threshold are rejected; scores from the second threshold up are approved.
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
    let liveness = outcome.liveness.as_ref()?;
    let (judgement, words) = match liveness.judgement {
        Judgement::Live => ("live", "The model sees a living person in front of the camera."),
        Judgement::Uncertain => {
            ("uncertain", "The model cannot tell whether this is a living person or a photo of one.")
        }
        Judgement::Spoof => ("spoof", "This looks like a photo of a print or a screen."),
    };
    let challenge = outcome.challenge.as_ref().map(|challenge| {
        let names = challenge.asked.iter().filter_map(|action| serde_json::to_value(action).ok());
        let names = names.filter_map(|name| name.as_str().map(|name| name.replace('_', " ")));
        let shown = if challenge.passed { "show" } else { "do not show" };
        format!("The frames {shown} the requested actions: {}.", names.collect::<Vec<_>>().join(", "))
    });
    Some(LivenessView {
        score: format!("{:.2}", liveness.score.get()),
        percent: liveness.score.percent(),
        judgement,
        words: words.to_owned(),
        challenge,
    })
}

pub(super) fn warning(warning: &Warning) -> WarningView {
    let weight = match warning.log_type {
        LogType::Error => "error",
        LogType::Warning => "warning",
        LogType::Information => "information",
    };
    let risk = serde_json::to_value(warning.risk).ok().and_then(|risk| risk.as_str().map(str::to_owned));
    WarningView {
        weight,
        risk: risk.unwrap_or_default(),
        title: warning.short_description.clone(),
        words: warning.long_description.clone(),
        measured: warning.additional_data.as_deref().map(words::measured).unwrap_or_default(),
    }
}

enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// A quality measure that means something to people.
struct Measure {
    name: &'static str,
    limit: Limit,
    value: fn(&Quality) -> f64,
    decimals: usize,
}

impl Measure {
    fn new(name: &'static str, limit: Limit, value: fn(&Quality) -> f64) -> Self {
        Self { name, limit, value, decimals: 2 }
    }

    fn whole(self) -> Self {
        Self { decimals: 0, ..self }
    }

    fn row(&self, reference: Option<&Quality>, probe: Option<&Quality>) -> QualityRow {
        let (limit, words) = match self.limit {
            Limit::AtLeast(limit) => (limit, "at least"),
            Limit::AtMost(limit) => (limit, "at most"),
        };
        let is_beyond = |quality: &Quality| match self.limit {
            Limit::AtLeast(limit) => (self.value)(quality) < limit,
            Limit::AtMost(limit) => (self.value)(quality) > limit,
        };
        let decimals = self.decimals;
        let text = |quality: &Quality| format!("{:.decimals$}", (self.value)(quality));
        QualityRow {
            name: self.name,
            reference: reference.map(text),
            probe: probe.map(text),
            reference_bad: reference.is_some_and(is_beyond),
            probe_bad: probe.is_some_and(is_beyond),
            limit: format!("{words} {limit:.decimals$}"),
        }
    }
}

/// Picture quality of both faces, each measure with its limit. Empty if no face was measured.
pub(super) fn quality(outcome: &Outcome) -> Vec<QualityRow> {
    let quality_of = |report: Option<&ImageReport>| match report.map(|report| &report.seen) {
        Some(ImageFinding::Picture { quality, .. }) => *quality,
        _ => None,
    };
    let reference = quality_of(outcome.images.iter().find(|report| report.role == ImageRole::Reference));
    let probe = quality_of(outcome.probe());
    if reference.is_none() && probe.is_none() {
        return Vec::new();
    }
    measures(&QualityLimits::default()).iter().map(|measure| measure.row(reference.as_ref(), probe.as_ref())).collect()
}

fn measures(limits: &QualityLimits) -> [Measure; 15] {
    use Limit::{AtLeast, AtMost};
    [
        Measure::new("Pixels between the eyes", AtLeast(limits.inter_eye_px), |face| face.inter_eye_px).whole(),
        Measure::new("Sharpness", AtLeast(limits.sharpness), |face| face.sharpness),
        Measure::new("Brightness", AtLeast(limits.brightness), |face| face.brightness),
        Measure::new("Contrast", AtLeast(limits.dynamic_range), |face| face.dynamic_range),
        Measure::new("Overexposed share of the face", AtMost(limits.overexposed), |face| face.overexposed),
        Measure::new("Underexposed share of the face", AtMost(limits.underexposed), |face| face.underexposed),
        Measure::new("Head turned, degrees", AtMost(limits.pose_deg), |face| face.yaw_deg.abs()).whole(),
        Measure::new("Head tilted, degrees", AtMost(limits.pose_deg), |face| face.pitch_deg.abs()).whole(),
        Measure::new("Eyes open", AtLeast(limits.eyes_open), |face| face.eyes_open),
        Measure::new("Mouth open", AtMost(limits.mouth_open), |face| face.mouth_open),
        Measure::new("Darkness around the eyes", AtMost(limits.eyes_darkness), |face| face.eyes_darkness),
        Measure::new("Detail at the eyes", AtLeast(limits.eyes_detail), |face| face.eyes_detail),
        Measure::new("Detail at the mouth", AtLeast(limits.mouth_detail), |face| face.mouth_detail),
        Measure::new("Distance to the edge, in eye distances", AtLeast(limits.margin), |face| face.margin),
        Measure::new("Overall quality", AtLeast(limits.composite), |face| face.composite(&QualityLimits::default())),
    ]
}

/// Everything else that is known about the job, as names and values.
pub(super) fn facts(job: &JobView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Request", job.summary.request_id.to_string()),
        ("Service", words::kind(&job.summary.kind).to_owned()),
        ("Submitted", words::moment(job.created_at).words),
    ];
    if let Some(at) = job.finished_at {
        facts.push(("Compared", words::moment(at).words));
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
            facts.push(("Frames examined", frames.looked_at.to_string()));
        }
        facts.push(("Computed in", format!("{:.0} ms", outcome.compute_ms)));
    }
    if job.attempt > 1 {
        facts.push(("Attempts", job.attempt.to_string()));
    }
    facts
}
