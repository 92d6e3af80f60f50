//! `visavis webhooks`: shows deliveries while they are attempted.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use url::Url;

use super::organisation;
use super::output::StreamOutputArgs;
use crate::config::DatabaseArgs;
use crate::domain::time::time;
use crate::store::delivery_ledger::LoggedAttempt;

#[derive(Subcommand)]
pub(super) enum WebhooksCommand {
    /// Print every delivery attempt as it is made, until interrupted
    Tail(TailArgs),
}

#[derive(Args)]
pub(super) struct TailArgs {
    /// Show only the attempts of this organisation
    // `--name` is the spelling of version 0.1. It goes with the next release.
    #[arg(long, alias = "name")]
    organisation: Option<String>,
    #[command(flatten)]
    output: StreamOutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

const LOOK_EVERY: Duration = Duration::from_millis(250);
const PAGE: i64 = 500;

pub(super) async fn run(command: WebhooksCommand) -> anyhow::Result<()> {
    let WebhooksCommand::Tail(args) = command;
    let store = args.database.store().await?;
    if let Some(name) = &args.organisation {
        organisation::find(&store, name).await?;
    }
    let mut place = store.find_last_place().await?;
    eprintln!("waiting for deliveries");
    loop {
        for seen in store.list_seen_attempts(args.organisation.as_deref(), place, PAGE).await? {
            place = seen.place;
            args.output.print(&document(&seen), || line(&seen))?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn line(seen: &LoggedAttempt) -> String {
    let attempt = &seen.attempt;
    let status = attempt.status.map(|status| status.to_string());
    format!(
        "{} {}{} {} {} -> {}: {} in {} ms, {}",
        time(attempt.at),
        seen.organisation,
        if seen.sandbox { " (sandbox)" } else { "" },
        seen.kind,
        seen.event_id,
        receiver(seen),
        status.or_else(|| attempt.error.clone()).unwrap_or_default(),
        attempt.duration_ms,
        seen.state,
    )
}

fn document(seen: &LoggedAttempt) -> Value {
    let attempt = &seen.attempt;
    json!({
        "at": attempt.at,
        "organisation": seen.organisation,
        "sandbox": seen.sandbox,
        "type": seen.kind,
        "webhook_id": seen.event_id,
        "receiver": receiver(seen),
        "status": attempt.status,
        "error": attempt.error,
        "duration_ms": attempt.duration_ms,
        "state": seen.state,
    })
}

/// Scheme, host and port. The rest of a URL may hold a secret of the receiver.
fn receiver(seen: &LoggedAttempt) -> String {
    Url::parse(&seen.url).map_or_else(|_| "?".to_owned(), |url| url.origin().ascii_serialization())
}
