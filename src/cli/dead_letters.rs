//! `visavis dead-letters`: what nobody could deal with.

use std::process::ExitCode;

use anyhow::Context as _;
use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use uuid::Uuid;

use crate::config::{DatabaseArgs, IntakeArgs, VisionArgs};
use crate::intake::dead_letters::Redriven;

#[derive(Subcommand)]
pub(super) enum DeadLettersCommand {
    /// Show the newest: refused submissions, failed jobs, messages that the broker gave up on
    List(DeadLetterListArgs),
    /// Send again what the broker gave up on
    Redrive(Box<RedriveArgs>),
}

#[derive(Args)]
pub(super) struct DeadLetterListArgs {
    /// How many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct RedriveArgs {
    /// Its id, as `list` shows it
    id: Uuid,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    #[command(flatten)]
    vision: VisionArgs,
}

pub(super) async fn run(command: DeadLettersCommand) -> anyhow::Result<ExitCode> {
    match command {
        DeadLettersCommand::List(args) => list(args).await,
        DeadLettersCommand::Redrive(args) => redrive(*args).await,
    }
}

async fn list(args: DeadLetterListArgs) -> anyhow::Result<ExitCode> {
    let letters = args.database.store().await?.list_dead_letters(i64::from(args.limit)).await?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["ID", "AT", "KIND", "CODE", "USER", "JOB OR MESSAGE", "DETAIL", "REDRIVEN"]);
    for letter in letters {
        let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let what = letter.job_id.map(|it| it.to_string()).or(letter.message_id).unwrap_or_else(|| "-".to_owned());
        table.add_row([
            letter.id.to_string(),
            time(letter.created_at),
            letter.kind,
            letter.code,
            letter.amqp_user.unwrap_or_else(|| "-".to_owned()),
            what,
            letter.detail,
            letter.redriven_at.map_or_else(|| "-".to_owned(), time),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn redrive(args: RedriveArgs) -> anyhow::Result<ExitCode> {
    let store = args.database.store().await?;
    let letter = store.find_dead_letter(args.id).await?;
    let letter = letter.with_context(|| format!("there is no dead letter {}", args.id))?;
    let mut intake = args.intake.intake(store)?;
    intake.defaults.rates = args.vision.rates()?;
    let (text, code) = match intake.redrive(&letter).await? {
        Redriven::TakenIn => ("taken in again, as if it had just come", ExitCode::SUCCESS),
        Redriven::Refused => ("refused again: the newest of `dead-letters list` says why", ExitCode::FAILURE),
        Redriven::Rung => ("its job was still queued; its doorbell rings again", ExitCode::SUCCESS),
        Redriven::NothingToDo => {
            ("its job is running or over: to run it again, submit it under a new idempotency key", ExitCode::FAILURE)
        }
        Redriven::NoBody => {
            ("a refused submission is not kept: its producer must mend it and send it again", ExitCode::FAILURE)
        }
    };
    println!("{text}");
    Ok(code)
}
