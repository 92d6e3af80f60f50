//! `visavis identity`: the registry of identity records.

use std::fs::File;
use std::io::{BufRead as _, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::OutputArgs;
use crate::config::{DatabaseArgs, IntakeArgs};
use crate::domain::identity::{IdNumber, IdType};
use crate::identity::Registry;
use crate::identity::import::{Error, Importer};
use crate::identity::registry::Put;
use crate::identity::rows::{self, RowFault};
use crate::images::binding;
use crate::vision::DecodeParams;
use crate::vision::decode;

#[derive(Subcommand)]
pub(super) enum IdentityCommand {
    /// Import identity records and portraits of one ID type from a file into the registry
    Import(ImportArgs),
    /// Count the records of each ID type
    Count(CountArgs),
    /// Erase records permanently
    Delete(DeleteArgs),
}

#[derive(Args)]
pub(super) struct ImportArgs {
    /// File of rows with `id_number`, portrait (Base64, or a path relative to this file) and any other attributes
    file: PathBuf,
    /// ID type of the records: nin, bvn, vnin, `drivers_license` or passport
    #[arg(long, value_parser = parse_id_type)]
    id_type: IdType,
    /// Format of the file [default: by its name]
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// File for the refused rows, one JSON object per line with line, code and message
    #[arg(long)]
    errors: Option<PathBuf>,
    /// Rows that are imported at the same time [default: one per core]
    #[arg(long)]
    parallel: Option<NonZeroUsize>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    intake: IntakeArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// One JSON object per line
    Jsonl,
    /// CSV with a header line
    Csv,
}

#[derive(Args)]
pub(super) struct CountArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct DeleteArgs {
    /// ID type of the records: nin, bvn, vnin, `drivers_license` or passport
    #[arg(long, value_parser = parse_id_type)]
    id_type: IdType,
    /// Erase every record of the type; without this flag, ID numbers are read from standard input, one per line
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    intake: IntakeArgs,
}

/// Exit status when some rows were refused and the others are imported.
const REFUSED: u8 = 3;
/// Refused rows that are shown on standard error when no file takes them.
const SHOWN: u64 = 10;

pub(super) async fn run(command: IdentityCommand) -> anyhow::Result<ExitCode> {
    match command {
        IdentityCommand::Import(args) => import(args).await,
        IdentityCommand::Count(args) => {
            let counts = args.database.store().await?.count_registry().await?;
            let records: serde_json::Map<_, _> =
                counts.iter().map(|(id_type, count)| (id_type.clone(), json!(count))).collect();
            let line = |(id_type, count): &(String, i64)| format!("{id_type} {count}");
            let text = || counts.iter().map(line).collect::<Vec<_>>().join("\n");
            args.output.print(&json!({ "records": records }), text).map(|()| ExitCode::SUCCESS)
        }
        IdentityCommand::Delete(args) => delete(args).await,
    }
}

async fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let format = match (args.format, args.file.extension().and_then(|name| name.to_str())) {
        (Some(FormatArg::Jsonl), _) | (None, Some("jsonl" | "ndjson")) => rows::ImportFormat::Jsonl,
        (Some(FormatArg::Csv), _) | (None, Some("csv")) => rows::ImportFormat::Csv,
        (None, _) => bail!("the file's name ends neither in .jsonl nor in .csv: add --format jsonl or --format csv"),
    };
    let unusable = || format!("cannot use {}", args.file.display());
    let size = std::fs::metadata(&args.file).with_context(unusable)?.len();
    let mut rows = rows::open(&args.file, format).with_context(unusable)?;
    let mut report = RefusedRows::open(args.errors.as_deref())?;
    let registry = registry(&args.database, &args.intake).await?;
    let folder = args.file.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut target = Importer::new(registry, args.id_type, folder, check);

    let bar = ProgressBar::new(size);
    bar.set_style(ProgressStyle::with_template("{bar:30} {percent}% {msg}, {elapsed}")?);
    let parallel = args.parallel.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let (mut imported, mut unchanged) = (0_u64, 0_u64);
    loop {
        // Numbers are admitted in the file's order, so that the second of two equal ones is refused. Portraits of a
        // window are then decoded in parallel.
        let (mut window, mut done) = (Vec::new(), false);
        while window.len() < parallel * 8 {
            let Some(row) = rows.next() else {
                done = true;
                break;
            };
            let row = row.with_context(unusable)?;
            bar.set_position(row.read);
            match row.content.and_then(|content| target.admit(content)) {
                Ok(entry) => window.push((row.line, entry)),
                Err(fault) => report.add(&bar, row.line, &fault)?,
            }
        }
        let target = &target;
        let imports = window.into_iter().map(async |(line, entry)| (line, target.import(entry).await));
        let mut ended = stream::iter(imports).buffer_unordered(parallel);
        while let Some((line, ended)) = ended.next().await {
            match ended {
                Ok(Put::Imported) => imported += 1,
                Ok(Put::Unchanged) => unchanged += 1,
                Err(Error::Row(fault)) => report.add(&bar, line, &fault)?,
                Err(Error::Machine(error)) => {
                    bar.abandon();
                    let so_far = format!("{imported} rows were imported; run the same command again to continue");
                    return Err(anyhow::Error::from(error).context(so_far));
                }
            }
            bar.set_message(format!("{} rows", imported + unchanged + report.refused));
        }
        if done {
            break;
        }
    }
    bar.finish_and_clear();
    let refused = report.finish()?;
    let document = json!({ "imported": imported, "unchanged": unchanged, "refused": refused });
    args.output.print(&document, || format!("imported {imported}, unchanged {unchanged}, refused {refused}"))?;
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let registry = registry(&args.database, &args.intake).await?;
    if args.all {
        let erased = registry.delete_all(args.id_type).await?;
        let document = json!({ "erased": erased, "unknown": 0 });
        return args.output.print(&document, || format!("erased {erased}")).map(|()| ExitCode::SUCCESS);
    }
    let (mut erased, mut unknown) = (0_u64, 0_u64);
    for line in std::io::stdin().lock().lines() {
        let line = line.context("cannot read standard input")?;
        match IdNumber::parse(&line) {
            Some(number) if registry.delete(args.id_type, &number).await? => erased += 1,
            None if line.trim().is_empty() => {}
            _ => unknown += 1,
        }
    }
    let document = json!({ "erased": erased, "unknown": unknown });
    args.output.print(&document, || format!("erased {erased}, unknown {unknown}"))?;
    Ok(if unknown == 0 { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

async fn registry(database: &DatabaseArgs, intake: &IntakeArgs) -> anyhow::Result<Registry> {
    let intake = intake.intake(database.store().await?)?;
    binding::check(&intake.store, &intake.media).await?;
    Ok(Registry::new(intake.store, intake.media, intake.pepper))
}

/// Refuses a portrait that does not decode. Whether it shows a face is found out when it is compared.
fn check(portrait: &[u8]) -> Result<(), RowFault> {
    let decoded = decode::decode(portrait, &DecodeParams::default());
    decoded.map(drop).map_err(|fault| RowFault::new(fault.code(), fault.to_string()))
}

fn parse_id_type(text: &str) -> Result<IdType, String> {
    IdType::parse(text).ok_or_else(|| "must be nin, bvn, vnin, drivers_license or passport".to_owned())
}

/// Refused rows: written to a file, or the first ones to standard error.
struct RefusedRows {
    file: Option<BufWriter<File>>,
    refused: u64,
}

impl RefusedRows {
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            File::create(path).map(BufWriter::new).with_context(|| format!("cannot write {}", path.display()))
        };
        Ok(Self { file: path.map(open).transpose()?, refused: 0 })
    }

    fn add(&mut self, bar: &ProgressBar, line: u64, fault: &RowFault) -> anyhow::Result<()> {
        self.refused += 1;
        let RowFault { code, message } = fault;
        match &mut self.file {
            Some(file) => {
                let written = writeln!(file, "{}", json!({ "line": line, "code": code, "message": message }));
                written.context("cannot write the report of refused rows")?;
            }
            None if self.refused <= SHOWN => bar.suspend(|| eprintln!("line {line}: {code}: {message}")),
            None => {}
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<u64> {
        if let Some(file) = &mut self.file {
            file.flush().context("cannot write the report of refused rows")?;
        } else if self.refused > SHOWN {
            eprintln!("and {} more: add --errors FILE to list all of them", self.refused - SHOWN);
        }
        Ok(self.refused)
    }
}
