//! `visavis webhooks`: looks on while deliveries are attempted.

use std::time::Duration;

use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use url::Url;

use crate::config::DatabaseArgs;
use crate::store::delivery_ledger::LoggedAttempt;

#[derive(Subcommand)]
pub(super) enum WebhooksCommand {
    /// Print every attempt of a delivery as it is made, until interrupted
    Tail(TailArgs),
}

#[derive(Args)]
pub(super) struct TailArgs {
    /// One organisation's only
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

const LOOK_EVERY: Duration = Duration::from_millis(250);
const PAGE: i64 = 500;

pub(super) async fn run(command: WebhooksCommand) -> anyhow::Result<()> {
    let WebhooksCommand::Tail(args) = command;
    let store = args.database.store().await?;
    let mut place = store.find_last_place().await?;
    eprintln!("waiting for deliveries");
    loop {
        for seen in store.list_seen_attempts(args.name.as_deref(), place, PAGE).await? {
            place = seen.place;
            println!("{}", line(&seen));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Of the URL the host alone: the rest may hold a secret of the receiver's.
fn line(seen: &LoggedAttempt) -> String {
    let attempt = &seen.attempt;
    let outcome = attempt.status.map_or_else(|| attempt.error.clone().unwrap_or_default(), |it| it.to_string());
    let host = Url::parse(&seen.url).map_or_else(|_| "?".to_owned(), |it| it.origin().ascii_serialization());
    format!(
        "{} {}{} {} {} -> {host}: {outcome} in {} ms, {}",
        attempt.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        seen.organisation,
        if seen.sandbox { " (sandbox)" } else { "" },
        seen.kind,
        seen.event_id,
        attempt.duration_ms,
        seen.state,
    )
}
