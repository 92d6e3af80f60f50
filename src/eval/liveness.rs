//! Error rates of the liveness test: pictures labelled as bona fide or as a kind of attack go through the product's own
//! pipeline, and the rates of ISO/IEC 30107-3 follow.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use askama::Template;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use super::list::ListFault;
use super::plot;
use super::statistics::{self, Descending, Interval, LEAST_SAMPLE};
use crate::domain::evidence::Mode;
use crate::vision::{Analysis, Engine, Error};

/// The label of a living person. Every other label names a kind of attack.
pub const BONA_FIDE: &str = "bona_fide";
/// Context, in sides of the face, from which the surroundings can be judged.
pub const LEAST_CONTEXT: f64 = 2.0;
/// Threshold on the raw score, in [0, 1].
const OPERATING_POINT: f32 = 0.5;
/// Time limit for one picture, far above what any takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// A picture and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Path, as the list has it.
    pub file: String,
    pub label: String,
}

/// Reads a CSV file with the columns file and label.
///
/// # Errors
/// When it cannot be read, lacks a column or a value, or names no picture.
pub fn read(path: &Path) -> Result<Vec<Labelled>, ListFault> {
    let fault = |source| ListFault::Read { path: path.to_owned(), source };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(fault)?;
    let headers = reader.headers().map_err(fault)?.clone();
    let column = |name: &str| headers.iter().position(|header| header.trim_start_matches('\u{feff}') == name);
    let (Some(file), Some(label)) = (column("file"), column("label")) else {
        return Err(ListFault::LivenessHeader { path: path.to_owned() });
    };
    let mut labelled = Vec::new();
    for row in reader.into_records() {
        let row = row.map_err(fault)?;
        let value = |at: usize| row.get(at).filter(|cell| !cell.is_empty()).map(str::to_owned);
        let (Some(file), Some(label)) = (value(file), value(label)) else {
            let line = row.position().map_or(0, csv::Position::line);
            return Err(ListFault::Row {
                path: path.to_owned(),
                line,
                what: "file and label must not be empty".to_owned(),
            });
        };
        labelled.push(Labelled { file, label });
    }
    if labelled.is_empty() { Err(ListFault::Empty { path: path.to_owned() }) } else { Ok(labelled) }
}

/// The result of the liveness test for one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tested {
    /// The networks' probability of a living person, in [0, 1].
    pub raw: f64,
    /// Side of the crop divided by the side of the face.
    pub context: f64,
}

impl Tested {
    #[expect(clippy::cast_possible_truncation, reason = "in [0, 1]")]
    fn score(&self) -> f32 {
        self.raw as f32
    }
}

/// What stops a run.
#[derive(Debug, thiserror::Error)]
pub enum LivenessFault {
    #[error("cannot read {file}: {source}")]
    Picture { file: String, source: std::io::Error },
    #[error("{file}: {source}")]
    Engine { file: String, source: Error },
}

/// Tests every picture. The results have the list's order; `None` stands for a picture without a usable face or a file
/// that cannot be read as an image. `done` is called after each picture with the number of finished pictures.
///
/// # Errors
/// When a file cannot be read or the machine is at fault.
pub async fn run(
    list: &[Labelled],
    folder: &Path,
    engine: &Engine,
    done: impl Fn(usize),
) -> Result<Vec<Option<Tested>>, LivenessFault> {
    let places = engine.free_places().max(1) * 2;
    let mut results = futures_util::stream::iter(list).map(|picture| test(picture, folder, engine)).buffered(places);
    let mut tested = Vec::with_capacity(list.len());
    while let Some(result) = results.next().await {
        tested.push(result?);
        done(tested.len());
    }
    Ok(tested)
}

async fn test(picture: &Labelled, folder: &Path, engine: &Engine) -> Result<Option<Tested>, LivenessFault> {
    let bytes = tokio::fs::read(folder.join(&picture.file)).await;
    let bytes = Bytes::from(bytes.map_err(|source| LivenessFault::Picture { file: picture.file.clone(), source })?);
    let fault = |source| LivenessFault::Engine { file: picture.file.clone(), source };
    let analysis = match engine.analyse(bytes.clone(), Mode::Fast, Instant::now() + PATIENCE).await {
        Ok(analysis) => analysis,
        Err(Error::Image(_)) => return Ok(None),
        Err(source) => return Err(fault(source)),
    };
    let Some(face) = Analysis::primary_face(&analysis) else { return Ok(None) };
    let liveness = engine.liveness(bytes, face.clone(), Instant::now() + PATIENCE).await.map_err(fault)?;
    Ok(liveness.and_then(|liveness| Some(Tested { raw: liveness.raw_score?, context: liveness.context? })))
}

/// The rates of a list, after ISO/IEC 30107-3. Rates are shares in [0, 1], and null where the list has no pictures to
/// measure them.
#[derive(Debug, Serialize)]
pub struct LivenessReport {
    pub list: String,
    /// `name@version`.
    pub model: String,
    pub images: usize,
    /// Share of the pictures in which no usable face was found.
    pub failure_to_acquire: f64,
    /// The paths of those pictures.
    pub failures: Vec<String>,
    #[serde(flatten)]
    pub all: LivenessRates,
    /// The rates of the pictures with a context of [`LEAST_CONTEXT`] or more. The product calls no other picture live.
    pub in_context: LivenessRates,
    pub least_context: f64,
    #[serde(skip)]
    histogram: String,
}

/// Error rates at a raw score of 0.5. `auc` and `eer` need no threshold.
#[derive(Debug, Serialize)]
pub struct LivenessRates {
    /// Bona fide pictures that were tested.
    pub bona_fide: usize,
    /// Attacks that were tested, by kind.
    pub attacks: BTreeMap<String, usize>,
    /// Area under the receiver operating characteristic.
    pub auc: Option<f64>,
    pub eer: Option<f64>,
    /// Whether there are fewer than 30 bona fide pictures, or fewer than 30 attacks, so that the rates say little.
    pub too_few: bool,
    /// Bona fide presentation classification error rate: the share of living people who were refused.
    pub bpcer: Option<f64>,
    pub bpcer_interval: Option<Interval>,
    /// Attack presentation classification error rate by kind: the share of attacks that passed.
    pub apcer: BTreeMap<String, f64>,
    pub apcer_interval: BTreeMap<String, Option<Interval>>,
}

impl LivenessReport {
    /// Computes every figure.
    ///
    /// # Errors
    /// When the drawing fails.
    pub fn of(name: String, model: String, list: &[Labelled], tested: &[Option<Tested>]) -> Result<Self, String> {
        let failures: Vec<_> = list
            .iter()
            .zip(tested)
            .filter(|(_, result)| result.is_none())
            .map(|(result, _)| result.file.clone())
            .collect();
        let pairs = || list.iter().zip(tested).filter_map(|(listed, tested)| Some((&*listed.label, tested.as_ref()?)));
        let (live, attack) = split(pairs());
        #[expect(clippy::cast_precision_loss, reason = "counts")]
        let failure_to_acquire = failures.len() as f64 / list.len().max(1) as f64;
        Ok(Self {
            list: name,
            model,
            images: list.len(),
            failure_to_acquire,
            failures,
            all: LivenessRates::of(pairs()),
            in_context: LivenessRates::of(pairs().filter(|(_, tested)| tested.context >= LEAST_CONTEXT)),
            least_context: LEAST_CONTEXT,
            histogram: plot::histogram(&live, &attack, &[(f64::from(OPERATING_POINT), "live".to_owned())])?,
        })
    }

    /// The report as one HTML page without other files.
    ///
    /// # Errors
    /// When the template fails. It does not fail for the types of a report.
    pub fn html(&self) -> Result<String, askama::Error> {
        LivenessPage { report: self }.render()
    }
}

impl LivenessRates {
    fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a Tested)> + Clone) -> Self {
        let (live, attack) = split(pairs.clone());
        let mut kinds: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (label, tested) in pairs.filter(|(label, _)| *label != BONA_FIDE) {
            kinds.entry(label.to_owned()).or_default().push(tested.score());
        }
        let kinds: BTreeMap<_, _> =
            kinds.into_iter().map(|(kind, scores)| (kind, scores.into_iter().collect::<Descending>())).collect();
        let passed = |scores: &Descending| scores.as_slice().partition_point(|score| *score >= OPERATING_POINT);
        let refused = live.len() - passed(&live);
        #[expect(clippy::cast_precision_loss, reason = "counts")]
        let bpcer = (!live.is_empty()).then(|| refused as f64 / live.len() as f64);
        Self {
            bona_fide: live.len(),
            too_few: live.len().min(attack.len()) < LEAST_SAMPLE,
            attacks: kinds.iter().map(|(kind, scores)| (kind.clone(), scores.len())).collect(),
            auc: statistics::area_under_curve(&live, &attack),
            eer: statistics::equal_error_rate(&live, &attack),
            bpcer,
            bpcer_interval: statistics::wilson(refused, live.len()),
            apcer: kinds.iter().map(|(kind, scores)| (kind.clone(), scores.share_at(OPERATING_POINT))).collect(),
            apcer_interval: kinds
                .iter()
                .map(|(kind, scores)| (kind.clone(), statistics::wilson(passed(scores), scores.len())))
                .collect(),
        }
    }
}

fn split<'a>(pairs: impl Iterator<Item = (&'a str, &'a Tested)>) -> (Descending, Descending) {
    let (live, attack): (Vec<_>, Vec<_>) = pairs.partition(|(label, _)| *label == BONA_FIDE);
    let descending = |of: Vec<(&str, &Tested)>| of.iter().map(|(_, tested)| tested.score()).collect();
    (descending(live), descending(attack))
}

#[derive(Template)]
#[template(path = "eval_liveness.html")]
struct LivenessPage<'a> {
    report: &'a LivenessReport,
}

impl LivenessPage<'_> {
    fn tables(&self) -> [(String, &LivenessRates); 2] {
        let gated = format!("Context of {LEAST_CONTEXT:.1} faces or more");
        [("All pictures".to_owned(), &self.report.all), (gated, &self.report.in_context)]
    }

    fn least() -> usize {
        LEAST_SAMPLE
    }

    fn percent(share: Option<&f64>) -> String {
        share.map_or_else(|| "not measurable".to_owned(), |share| format!("{:.2} %", share * 100.0))
    }

    fn range(interval: Option<&Interval>) -> String {
        interval.map_or_else(String::new, |interval| {
            format!("{:.2} to {:.2} %", interval.low * 100.0, interval.high * 100.0)
        })
    }

    fn kinds(rates: &LivenessRates) -> impl Iterator<Item = (&String, &f64, &usize, Option<&Interval>)> {
        let counted = rates.apcer.iter().zip(rates.attacks.values());
        counted
            .zip(rates.apcer_interval.values())
            .map(|(((kind, apcer), count), interval)| (kind, apcer, count, interval.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(label: &str) -> Labelled {
        Labelled { file: format!("{label}.jpg"), label: label.to_owned() }
    }

    #[test]
    fn rates_are_given_by_kind_of_attack_and_again_for_pictures_with_context() {
        let list =
            ["bona_fide", "bona_fide", "bona_fide", "bona_fide", "print", "print", "replay", "mask"].map(labelled);
        let seen = |raw, context| Some(Tested { raw, context });
        let tested = [
            seen(0.9, 2.7),
            seen(0.8, 2.7),
            seen(0.7, 2.2),
            seen(0.2, 1.5),
            seen(0.1, 2.7),
            seen(0.6, 1.9),
            seen(0.3, 2.0),
            None,
        ];
        let report = LivenessReport::of("list.csv".to_owned(), "m@1".to_owned(), &list, &tested).unwrap();
        assert_eq!((report.images, &*report.failures), (8, &["mask.jpg".to_owned()][..]));
        assert!((report.failure_to_acquire - 0.125).abs() < 1e-12);
        assert_eq!(report.all.bona_fide, 4);
        assert_eq!(report.all.bpcer, Some(0.25));
        let apcer: Vec<_> = report.all.apcer.iter().map(|(kind, share)| (&**kind, *share)).collect();
        assert_eq!(apcer, [("print", 0.5), ("replay", 0.0)]);
        // In 2 of the 12 pairs of a live and an attack score, the live score is lower.
        assert!((report.all.auc.unwrap() - 10.0 / 12.0).abs() < 1e-12);
        assert_eq!(report.in_context.bona_fide, 3);
        assert_eq!((report.in_context.bpcer, report.in_context.auc), (Some(0.0), Some(1.0)));
        assert_eq!(report.in_context.attacks.values().sum::<usize>(), 2);
        let html = report.html().unwrap();
        assert!(html.contains("<svg") && html.contains("replay") && html.contains("mask.jpg"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["bpcer"], &json["apcer"]["print"], &json["in_context"]["auc"]),
            (&0.25.into(), &0.5.into(), &1.0.into())
        );
    }

    #[test]
    fn a_list_of_one_kind_leaves_open_what_needs_two() {
        let report = LivenessReport::of(
            String::new(),
            String::new(),
            &[labelled("print")],
            &[Some(Tested { raw: 0.4, context: 3.0 })],
        );
        let report = report.unwrap();
        assert_eq!((report.all.auc, report.all.eer, report.all.bpcer), (None, None, None));
        assert_eq!(report.all.apcer["print"].to_string(), "0");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let read_text = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let name = file.path().display().to_string();
            read(file.path()).map_err(|fault| fault.to_string().replace(&name, "list"))
        };
        assert_eq!(
            read_text("file,label\na.jpg,print\n").unwrap(),
            [Labelled { file: "a.jpg".to_owned(), label: "print".to_owned() }]
        );
        assert_eq!(read_text("image,label\n").unwrap_err(), "list: the header must have the columns file, label");
        assert_eq!(read_text("file,label\na.jpg,\n").unwrap_err(), "list, line 2: file and label must not be empty");
        assert_eq!(read_text("file,label\n").unwrap_err(), "list names no pictures");
    }
}
