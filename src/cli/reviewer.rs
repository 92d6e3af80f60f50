//! `visavis reviewer`: who may sign in at the desk.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use uuid::Uuid;

use crate::config::DatabaseArgs;
use crate::desk::password;
use crate::domain::ids::TenantId;
use crate::domain::review::{Reviewer, ReviewerId};
use crate::domain::tenant::Account;
use crate::store::Store;

#[derive(Subcommand)]
pub(super) enum ReviewerCommand {
    /// Add a reviewer and print a password for them; they change it at the desk
    Add(AddArgs),
    /// List an organisation's reviewers
    List(ReviewerListArgs),
    /// Print a new password, which also ends a lock and every session
    Password(PasswordArgs),
    /// Shut a reviewer out at once; what they hold goes back to the queue
    Disable(LoginArgs),
    /// Let a reviewer in again
    Enable(LoginArgs),
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct AddArgs {
    /// The organisation
    #[arg(long)]
    organisation: String,
    /// What they sign in with, such as an e-mail address; one of its kind in the deployment
    #[arg(long)]
    login: String,
    /// As colleagues know them
    #[arg(long)]
    name: String,
    /// Settles disputes, gives cases to others, corrects decisions
    #[arg(long)]
    lead: bool,
    /// Reviews the cases of test keys, not those of live ones
    #[arg(long)]
    test: bool,
    /// Read the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
    /// Print nothing and succeed when the login exists
    #[arg(long)]
    if_missing: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct ReviewerListArgs {
    /// The organisation
    #[arg(long)]
    organisation: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct PasswordArgs {
    #[command(flatten)]
    of: LoginArgs,
    /// Read the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Args)]
pub(super) struct LoginArgs {
    /// What the reviewer signs in with
    #[arg(long)]
    login: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(command: ReviewerCommand) -> anyhow::Result<()> {
    match command {
        ReviewerCommand::Add(args) => add(args).await,
        ReviewerCommand::List(args) => list(args).await,
        ReviewerCommand::Password(args) => {
            let (password, made) = password(args.password_stdin)?;
            let store = args.of.database.store().await?;
            let known = store.set_password(&login(&args.of.login)?, &password::hash(&password)?, None).await?;
            told(known, &args.of.login)?;
            print_made(made.then_some(password));
            Ok(())
        }
        ReviewerCommand::Disable(args) => set_disabled(args, true).await,
        ReviewerCommand::Enable(args) => set_disabled(args, false).await,
    }
}

async fn add(args: AddArgs) -> anyhow::Result<()> {
    let store = args.database.store().await?;
    let login = login(&args.login)?;
    let name = args.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 100 {
        bail!("--name must have 1 to 100 characters");
    }
    let tenant_id = organisation(&store, &args.organisation).await?;
    if args.if_missing && store.find_reviewer(&login).await?.is_some() {
        return Ok(());
    }
    let (password, made) = password(args.password_stdin)?;
    let account = Account { tenant_id, sandbox: args.test };
    let reviewer = Reviewer { id: ReviewerId(Uuid::now_v7()), account, login, name, is_lead: args.lead };
    if !store.insert_reviewer(&reviewer, &password::hash(&password)?).await? {
        bail!("somebody signs in as {} already", reviewer.login);
    }
    print_made(made.then_some(password));
    Ok(())
}

async fn list(args: ReviewerListArgs) -> anyhow::Result<()> {
    let store = args.database.store().await?;
    let tenant_id = organisation(&store, &args.organisation).await?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["LOGIN", "NAME", "ROLE", "CASES", "STATE"]);
    for it in store.list_reviewers(tenant_id).await? {
        let state = match (it.is_disabled, it.is_locked) {
            (true, _) => "disabled",
            (false, true) => "locked",
            (false, false) => "",
        };
        let role = if it.reviewer.is_lead { "lead" } else { "reviewer" };
        let cases = if it.reviewer.account.sandbox { "test" } else { "live" };
        table.add_row([it.reviewer.login.as_str(), it.reviewer.name.as_str(), role, cases, state]);
    }
    println!("{table}");
    Ok(())
}

async fn set_disabled(args: LoginArgs, disabled: bool) -> anyhow::Result<()> {
    let store = args.database.store().await?;
    told(store.set_disabled(&login(&args.login)?, disabled).await?, &args.login)
}

fn told(known: bool, login: &str) -> anyhow::Result<()> {
    if known { Ok(()) } else { bail!("nobody signs in as {login}: `visavis reviewer list` shows who does") }
}

async fn organisation(store: &Store, name: &str) -> anyhow::Result<TenantId> {
    store.find_tenant(name).await?.with_context(|| format!("there is no organisation {name}"))
}

fn login(text: &str) -> anyhow::Result<String> {
    let login = text.trim().to_lowercase();
    if !(3..=254).contains(&login.chars().count()) || login.chars().any(|it| it.is_whitespace() || it.is_control()) {
        bail!("--login must have 3 to 254 characters, and no space");
    }
    Ok(login)
}

/// The password, and whether we made it.
fn password(from_stdin: bool) -> anyhow::Result<(String, bool)> {
    if !from_stdin {
        let random: [u8; 15] = rand::random();
        return Ok((BASE64_URL_SAFE_NO_PAD.encode(random), true));
    }
    if std::io::stdin().is_terminal() {
        bail!("--password-stdin reads a pipe: printf '%s' \"$PASSWORD\" | visavis reviewer ...");
    }
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).context("the password is not UTF-8")?;
    Ok((text.trim_end_matches(['\r', '\n']).to_owned(), false))
}

/// Alone on standard output, for a pipe; shown this once.
fn print_made(password: Option<String>) {
    if let Some(password) = password {
        println!("{password}");
    }
}
