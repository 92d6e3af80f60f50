//! `visavis eval LIST`: error rates on labelled pictures, through the product's own pipeline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::compare::ModeArg;
use crate::config::VisionArgs;
use crate::domain::evidence::Mode;
use crate::eval::analyses::{self, Conditions};
use crate::eval::fit::{self, CalibrationOrigin};
use crate::eval::list::List;
use crate::eval::liveness;
use crate::eval::report::{EvalReport, ReportInput};
use crate::eval::scores::Scores;
use crate::eval::statistics::Descending;
use crate::vision::compare::{ScorePart, Scorer};
use crate::vision::network::Onnx;
use crate::vision::{Engine, EngineSettings, Pack};

#[derive(Args)]
#[command(after_help = "\
The list is a CSV file with a header line and paths relative to it: columns a, b and same (1 or 0) for pairs, or image and
identity for all pairs of different pictures; a column group adds the rates by group.

DIR gets report.html and report.json. While it runs, DIR/templates.jsonl holds the templates of the faces: a run that was cut
off goes on from there, and it is removed at the end, unless --keep-templates is given.")]
pub(super) struct EvalArgs {
    /// The labelled list (CSV)
    #[arg(required_unless_present = "liveness", conflicts_with = "liveness")]
    list: Option<PathBuf>,
    /// Measure liveness instead, on a CSV file with the columns file and label (`bona_fide`, or a kind of attack)
    #[arg(long, value_name = "LABELS", conflicts_with_all = ["mode", "fit", "keep_templates"])]
    liveness: Option<PathBuf>,
    /// Folder for the report; made when it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// `fast`: one embedder; `accurate`: all embedders of the pack, fused
    #[arg(long, value_enum, ignore_case = true, default_value_t = ModeArg::Accurate)]
    mode: ModeArg,
    /// What to measure: an optional pack that was pulled, by name, or a folder with a pack [default: as --use-packs says]
    #[arg(long, value_name = "NAME|FOLDER")]
    pack: Option<String>,
    /// Write a calibration fitted on this list's pairs to FILE
    #[arg(long, value_name = "FILE")]
    fit: Option<PathBuf>,
    /// Version of the calibration that --fit writes
    #[arg(long, default_value = "1", requires = "fit")]
    fit_version: String,
    /// What the list is, for the calibration that --fit writes [default: its file's name]
    #[arg(long, value_name = "TEXT", requires = "fit")]
    fit_data: Option<String>,
    /// Keep the templates, for another run over the same pictures
    #[arg(long)]
    keep_templates: bool,
    /// Compute threads [default: one a core]
    #[arg(long, env = "VISAVIS_THREADS")]
    threads: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    vision: VisionArgs,
}

pub(super) async fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let pack = match &args.pack {
        Some(folder) if Path::new(folder).is_dir() => Pack::load(Path::new(folder))?,
        Some(name) => args.vision.registry().load(std::slice::from_ref(name))?,
        None => args.vision.pack()?,
    };
    match (&args.list, &args.liveness) {
        (_, Some(labels)) => measure_liveness(args, pack, labels).await,
        (Some(list), None) => compare(args, pack, list).await,
        (None, None) => bail!("name a list"),
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
    path.file_name().map_or_else(String::new, |it| it.to_string_lossy().into_owned())
}

async fn measure_liveness(args: &EvalArgs, pack: Pack, labels: &Path) -> anyhow::Result<ExitCode> {
    let list = liveness::read(labels)?;
    let engine = start(args, pack).await?;
    let Some(model) = engine.liveness_model().map(str::to_owned) else {
        bail!("the models in use test no liveness: see `visavis models list`");
    };
    let bar = progress(list.len())?;
    let done = |count: usize| bar.set_position(count as u64);
    let tested = liveness::run(&list, labels.parent().unwrap_or(Path::new("")), &engine, done).await?;
    bar.finish_and_clear();
    let report = liveness::LivenessReport::of(name_of(labels), model, &list, &tested).map_err(anyhow::Error::msg)?;
    write(&args.out.join("report.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    write(&args.out.join("report.html"), &report.html()?)?;
    print_liveness(&report, &args.out);
    Ok(ExitCode::SUCCESS)
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
    write(&args.out.join("report.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    write(&args.out.join("report.html"), &report.html()?)?;
    if let Some(file) = &args.fit {
        let origin = CalibrationOrigin {
            version: &args.fit_version,
            mode,
            score: &formula(&scorer),
            fitted_on: args.fit_data.as_deref().unwrap_or(&list_name),
            fitted_at: &today(),
            images: analysed.iter().filter(|it| it.template.is_some()).count(),
        };
        let text =
            fit::calibration(&Descending::new(&compared.genuine), &Descending::new(&compared.impostor), &origin)?;
        write(file, &text)?;
    }
    if !args.keep_templates {
        std::fs::remove_file(&journal).with_context(|| format!("cannot remove {}", journal.display()))?;
    }
    print(&report, &args.out);
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

/// The score in words: `0.8 * cosine(a) + 0.2 * cosine(b)`.
fn formula(scorer: &Scorer) -> String {
    let part = |it: &ScorePart| {
        let model = if it.mirrored { format!("{}, mirrored averaged in", it.model) } else { it.model.clone() };
        match it.weight.total_cmp(&1.0) {
            std::cmp::Ordering::Equal => format!("cosine({model})"),
            _ => format!("{} * cosine({model})", it.weight),
        }
    };
    scorer.parts.iter().map(part).collect::<Vec<_>>().join(" + ")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn print_liveness(report: &liveness::LivenessReport, out: &Path) {
    let percent = |it: Option<f64>| it.map_or_else(|| "not measurable".to_owned(), |it| format!("{:.2} %", it * 100.0));
    println!("{} {}", report.list, report.model);
    println!("  pictures            {} ({} without a usable face)", report.images, report.failures.len());
    for (what, rates) in [("all", &report.all), ("context >= 2.0", &report.in_context)] {
        println!("  {what}");
        println!(
            "    AUC               {}",
            rates.auc.map_or_else(|| "not measurable".to_owned(), |it| format!("{it:.4}"))
        );
        println!("    equal error rate  {}", percent(rates.eer));
        println!("    BPCER             {}  of {}", percent(rates.bpcer), rates.bona_fide);
        for (kind, apcer) in &rates.apcer {
            println!("    APCER {kind:<11} {}  of {}", percent(Some(*apcer)), rates.attacks[kind]);
        }
    }
    println!("  {}", out.join("report.html").display());
}

fn print(report: &EvalReport, out: &Path) {
    let percent = |it: Option<f64>| it.map_or_else(|| "not measurable".to_owned(), |it| format!("{:.2} %", it * 100.0));
    println!("{} {}, {}", report.list, report.mode, report.model);
    println!("  pictures            {} ({} without a usable face)", report.images, report.failures.len());
    println!("  pairs               {} genuine, {} impostor", report.genuine, report.impostor);
    println!("  equal error rate    {}", percent(report.eer));
    for (rate, tar) in &report.tar_at_fmr {
        let interval = report.tar_at_fmr_interval[rate]
            .map_or_else(String::new, |it| format!("  [{:.2}, {:.2}]", it.low * 100.0, it.high * 100.0));
        println!("  TAR at FMR {rate}     {}{interval}", percent(*tar));
    }
    println!("  {}", out.join("report.html").display());
}
