//! `visavis erasure`: what was erased stays erased, even after a restore.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::OutputArgs;
use crate::config::{DatabaseArgs, IntakeArgs};
use crate::images::{Images, binding};
use crate::intake::Intake;

#[derive(Subcommand)]
pub(super) enum ErasureCommand {
    /// Erase again what was erased before, after an older backup of the database was restored
    Replay(ReplayArgs),
}

#[derive(Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    intake: IntakeArgs,
}

/// Where links would lead. None is made here.
const NOWHERE: &str = "http://localhost";

pub(super) async fn run(ErasureCommand::Replay(args): ErasureCommand) -> anyhow::Result<ExitCode> {
    let Intake { store, media, .. } = args.intake.intake(args.database.store().await?)?;
    binding::check(&store, &media).await?;
    let images = Images::new(store, media, NOWHERE)?;
    images.publish_keys().await?;
    let replayed = images.replay_erasures().await?;
    let document = json!({
        "log_entries": replayed.log_entries,
        "images": replayed.images,
        "jobs": replayed.jobs,
        "registry_entries": replayed.registry_entries,
        "bodies": replayed.bodies,
        "faults": replayed.faults,
    });
    args.output.print(&document, || {
        format!(
            "{} entries of the erasure log were read. Erased again: {} images, {} jobs, {} registry entries, {} bodies \
             of dead letters. Faults: {}",
            replayed.log_entries,
            replayed.images,
            replayed.jobs,
            replayed.registry_entries,
            replayed.bodies,
            replayed.faults,
        )
    })?;
    Ok(if replayed.faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
