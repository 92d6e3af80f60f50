//! `visavis blobs`: whether the blob store and the database belong together, and blobs that belong to nothing.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::OutputArgs;
use crate::config::{DatabaseArgs, IntakeArgs};
use crate::images::erasure::STUCK;
use crate::images::{binding, stranded};
use crate::intake::Intake;

#[derive(Subcommand)]
pub(super) enum BlobsCommand {
    /// Show whether the blob store and the database belong together, and what waits to be deleted
    Show(BlobsArgs),
    /// Bind the blob store and the database to each other, whatever they were bound to before
    Adopt(BlobsChangeArgs),
    /// Set all blobs that no row of the database knows aside, however many; they are deleted after 7 days
    Quarantine(BlobsChangeArgs),
}

#[derive(Args)]
pub(super) struct BlobsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    intake: IntakeArgs,
}

#[derive(Args)]
pub(super) struct BlobsChangeArgs {
    /// Do it; without this nothing is changed
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    blobs: BlobsArgs,
}

pub(super) async fn run(command: BlobsCommand) -> anyhow::Result<ExitCode> {
    match command {
        BlobsCommand::Show(args) => show(&args).await,
        BlobsCommand::Adopt(args) => adopt(&args).await,
        BlobsCommand::Quarantine(args) => quarantine(&args).await,
    }
}

impl BlobsArgs {
    async fn intake(&self) -> anyhow::Result<Intake> {
        self.intake.intake(self.database.store().await?)
    }
}

/// Succeeds if the two are bound.
async fn show(args: &BlobsArgs) -> anyhow::Result<ExitCode> {
    let Intake { store, media, .. } = args.intake().await?;
    let pair = binding::inspect(&store, &media).await?;
    let (waiting, stuck) = store.count_erasures(STUCK).await?;
    let set_aside = store.count_stranded().await?;
    let document = json!({
        "store": pair.store,
        "store_id": pair.store_id,
        "database": pair.database,
        "database_id": pair.database_id,
        "bound": pair.is_bound,
        "sampled": pair.sampled,
        "unknown": pair.unknown,
        "waiting": waiting,
        "stuck": stuck,
        "set_aside": set_aside,
    });
    let is_bound = pair.is_bound;
    args.output.print(&document, || {
        let bound = if is_bound { "they belong together".to_owned() } else { binding::Mismatch(pair).to_string() };
        format!(
            "{bound}\n{waiting} erased blobs wait to be deleted, {stuck} of them were tried more than {STUCK} times\n\
             {set_aside} blobs that no row knows are set aside"
        )
    })?;
    Ok(if is_bound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn adopt(args: &BlobsChangeArgs) -> anyhow::Result<ExitCode> {
    if !args.yes {
        eprintln!("nothing was changed: look at what follows, then add --yes");
        show(&args.blobs).await?;
        return Ok(ExitCode::FAILURE);
    }
    let Intake { store, media, .. } = args.blobs.intake().await?;
    let id = binding::adopt(&store, &media).await?;
    let text = || format!("the blob store {} and the database are bound as {id}", media.store_name());
    args.blobs.output.print(&json!({ "id": id }), text)?;
    Ok(ExitCode::SUCCESS)
}

async fn quarantine(args: &BlobsChangeArgs) -> anyhow::Result<ExitCode> {
    if !args.yes {
        eprintln!("nothing was changed: add --yes to set aside what no row knows");
        show(&args.blobs).await?;
        return Ok(ExitCode::FAILURE);
    }
    let Intake { store, media, .. } = args.blobs.intake().await?;
    binding::check(&store, &media).await?;
    let looked = stranded::look(&store, &media, stranded::Bound::Any).await?;
    let document = json!({ "listed": looked.listed, "unknown": looked.unknown, "set_aside": looked.set_aside });
    args.blobs.output.print(&document, || {
        let stranded::Looked { listed, unknown, set_aside, .. } = looked;
        format!("no row knows {unknown} of {listed} blobs; {set_aside} more are set aside")
    })?;
    Ok(ExitCode::SUCCESS)
}
