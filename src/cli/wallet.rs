//! `visavis wallet`: what an organisation has paid in and used up.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use comfy_table::{Cell, CellAlignment};
use serde_json::{Value, json};

use super::organisation::OrganisationArgs;
use super::output::{OutputArgs, table, time};
use crate::domain::money::{Currency, Money};
use crate::store::wallets::{Credited, Period};

#[derive(Subcommand)]
pub(super) enum WalletCommand {
    /// Add money to an organisation's wallet; the first payment sets the currency
    Credit(CreditArgs),
    /// Show the balance
    Show(WalletShowArgs),
    /// List the newest movements
    Statement(StatementArgs),
}

#[derive(Args)]
pub(super) struct CreditArgs {
    /// Amount in major units, such as 50 or 50.00
    #[arg(long)]
    amount: String,
    /// Currency as three letters of ISO 4217, such as EUR
    #[arg(long)]
    currency: String,
    /// Text for the statement
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
}

#[derive(Args)]
pub(super) struct WalletShowArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
}

#[derive(Args)]
pub(super) struct StatementArgs {
    /// Most movements to list
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
}

/// Most characters of a note.
const MAX_NOTE: usize = 200;

pub(super) async fn run(command: WalletCommand) -> anyhow::Result<()> {
    match command {
        WalletCommand::Credit(args) => credit(args).await,
        WalletCommand::Show(args) => {
            let (store, tenant) = args.of.find().await?;
            let balance = store.find_wallet(tenant).await?;
            args.output.print(&balance_document(balance), || balance.to_string())
        }
        WalletCommand::Statement(args) => statement(args).await,
    }
}

async fn credit(args: CreditArgs) -> anyhow::Result<()> {
    let currency = Currency::parse(&args.currency).context("--currency")?;
    let amount = Money::parse(&args.amount, currency).context("--amount")?;
    if amount.minor == 0 || currency == Currency::NONE {
        bail!("--amount must be above zero, and --currency a real one");
    }
    if args.note.chars().count() > MAX_NOTE || args.note.chars().any(char::is_control) {
        bail!("--note must have at most {MAX_NOTE} characters and no control characters");
    }
    let (store, tenant) = args.of.find().await?;
    match store.credit_wallet(tenant, amount, &args.note).await? {
        Credited::Done(balance) => args.output.print(&balance_document(balance), || balance.to_string()),
        Credited::OtherCurrency(other) => bail!("the wallet of {} is kept in {other}", args.of.organisation),
    }
}

async fn statement(args: StatementArgs) -> anyhow::Result<()> {
    let (store, tenant) = args.of.find().await?;
    let currency = store.find_wallet(tenant).await?.currency;
    let movements = store.list_movements(tenant, Period::default(), None, i64::from(args.limit)).await?;
    let mut table = table(["AT", "KIND", "AMOUNT", "BALANCE", "NOTE"]);
    let mut entries = Vec::new();
    for movement in movements.unwrap_or_default() {
        let money = |minor| Money::new(minor, currency);
        let cell = |minor| Cell::new(money(minor)).set_alignment(CellAlignment::Right);
        entries.push(json!({
            "id": movement.id,
            "created_at": movement.created_at,
            "kind": movement.kind,
            "amount": money(movement.amount_minor).amount(),
            "amount_minor": movement.amount_minor,
            "balance_after": money(movement.balance_after).amount(),
            "balance_after_minor": movement.balance_after,
            "job_id": movement.job_id,
            "note": movement.note,
        }));
        table.add_row([
            Cell::new(time(movement.created_at)),
            Cell::new(movement.kind),
            cell(movement.amount_minor),
            cell(movement.balance_after),
            Cell::new(movement.note),
        ]);
    }
    let document = json!({ "currency": currency.code(), "entries": entries });
    args.output.print(&document, || table.to_string())
}

/// The wallet with the field names of `GET /v1/billing/wallet`.
fn balance_document(balance: Money) -> Value {
    json!({
        "currency": balance.currency.code(),
        "balance": balance.amount(),
        "balance_minor": balance.minor,
    })
}
