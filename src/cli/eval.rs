//! `visavis eval LIST`: measures error rates on labelled pictures, through the product's own pipeline.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::compare::ModeArg;
use super::output::OutputArgs;
use crate::config::VisionArgs;
use crate::domain::evidence::Mode;
use crate::eval::analyses::{self, Conditions};
use crate::eval::fit::{self, CalibrationOrigin};
use crate::eval::list::List;
use crate::eval::liveness;
use crate::eval::report::{EvalReport, ReportInput};
use crate::eval::scores::Scores;
use crate::eval::statistics::{Descending, Interval, LEAST_SAMPLE, RATES};
use crate::vision::compare::{ScorePart, Scorer};
use crate::vision::network::Onnx;
use crate::vision::{Engine, EngineSettings, Pack};

#[derive(Args)]
#[command(after_help = "\
The list is a CSV file with a header line; paths are relative to it. Columns a, b and same (1 or 0) list pairs; columns
image and identity compare all pairs of pictures. A column group adds the rates by group.

DIR gets report.html and report.json, which --json prints, too. During the run DIR/templates.jsonl holds the templates of
the faces: an interrupted run continues from it. It is removed at the end, unless --keep-templates is given.")]
pub(super) struct EvalArgs {
    /// The labelled list (CSV)
    #[arg(required_unless_present = "liveness", conflicts_with = "liveness")]
    list: Option<PathBuf>,
    /// Measure liveness instead, on a CSV file with the columns file and label: `bona_fide` or a kind of attack
    #[arg(long, value_name = "LABELS", conflicts_with_all = ["mode", "fit", "keep_templates"])]
    liveness: Option<PathBuf>,
    /// Folder for the report; it is created when it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// `fast`: one embedder; `accurate`: all embedders of the pack, fused
    #[arg(long, value_enum, ignore_case = true, default_value_t = ModeArg::Accurate)]
    mode: ModeArg,
    /// Pack to measure: the name of an optional pack that was pulled, or a pack's folder [default: the packs in use]
    #[arg(long, value_name = "NAME|FOLDER")]
    pack: Option<String>,
    /// Write a calibration fitted on this list's pairs to FILE
    #[arg(long, value_name = "FILE")]
    fit: Option<PathBuf>,
    /// Version of the calibration that --fit writes
    #[arg(long, default_value = "1", requires = "fit")]
    fit_version: String,
    /// Description of the list in the calibration that --fit writes [default: the file's name]
    #[arg(long, value_name = "TEXT", requires = "fit")]
    fit_data: Option<String>,
    /// Keep the templates for another run over the same pictures
    #[arg(long)]
    keep_templates: bool,
    /// Compute threads [default: one per core]
    #[arg(long, env = "VISAVIS_THREADS")]
    threads: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    vision: VisionArgs,
}

pub(super) async fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let pack = match &args.pack {
        Some(folder) if Path::new(folder).is_dir() => Pack::load(Path::new(folder))?,
        Some(name) => args.vision.registry()?.load(std::slice::from_ref(name))?,
        None => args.vision.pack()?,
    };
    match (&args.list, &args.liveness) {
        (_, Some(labels)) => measure_liveness(args, pack, labels).await,
        (Some(list), None) => compare(args, pack, list).await,
        (None, None) => bail!("name a list of labelled pictures"),
    }
}

async fn start(args: &EvalArgs, pack: Pack) -> anyhow::Result<Engine> {
    let threads = args.threads.unwrap_or(EngineSettings::default().threads);
    let settings = EngineSettings { threads, queue: threads };
    let vision = args.vision.clone();
    let start = move || {
        let runtime = vision.runtime(&pack)?;
        anyhow::Ok(Engine::start(settings, pack, runtime)?)
    };
    tokio::task::spawn_blocking(start).await?
}

fn progress(pictures: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(pictures as u64).with_style(style))
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

async fn measure_liveness(args: &EvalArgs, pack: Pack, labels: &Path) -> anyhow::Result<ExitCode> {
    let list = liveness::read(labels)?;
    let engine = start(args, pack).await?;
    let Some(model) = engine.liveness_model().map(str::to_owned) else {
        bail!("the models in use have no liveness test: `visavis models list` shows those that have");
    };
    let bar = progress(list.len())?;
    let done = |count: usize| bar.set_position(count as u64);
    let tested = liveness::run(&list, labels.parent().unwrap_or(Path::new("")), &engine, done).await?;
    bar.finish_and_clear();
    let report = liveness::LivenessReport::of(name_of(labels), model, &list, &tested).map_err(anyhow::Error::msg)?;
    let document = serde_json::to_value(&report)?;
    write(&args.out.join("report.json"), &format!("{document:#}\n"))?;
    write(&args.out.join("report.html"), &report.html()?)?;
    args.output.print(&document, || liveness_text(&report, &args.out)).map(|()| ExitCode::SUCCESS)
}

async fn compare(args: &EvalArgs, pack: Pack, path: &Path) -> anyhow::Result<ExitCode> {
    let list = List::read(path)?;
    let mode = Mode::from(args.mode);
    let scorer = pack.scorers().of(mode).clone();
    let name = pack.name().to_owned();
    let conditions =
        Conditions { models: pack.template_networks().map(Onnx::label).collect(), mode, score: formula(&scorer) };
    let engine = start(args, pack).await?;

    let journal = args.out.join("templates.jsonl");
    let folder = path.parent().unwrap_or(Path::new(""));
    let bar = progress(list.images.len())?;
    let done = |count: usize| bar.set_position(count as u64);
    let analysed = analyses::run(&list.images, folder, &engine, &conditions, &journal, done).await?;
    bar.finish_and_clear();

    let compared = Scores::of(&list, &analysed, &scorer)?;
    let mode = mode_name(mode);
    let list_name = name_of(path);
    let report = EvalReport::of(ReportInput {
        list: &list,
        analysed: &analysed,
        scores: &compared,
        calibration: &scorer.calibration,
        name: list_name.clone(),
        pack: name,
        model: scorer.model(),
        mode: mode.to_uppercase(),
    });
    let report = report.map_err(anyhow::Error::msg)?;
    let document = serde_json::to_value(&report)?;
    write(&args.out.join("report.json"), &format!("{document:#}\n"))?;
    write(&args.out.join("report.html"), &report.html()?)?;
    if let Some(file) = &args.fit {
        let origin = CalibrationOrigin {
            version: &args.fit_version,
            mode,
            score: &formula(&scorer),
            fitted_on: args.fit_data.as_deref().unwrap_or(&list_name),
            fitted_at: &today(),
            images: analysed.iter().filter(|picture| picture.template.is_some()).count(),
        };
        let text =
            fit::calibration(&Descending::new(&compared.genuine), &Descending::new(&compared.impostor), &origin)?;
        write(file, &text)?;
    }
    if !args.keep_templates {
        std::fs::remove_file(&journal).with_context(|| format!("cannot remove {}", journal.display()))?;
    }
    args.output.print(&document, || text(&report, &args.out))?;
    if report.genuine + report.impostor == 0 {
        bail!("no pair could be compared");
    }
    Ok(ExitCode::SUCCESS)
}

fn today() -> String {
    #[expect(clippy::disallowed_methods, reason = "a date for people to read")]
    let now = chrono::Utc::now();
    now.date_naive().to_string()
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Fast => "fast",
        Mode::Accurate => "accurate",
    }
}

/// The score as a formula: `0.8 * cosine(a) + 0.2 * cosine(b)`.
fn formula(scorer: &Scorer) -> String {
    let term = |part: &ScorePart| {
        let model = if part.mirrored { format!("{}, mirrored averaged in", part.model) } else { part.model.clone() };
        match part.weight.total_cmp(&1.0) {
            std::cmp::Ordering::Equal => format!("cosine({model})"),
            _ => format!("{} * cosine({model})", part.weight),
        }
    };
    scorer.parts.iter().map(term).collect::<Vec<_>>().join(" + ")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "not measurable".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// The 95 % interval in percent, or nothing.
fn range(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |range| format!("  [{:.2}, {:.2}]", range.low * 100.0, range.high * 100.0))
}

fn liveness_text(report: &liveness::LivenessReport, out: &Path) -> String {
    let mut text = format!("{} {}\n", report.list, report.model);
    let _ = writeln!(text, "  pictures            {} ({} without a usable face)", report.images, report.failures.len());
    for (what, rates) in [("all", &report.all), ("context >= 2.0", &report.in_context)] {
        let auc = rates.auc.map_or_else(|| "not measurable".to_owned(), |auc| format!("{auc:.4}"));
        let bpcer = percent(rates.bpcer) + range(rates.bpcer_interval).as_str();
        let _ = writeln!(text, "  {what}\n    AUC               {auc}");
        let _ = writeln!(text, "    equal error rate  {}", percent(rates.eer));
        let _ = writeln!(text, "    BPCER             {bpcer}  of {}", rates.bona_fide);
        for (kind, apcer) in &rates.apcer {
            let apcer = percent(Some(*apcer)) + range(rates.apcer_interval[kind]).as_str();
            let _ = writeln!(text, "    APCER {kind:<11} {apcer}  of {}", rates.attacks[kind]);
        }
    }
    if report.all.too_few {
        let _ = writeln!(
            text,
            "  too few pictures to say: at least {LEAST_SAMPLE} bona fide pictures and {LEAST_SAMPLE} attacks are needed"
        );
    }
    let _ = write!(text, "  brackets: 95 % confidence intervals\n  {}", out.join("report.html").display());
    text
}

fn text(report: &EvalReport, out: &Path) -> String {
    let mut text = format!("{} {}, {}\n", report.list, report.mode, report.model);
    let _ = writeln!(text, "  pictures            {} ({} without a usable face)", report.images, report.failures.len());
    let _ = writeln!(text, "  pairs               {} genuine, {} impostor", report.genuine, report.impostor);
    let _ = writeln!(text, "  equal error rate    {}{}", percent(report.eer), range(report.eer_interval));
    for (name, rate) in RATES {
        let figure = match report.tar_at_fmr[name] {
            Some(tar) => percent(Some(tar)) + range(report.tar_at_fmr_interval[name]).as_str(),
            None => format!("not measurable: needs {:.0} impostor pairs and a genuine one", 1.0 / rate),
        };
        let _ = writeln!(text, "  TAR at FMR {name}     {figure}");
    }
    if report.too_few {
        let _ = writeln!(
            text,
            "  too few pairs to say: at least {LEAST_SAMPLE} genuine and {LEAST_SAMPLE} impostor pairs are needed"
        );
    }
    let _ = write!(text, "  brackets: 95 % confidence intervals\n  {}", out.join("report.html").display());
    text
}
