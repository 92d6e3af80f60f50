//! `visavis compare A B`: compares two files without broker or database.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::picture::{self, Panel, Sheet};
use crate::config::VisionArgs;
use crate::domain::evidence::{Mode, Threshold};
use crate::domain::frequency::one_in;
use crate::domain::policy;
use crate::domain::quality::{Defect, QualityLimits};
use crate::vision::decode::{self, DecodeParams};
use crate::vision::embed::EmbedderSpec;
use crate::vision::pipeline::Analyse as _;
use crate::vision::view::View;
use crate::vision::{Analysis, Error, FaceComparison, Params, Pass, Pipeline};

/// Both images show the same person.
const MATCH: u8 = 0;
const NO_MATCH: u8 = 1;
// 2 is clap's, for a wrong command line.
const NO_FACE: u8 = 3;
const BAD_IMAGE: u8 = 4;
const MACHINE_FAULT: u8 = 5;

const ADVICE: &str =
    "A face should be in full view, at least a twentieth of the picture wide, with 20 pixels between the eyes.";

/// Compare the most prominent face of one image with that of another
#[derive(Args)]
#[command(after_help = "\
Exit status:
  0  same person: the similarity meets the threshold
  1  different people: the similarity is below the threshold
  2  the command line is wrong
  3  one of the images shows no usable face
  4  an image cannot be read, or is not a JPEG, PNG or WebP file within the limits
  5  a fault of this machine: models, the ONNX Runtime, writing the picture")]
pub struct CompareArgs {
    /// Reference image: JPEG, PNG or WebP, at most 10 MB, 6000 pixels per side and 24 megapixels
    pub a: PathBuf,
    /// Image to compare with it
    pub b: PathBuf,
    /// `fast`: one embedder; `accurate`: all embedders of the pack, fused
    #[arg(long, value_enum, default_value_t = ModeArg::Accurate)]
    pub mode: ModeArg,
    /// Least similarity, in [0, 1], that counts as the same person
    #[arg(long, default_value = "0.75", value_parser = threshold)]
    pub threshold: Threshold,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// Write a PNG with both images, their faces and the score to this file
    #[arg(long, value_name = "PNG")]
    pub picture: Option<PathBuf>,
    #[command(flatten)]
    pub vision: VisionArgs,
}

/// [`Mode`] as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// One embedder.
    Fast,
    /// All embedders.
    Accurate,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Fast => Self::Fast,
            ModeArg::Accurate => Self::Accurate,
        }
    }
}

/// Compares, prints the verdict and returns the exit status that `--help` lists.
///
/// # Errors
/// When the verdict cannot be printed.
pub fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let (text, status) = match compare(args) {
        Ok(report) => {
            let text = if args.json { report.json()? } else { report.text()? };
            (text, report.status())
        }
        Err(CompareFault::Image(error)) => return Ok(fail(&error, BAD_IMAGE)),
        Err(CompareFault::Machine(error)) => return Ok(fail(&error, MACHINE_FAULT)),
    };
    // Not 1, because 1 means different people.
    match std::io::stdout().write_all(text.as_bytes()).context("cannot print the verdict") {
        Ok(()) => Ok(ExitCode::from(status)),
        Err(error) => Ok(fail(&error, MACHINE_FAULT)),
    }
}

fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(status)
}

enum CompareFault {
    Image(anyhow::Error),
    Machine(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for CompareFault {
    fn from(error: E) -> Self {
        Self::Machine(error.into())
    }
}

fn compare(args: &CompareArgs) -> Result<CompareReport, CompareFault> {
    let files = [read(&args.a)?, read(&args.b)?];
    let pack = args.vision.pack()?;
    let runtime = args.vision.runtime(&pack)?;
    let mut pipeline = Pipeline::open(&pack, &runtime, Params::default())?;
    let mode = Mode::from(args.mode);
    let [a, b] = files;
    let sides = [side(&mut pipeline, &args.a, a, mode)?, side(&mut pipeline, &args.b, b, mode)?];
    let scorer = pack.scorers().of(mode);
    let comparison = match (&sides[0].analysis.template, &sides[1].analysis.template) {
        (Some(a), Some(b)) => Some(scorer.compare(a, b)?),
        _ => None,
    };
    let report = CompareReport {
        sides,
        comparison,
        mode,
        threshold: args.threshold,
        false_match_rate: scorer.calibration.false_match_rate(args.threshold),
        pack: pack.name().to_owned(),
    };
    if let Some(path) = &args.picture {
        report.draw(path, &pack.embedders()[0].spec)?;
    }
    Ok(report)
}

fn read(path: &Path) -> Result<Vec<u8>, CompareFault> {
    let fault = |e: anyhow::Error| CompareFault::Image(e);
    if path.is_dir() {
        return Err(fault(anyhow::anyhow!("{} is a folder; name an image file", path.display())));
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display())).map_err(fault)
}

fn side(pipeline: &mut Pipeline, path: &Path, file: Vec<u8>, mode: Mode) -> Result<Side, CompareFault> {
    let analysis = pipeline.analyse(&file, mode, &mut Pass::default()).map_err(|error| match error {
        Error::Image(fault) => CompareFault::Image(anyhow::Error::new(fault).context(path.display().to_string())),
        other => CompareFault::Machine(other.into()),
    })?;
    Ok(Side { path: path.to_owned(), file, analysis })
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Threshold::new(value).map_err(|e| e.to_string())
}

/// One image and its analysis.
struct Side {
    path: PathBuf,
    file: Vec<u8>,
    analysis: Analysis,
}

struct CompareReport {
    sides: [Side; 2],
    /// `None` when a side shows no usable face.
    comparison: Option<FaceComparison>,
    mode: Mode,
    threshold: Threshold,
    false_match_rate: Option<f64>,
    pack: String,
}

#[derive(Clone, Copy, PartialEq)]
enum CompareVerdict {
    Match,
    NoMatch,
    NoFace,
}

impl CompareReport {
    fn verdict(&self) -> CompareVerdict {
        match &self.comparison {
            Some(c) if policy::is_same_person(c.similarity, self.threshold) => CompareVerdict::Match,
            Some(_) => CompareVerdict::NoMatch,
            None => CompareVerdict::NoFace,
        }
    }

    fn status(&self) -> u8 {
        match self.verdict() {
            CompareVerdict::Match => MATCH,
            CompareVerdict::NoMatch => NO_MATCH,
            CompareVerdict::NoFace => NO_FACE,
        }
    }

    fn headline(&self) -> String {
        match self.verdict() {
            CompareVerdict::Match => "Same person".to_owned(),
            CompareVerdict::NoMatch => "Different people".to_owned(),
            CompareVerdict::NoFace => {
                let without: Vec<_> =
                    self.sides.iter().filter(|s| s.analysis.primary.is_none()).map(Side::name).collect();
                format!("No usable face in {}", without.join(" and in "))
            }
        }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        writeln!(text, "{}", self.headline())?;
        if let Some(c) = &self.comparison {
            writeln!(text, "  similarity  {:.4}", c.similarity.get())?;
        }
        if self.comparison.is_some() {
            writeln!(text, "  threshold   {:.4}  {}", self.threshold.get(), self.rate())?;
        } else {
            writeln!(text, "  {ADVICE}")?;
        }
        for (label, side) in ["A", "B"].into_iter().zip(&self.sides) {
            writeln!(text, "  {label}           {}: {}", side.path.display(), side.summary())?;
            for defect in side.analysis.quality.iter().flat_map(|quality| quality.defects(&QualityLimits::default())) {
                let Defect { measure, value, limit, advice, .. } = defect;
                writeln!(text, "              {measure} {value:.2}, limit {limit:.2}: {advice}")?;
            }
        }
        if let Some(c) = &self.comparison {
            writeln!(text, "  model       {}, calibration {}, raw score {:.4}", c.model, c.calibration, c.raw.get())?;
        }
        Ok(text)
    }

    /// The false match rate at the threshold, in words.
    fn rate(&self) -> String {
        match self.false_match_rate {
            Some(rate) => format!(
                "about {} pairs of strangers would pass (measured on the pairs of the calibration)",
                one_in(rate)
            ),
            None => "outside the range for which a false match rate was measured".to_owned(),
        }
    }

    fn json(&self) -> anyhow::Result<String> {
        let verdict = match self.verdict() {
            CompareVerdict::Match => "match",
            CompareVerdict::NoMatch => "no_match",
            CompareVerdict::NoFace => "no_face",
        };
        let images: Vec<_> = self.sides.iter().map(Side::json).collect();
        let report = json!({
            "verdict": verdict,
            "similarity": self.comparison.as_ref().map(|c| c.similarity),
            "raw": self.comparison.as_ref().map(|c| c.raw),
            "threshold": self.threshold,
            "false_match_rate": self.false_match_rate,
            "mode": self.mode,
            "pack": self.pack,
            "model": self.comparison.as_ref().map(|c| &c.model),
            "calibration": self.comparison.as_ref().map(|c| &c.calibration),
            "images": images,
        });
        Ok(serde_json::to_string_pretty(&report)? + "\n")
    }

    fn draw(&self, path: &Path, embedder: &EmbedderSpec) -> anyhow::Result<()> {
        let limits = DecodeParams::default();
        let picture = |i: usize| decode::decode(&self.sides[i].file, &limits).map(View::from);
        let pictures = [picture(0)?, picture(1)?];
        let panel = |i: usize| Panel {
            title: self.sides[i].name(),
            caption: self.sides[i].found(),
            picture: pictures[i].held(),
            analysis: &self.sides[i].analysis,
            chip: self.sides[i].analysis.primary_face().and_then(|f| embedder.align(&pictures[i], &f.five_points)),
        };
        let sheet = Sheet {
            headline: self.headline(),
            detail: match (&self.comparison, self.false_match_rate) {
                (None, _) => ADVICE.to_owned(),
                (Some(_), Some(rate)) => {
                    format!("At this threshold about {} pairs of strangers would pass.", one_in(rate))
                }
                (Some(_), None) => String::new(),
            },
            panels: [panel(0), panel(1)],
            similarity: self.comparison.as_ref().map(|c| c.similarity),
            threshold: self.threshold,
        };
        let drawn = picture::draw(&sheet)?;
        drawn
            .save_with_format(path, image::ImageFormat::Png)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Side {
    fn name(&self) -> String {
        self.path.file_name().map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    fn found(&self) -> String {
        let Analysis { width, height, faces, .. } = &self.analysis;
        let faces = match faces.len() {
            0 => "no face".to_owned(),
            1 => "1 face".to_owned(),
            n => format!("{n} faces, the most prominent compared"),
        };
        format!("{width} x {height}, {faces}")
    }

    fn summary(&self) -> String {
        let mut summary = self.found();
        if let Some(face) = self.analysis.primary_face() {
            let b = face.bbox;
            let _ = write!(summary, ", {:.0} x {:.0} at ({:.0}, {:.0})", b.width(), b.height(), b.left, b.top);
        }
        let _ = write!(summary, ", {:.0} ms", self.analysis.timings.total().as_secs_f64() * 1e3);
        summary
    }

    fn json(&self) -> serde_json::Value {
        let Analysis { width, height, faces, primary, timings, .. } = &self.analysis;
        let faces: Vec<_> = faces
            .iter()
            .map(|f| json!({"box": f.bbox, "score": f.score, "presence": f.presence, "five_points": f.five_points}))
            .collect();
        let ms = |d: std::time::Duration| (d.as_secs_f64() * 1e5).round() / 1e2;
        json!({
            "path": self.path,
            "width": width,
            "height": height,
            "faces": faces,
            "primary": primary,
            "quality": self.analysis.quality,
            "milliseconds": {
                "decode": ms(timings.decode),
                "detect": ms(timings.detect),
                "landmarks": ms(timings.landmarks),
                "align": ms(timings.align),
                "embed": ms(timings.embed),
                "quality": ms(timings.quality),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_outside_the_unit_interval_is_refused_with_a_reason() {
        assert_eq!(threshold("1.5").unwrap_err(), "threshold must be in [0, 1]");
        assert_eq!(threshold("high").unwrap_err(), "not a number");
        assert!(threshold("NaN").is_err());
    }
}
