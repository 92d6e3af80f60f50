//! The results of a run: `report.json` for programs, `report.html` for people.

use std::collections::BTreeMap;

use askama::Template;
use serde::Serialize;

use super::analyses::Analysed;
use super::list::{List, Pairs};
use super::plot;
use super::scores::{Scored, Scores};
use super::statistics::{self, Descending, Interval, LEAST_SAMPLE, RATES};
use crate::domain::calibration::Calibration;
use crate::domain::evidence::{Similarity, Threshold};

/// Points of the plotted trade-off.
const DET_POINTS: usize = 200;
/// Listed pairs of each kind.
const WORST: usize = 20;
/// Calibrated scores whose stated false match rate is checked.
const MARKS: [f64; 4] = [0.60, 0.75, 0.85, 0.90];

/// The error rates of a list, after ISO/IEC 19795-1. Rates are shares in [0, 1]. Figures by false match rate have the
/// keys "1e-2", "1e-3" and "1e-4", and are null where the list has too few impostor pairs to measure that rate.
#[derive(Debug, Serialize)]
pub struct EvalReport {
    pub list: String,
    pub pack: String,
    /// The networks, `name@version` joined by `+`.
    pub model: String,
    pub mode: String,
    pub calibration: String,
    pub images: usize,
    /// Share of the pictures in which no usable face was found.
    pub failure_to_acquire: Option<f64>,
    /// Those pictures, and the reason where the file was at fault.
    pub failures: Vec<AcquisitionFailure>,
    /// Genuine pairs that were compared.
    pub genuine: usize,
    /// Impostor pairs that were compared.
    pub impostor: usize,
    /// Pairs left out because of a failure to acquire.
    pub skipped: u64,
    /// Whether a kind has fewer than [`LEAST_SAMPLE`] pairs, so that the error rates say little.
    pub too_few: bool,
    /// Pairs of each kind from which the error rates say something.
    pub least_pairs: usize,
    pub eer: Option<f64>,
    /// 95 % interval by the kind with fewer pairs.
    pub eer_interval: Option<Interval>,
    pub tar_at_fmr: BTreeMap<&'static str, Option<f64>>,
    /// 95 % bootstrap intervals.
    pub tar_at_fmr_interval: BTreeMap<&'static str, Option<Interval>>,
    pub raw_threshold_at_fmr: BTreeMap<&'static str, Option<f64>>,
    /// The false match rate that the calibration states for a score, beside the one that this list measured.
    pub reliability: Vec<Reliability>,
    pub groups: Vec<GroupRates>,
    /// Genuine pairs with the lowest scores.
    pub worst_genuine: Vec<WorstPair>,
    /// Impostor pairs with the highest scores.
    pub worst_impostor: Vec<WorstPair>,
    #[serde(skip)]
    histogram: String,
    #[serde(skip)]
    det: String,
}

#[derive(Debug, Serialize)]
pub struct AcquisitionFailure {
    pub image: String,
    pub fault: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Reliability {
    pub similarity: f64,
    /// The rate by the calibration.
    pub stated_fmr: Option<f64>,
    pub measured_fmr: f64,
    pub measured_fmr_interval: Option<Interval>,
    pub measured_tar: f64,
}

/// The rates within one group, at the threshold where the whole list has a false match rate of 1e-3.
#[derive(Debug, Serialize)]
pub struct GroupRates {
    pub group: String,
    pub genuine: usize,
    pub impostor: usize,
    pub tar: Option<f64>,
    pub tar_interval: Option<Interval>,
    pub fmr: Option<f64>,
    pub fmr_interval: Option<Interval>,
}

#[derive(Debug, Serialize)]
pub struct WorstPair {
    pub a: String,
    pub b: String,
    pub raw: f64,
    pub similarity: f64,
}

/// Everything that the figures are computed from.
pub struct ReportInput<'a> {
    pub list: &'a List,
    pub analysed: &'a [Analysed],
    pub scores: &'a Scores,
    pub calibration: &'a Calibration,
    pub name: String,
    pub pack: String,
    pub model: String,
    pub mode: String,
}

impl EvalReport {
    /// Computes every figure.
    ///
    /// # Errors
    /// When a drawing fails.
    pub fn of(source: ReportInput<'_>) -> Result<Self, String> {
        let ReportInput { list, analysed, scores, calibration, .. } = source;
        let (genuine, impostor) = (Descending::new(&scores.genuine), Descending::new(&scores.impostor));
        let thresholds = RATES.map(|(_, rate)| impostor.threshold_at(rate));
        let by_rate =
            |of: &dyn Fn(usize) -> Option<f64>| RATES.iter().enumerate().map(|(i, rate)| (rate.0, of(i))).collect();
        let intervals = statistics::tar_intervals(scores);
        let failures: Vec<_> = list
            .images
            .iter()
            .zip(analysed)
            .filter(|(_, picture)| picture.template.is_none())
            .map(|(image, picture)| AcquisitionFailure { image: image.clone(), fault: picture.fault.clone() })
            .collect();
        let marks: Vec<_> = RATES
            .iter()
            .zip(thresholds)
            .filter_map(|((name, _), threshold)| Some((f64::from(threshold?), (*name).to_owned())))
            .collect();
        let eer = statistics::equal_error_rate(&genuine, &impostor);
        Ok(Self {
            images: list.images.len(),
            failure_to_acquire: share(failures.len(), list.images.len()),
            failures,
            genuine: genuine.len(),
            impostor: impostor.len(),
            skipped: scores.skipped,
            too_few: genuine.len().min(impostor.len()) < LEAST_SAMPLE,
            least_pairs: LEAST_SAMPLE,
            eer,
            eer_interval: eer.and_then(|rate| statistics::equal_error_interval(rate, genuine.len(), impostor.len())),
            tar_at_fmr: by_rate(&|i| {
                thresholds[i].filter(|_| !genuine.is_empty()).map(|threshold| genuine.share_at(threshold))
            }),
            tar_at_fmr_interval: RATES.iter().map(|rate| rate.0).zip(intervals).collect(),
            raw_threshold_at_fmr: by_rate(&|i| thresholds[i].map(f64::from)),
            reliability: MARKS.iter().filter_map(|mark| reliability(*mark, &genuine, &impostor, calibration)).collect(),
            groups: thresholds[1].map(|threshold| groups(list, scores, threshold)).unwrap_or_default(),
            worst_genuine: worst(&scores.genuine, list, calibration, false),
            worst_impostor: worst(&scores.impostor, list, calibration, true),
            histogram: plot::histogram(&genuine, &impostor, &marks)?,
            det: plot::det(&statistics::det(&genuine, &impostor, DET_POINTS))?,
            list: source.name,
            pack: source.pack,
            model: source.model,
            mode: source.mode,
            calibration: calibration.version().to_owned(),
        })
    }

    /// The report as one HTML page without other files.
    ///
    /// # Errors
    /// When the template fails. It does not fail for the types of a report.
    pub fn html(&self) -> Result<String, askama::Error> {
        ReportPage { report: self }.render()
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn reliability(
    mark: f64,
    genuine: &Descending,
    impostor: &Descending,
    calibration: &Calibration,
) -> Option<Reliability> {
    let (threshold, similarity) = (Threshold::new(mark).ok()?, Similarity::new(mark).ok()?);
    #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
    let raw = calibration.raw(similarity) as f32;
    let passed = impostor.as_slice().iter().take_while(|score| **score >= raw).count();
    Some(Reliability {
        similarity: mark,
        stated_fmr: calibration.false_match_rate(threshold),
        measured_fmr: impostor.share_at(raw),
        measured_fmr_interval: statistics::wilson(passed, impostor.len()),
        measured_tar: genuine.share_at(raw),
    })
}

fn groups(list: &List, scores: &Scores, threshold: f32) -> Vec<GroupRates> {
    let Some(of) = &scores.groups else { return Vec::new() };
    // For both kinds: all pairs, and those that match.
    let mut counts: BTreeMap<&str, [[usize; 2]; 2]> = BTreeMap::new();
    for (kind, pairs) in [&scores.genuine, &scores.impostor].into_iter().enumerate() {
        for pair in pairs {
            let Some(group) = of.of(pair.images) else { continue };
            let count = &mut counts.entry(group).or_default()[kind];
            count[0] += 1;
            count[1] += usize::from(pair.score >= threshold);
        }
    }
    debug_assert!(matches!(list.pairs, Pairs::Listed(_) | Pairs::Crossed { groups: Some(_), .. }));
    let group = |(group, [genuine, impostor]): (&str, [[usize; 2]; 2])| GroupRates {
        group: group.to_owned(),
        genuine: genuine[0],
        impostor: impostor[0],
        tar: share(genuine[1], genuine[0]),
        tar_interval: statistics::wilson(genuine[1], genuine[0]),
        fmr: share(impostor[1], impostor[0]),
        fmr_interval: statistics::wilson(impostor[1], impostor[0]),
    };
    counts.into_iter().map(group).collect()
}

fn worst(pairs: &[Scored], list: &List, calibration: &Calibration, highest: bool) -> Vec<WorstPair> {
    let mut pairs: Vec<&Scored> = pairs.iter().collect();
    pairs.sort_unstable_by(|a, b| if highest { b.score.total_cmp(&a.score) } else { a.score.total_cmp(&b.score) });
    let name = |image: u32| list.images.get(image as usize).cloned().unwrap_or_default();
    let worst = |pair: &&Scored| {
        let raw = f64::from(pair.score);
        let similarity =
            crate::domain::evidence::RawScore::new(raw).map_or(0.0, |score| calibration.similarity(score).get());
        WorstPair { a: name(pair.images.0), b: name(pair.images.1), raw, similarity }
    };
    pairs.iter().take(WORST).map(worst).collect()
}

#[derive(Template)]
#[template(path = "eval.html")]
struct ReportPage<'a> {
    report: &'a EvalReport,
}

impl ReportPage<'_> {
    fn percent(value: Option<&f64>) -> String {
        value.map_or_else(|| "not measurable".to_owned(), |share| format!("{:.2} %", share * 100.0))
    }

    fn range(interval: Option<&Interval>) -> String {
        interval.map_or_else(String::new, |interval| {
            format!("{:.2} to {:.2} %", interval.low * 100.0, interval.high * 100.0)
        })
    }

    fn rate(value: Option<&f64>) -> String {
        value.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.2e}"))
    }

    fn rate_range(interval: Option<&Interval>) -> String {
        interval.map_or_else(String::new, |interval| format!("{:.1e} to {:.1e}", interval.low, interval.high))
    }

    fn worst(&self) -> [(&'static str, &[WorstPair]); 2] {
        [
            ("Genuine pairs with the lowest scores", &self.report.worst_genuine),
            ("Impostor pairs with the highest scores", &self.report.worst_impostor),
        ]
    }

    fn rows(&self) -> Vec<(&'static str, String, String, String)> {
        let of = |name: &&'static str| {
            let threshold = self.report.raw_threshold_at_fmr[*name];
            (
                *name,
                Self::percent(self.report.tar_at_fmr[*name].as_ref()),
                Self::range(self.report.tar_at_fmr_interval[*name].as_ref()),
                threshold.map_or_else(|| "-".to_owned(), |score| format!("{score:.4}")),
            )
        };
        RATES.iter().map(|rate| rate.0).collect::<Vec<_>>().iter().map(of).collect()
    }
}
