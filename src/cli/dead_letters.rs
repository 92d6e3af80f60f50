//! `visavis dead-letters`: submissions, jobs and messages that could not be processed.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::output::{OutputArgs, table, time};
use crate::config::{DatabaseArgs, IntakeArgs, VisionArgs};
use crate::images::binding;
use crate::intake::dead_letters::Redriven;

#[derive(Subcommand)]
pub(super) enum DeadLettersCommand {
    /// List the newest: refused submissions, failed jobs, messages that the broker gave up on
    List(DeadLetterListArgs),
    /// Submit again a message that the broker gave up on, or wake a worker for a queued job
    Redrive(Box<RedriveArgs>),
}

#[derive(Args)]
pub(super) struct DeadLetterListArgs {
    /// Most dead letters to list
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct RedriveArgs {
    /// Id of the dead letter, from `dead-letters list`
    id: Uuid,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    #[command(flatten)]
    vision: VisionArgs,
}

pub(super) async fn run(command: DeadLettersCommand) -> anyhow::Result<ExitCode> {
    match command {
        DeadLettersCommand::List(args) => list(args).await.map(|()| ExitCode::SUCCESS),
        DeadLettersCommand::Redrive(args) => redrive(*args).await,
    }
}

async fn list(args: DeadLetterListArgs) -> anyhow::Result<()> {
    let letters = args.database.store().await?.list_dead_letters(i64::from(args.limit)).await?;
    let mut table = table(["ID", "AT", "KIND", "CODE", "USER", "JOB OR MESSAGE", "DETAIL", "REDRIVEN"]);
    let mut documents = Vec::new();
    for letter in letters {
        documents.push(json!({
            "id": letter.id,
            "created_at": letter.created_at,
            "kind": letter.kind,
            "code": letter.code,
            "detail": letter.detail,
            "amqp_user": letter.amqp_user,
            "job_id": letter.job_id,
            "message_id": letter.message_id,
            "redriven_at": letter.redriven_at,
        }));
        let about = letter.job_id.map(|job| job.to_string()).or(letter.message_id).unwrap_or_else(|| "-".to_owned());
        table.add_row([
            letter.id.to_string(),
            time(letter.created_at),
            letter.kind,
            letter.code,
            letter.amqp_user.unwrap_or_else(|| "-".to_owned()),
            about,
            letter.detail,
            letter.redriven_at.map_or_else(|| "-".to_owned(), time),
        ]);
    }
    args.output.print(&json!({ "dead_letters": documents }), || table.to_string())
}

async fn redrive(args: RedriveArgs) -> anyhow::Result<ExitCode> {
    let store = args.database.store().await?;
    let letter = store.find_dead_letter(args.id).await?;
    let letter = letter.with_context(|| format!("there is no dead letter {}", args.id))?;
    let mut intake = args.intake.intake(store)?;
    intake.defaults.rates = args.vision.rates()?;
    binding::check(&intake.store, &intake.media).await?;
    let (outcome, text) = match intake.redrive(&letter).await? {
        Redriven::TakenIn => ("taken_in", "accepted, as if it had just arrived"),
        Redriven::Refused => ("refused", "refused again: `dead-letters list` shows why, first in the list"),
        Redriven::Rung => ("woken", "its job was still queued: a new message wakes a worker"),
        Redriven::NothingToDo => {
            ("nothing_to_do", "its job is running or finished: to run it again, submit it under a new idempotency key")
        }
        Redriven::NoBody => {
            ("no_body", "the body of a refused submission is not kept: its producer must correct it and send it again")
        }
    };
    let is_done = matches!(outcome, "taken_in" | "woken");
    args.output.print(&json!({ "id": args.id, "outcome": outcome, "done": is_done }), || text.to_owned())?;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
