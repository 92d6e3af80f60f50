//! `visavis parked`: items that a loop set aside because they fail by themselves.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{OutputArgs, table, time};
use crate::config::DatabaseArgs;
use crate::store::parked::ParkedPlace;

#[derive(Subcommand)]
pub(super) enum ParkedCommand {
    /// List them: which loop, which item, why, how often, and when the loop takes it again
    List(ParkedListArgs),
    /// Let the loop take an item again in its next round
    Retry(ParkedItemArgs),
    /// Remove an entry, for example of an item that is gone; one that still fails is parked again
    Forget(ParkedItemArgs),
}

#[derive(Args)]
pub(super) struct ParkedListArgs {
    /// Most items to list
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct ParkedItemArgs {
    /// The loop, from `parked list`
    #[arg(value_name = "LOOP")]
    work_loop: String,
    /// The item, from `parked list`
    item: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Items that one query reads.
const PAGE: u32 = 500;

pub(super) async fn run(command: ParkedCommand) -> anyhow::Result<()> {
    match command {
        ParkedCommand::List(args) => list(args).await,
        ParkedCommand::Retry(args) => {
            let done = args.database.store().await?.retry_parked(&args.work_loop, &args.item).await?;
            report(&args, done, "retried", "its loop takes it again in its next round")
        }
        ParkedCommand::Forget(args) => {
            let done = args.database.store().await?.forget_parked(&args.work_loop, &args.item).await?;
            report(&args, done, "forgotten", "the entry is removed")
        }
    }
}

fn report(args: &ParkedItemArgs, done: bool, outcome: &str, text: &str) -> anyhow::Result<()> {
    if !done {
        bail!("the loop {} has no parked item {}", args.work_loop, args.item);
    }
    let document = json!({ "loop": args.work_loop, "item": args.item, "outcome": outcome });
    args.output.print(&document, || text.to_owned())
}

async fn list(args: ParkedListArgs) -> anyhow::Result<()> {
    let store = args.database.store().await?;
    let mut table = table(["LOOP", "ITEM", "ORGANISATION", "REASON", "TIMES", "FIRST", "LAST", "AGAIN AT"]);
    let (mut documents, mut after, mut left) = (Vec::new(), None, args.limit);
    while left > 0 {
        let limit = left.min(PAGE);
        let page = store.list_parked(after.as_ref(), i64::from(limit)).await?;
        let Some(last) = page.last() else { break };
        after = Some(ParkedPlace { last_at: last.last_at, work_loop: last.work_loop.clone(), item: last.item.clone() });
        left -= limit;
        for parked in page {
            documents.push(json!({
                "loop": parked.work_loop,
                "item": parked.item,
                "organisation": parked.organisation,
                "reason": parked.reason,
                "count": parked.count,
                "first_at": parked.first_at,
                "last_at": parked.last_at,
                "retry_at": parked.retry_at,
            }));
            table.add_row([
                parked.work_loop,
                parked.item,
                parked.organisation.unwrap_or_else(|| "-".to_owned()),
                parked.reason,
                parked.count.to_string(),
                time(parked.first_at),
                time(parked.last_at),
                time(parked.retry_at),
            ]);
        }
    }
    args.output.print(&json!({ "parked": documents }), || table.to_string())
}
