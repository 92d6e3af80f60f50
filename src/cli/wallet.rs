//! `visavis wallet`: what an organisation has paid in and used up.

use anyhow::{Context as _, bail};
use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::config::DatabaseArgs;
use crate::domain::money::{Currency, Money};
use crate::store::wallets::{Credited, Period};

#[derive(Subcommand)]
pub(super) enum WalletCommand {
    /// Top an organisation's wallet up; the first time decides its currency
    Credit(CreditArgs),
    /// Show the balance
    Show(ShowArgs),
    /// Show the newest movements
    Statement(StatementArgs),
}

#[derive(Args)]
pub(super) struct CreditArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    /// Such as 50 or 50.00
    #[arg(long)]
    amount: String,
    /// Three letters of ISO 4217, such as EUR
    #[arg(long)]
    currency: String,
    /// What it is for, as the statement shows it
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct StatementArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    /// How many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    database: DatabaseArgs,
}

const MAX_NOTE: usize = 200;

pub(super) async fn run(command: WalletCommand) -> anyhow::Result<()> {
    let (name, database) = match &command {
        WalletCommand::Credit(args) => (&args.name, &args.database),
        WalletCommand::Show(args) => (&args.name, &args.database),
        WalletCommand::Statement(args) => (&args.name, &args.database),
    };
    let store = database.store().await?;
    let tenant = store.find_tenant(name).await?;
    let tenant = tenant.with_context(|| format!("there is no organisation named {name}"))?;
    match command {
        WalletCommand::Credit(args) => {
            let currency = Currency::parse(&args.currency).context("--currency")?;
            let amount = Money::parse(&args.amount, currency).context("--amount")?;
            if amount.minor == 0 || currency == Currency::NONE {
                bail!("--amount must be above zero, and --currency a real one");
            }
            if args.note.chars().count() > MAX_NOTE || args.note.chars().any(char::is_control) {
                bail!("--note must have at most {MAX_NOTE} characters, none of them a control character");
            }
            match store.credit_wallet(tenant, amount, &args.note).await? {
                Credited::Done(balance) => println!("{balance}"),
                Credited::OtherCurrency(other) => bail!("the wallet of {} is kept in {other}", args.name),
            }
        }
        WalletCommand::Show(_) => println!("{}", store.find_wallet(tenant).await?),
        WalletCommand::Statement(args) => {
            let currency = store.find_wallet(tenant).await?.currency;
            let movements = store.list_movements(tenant, Period::default(), None, i64::from(args.limit)).await?;
            let mut table = Table::new();
            table.load_preset(presets::NOTHING);
            table.set_header(["AT", "KIND", "AMOUNT", "BALANCE", "NOTE"]);
            for it in movements.unwrap_or_default() {
                let amount = |minor| Cell::new(Money::new(minor, currency)).set_alignment(CellAlignment::Right);
                table.add_row([
                    Cell::new(it.created_at.to_rfc3339_opts(SecondsFormat::Secs, true)),
                    Cell::new(it.kind),
                    amount(it.amount_minor),
                    amount(it.balance_after),
                    Cell::new(it.note),
                ]);
            }
            println!("{table}");
        }
    }
    Ok(())
}
