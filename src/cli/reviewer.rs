//! `visavis reviewer`: who may sign in at the desk.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::organisation::OrganisationArgs;
use super::output::{OutputArgs, table};
use crate::config::DatabaseArgs;
use crate::desk::password;
use crate::domain::review::{Reviewer, ReviewerId};
use crate::domain::tenant::Account;

#[derive(Subcommand)]
pub(super) enum ReviewerCommand {
    /// Add a reviewer and print a first password, which they change at the desk
    Add(ReviewerAddArgs),
    /// List an organisation's reviewers
    List(ReviewerListArgs),
    /// Set a new password and print it; this also ends a lock and every session
    Password(PasswordArgs),
    /// Shut a reviewer out at once; their cases go back to the queue
    Disable(LoginArgs),
    /// Let a reviewer in again
    Enable(LoginArgs),
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct ReviewerAddArgs {
    /// What they sign in with, such as an e-mail address; unique in the deployment
    #[arg(long)]
    login: String,
    /// Name of the person, as colleagues see it
    // The organisation has the alias `--name` elsewhere; here `--name` is the person's.
    #[arg(long)]
    name: String,
    /// Let them settle disputes, assign cases and correct decisions
    #[arg(long)]
    lead: bool,
    /// Give them the cases of test keys instead of those of live keys
    #[arg(long)]
    test: bool,
    /// Read the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
    /// Succeed without a new password when the login exists
    #[arg(long)]
    if_missing: bool,
    /// Name of the organisation
    #[arg(long)]
    organisation: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct ReviewerListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
}

#[derive(Args)]
pub(super) struct PasswordArgs {
    /// Read the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    of: LoginArgs,
}

#[derive(Args)]
pub(super) struct LoginArgs {
    /// What the reviewer signs in with
    #[arg(long)]
    login: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(command: ReviewerCommand) -> anyhow::Result<()> {
    match command {
        ReviewerCommand::Add(args) => add(args).await,
        ReviewerCommand::List(args) => list(args).await,
        ReviewerCommand::Password(args) => {
            let login = parse_login(&args.of.login)?;
            let (password, is_made) = password(args.password_stdin)?;
            let store = args.of.database.store().await?;
            let is_known = store.set_password(&login, &password::hash(&password)?, None).await?;
            refuse_unknown(is_known, &login)?;
            print_password(&login, is_made.then_some(password.as_str()), args.of.output)
        }
        ReviewerCommand::Disable(args) => set_disabled(args, true).await,
        ReviewerCommand::Enable(args) => set_disabled(args, false).await,
    }
}

async fn add(args: ReviewerAddArgs) -> anyhow::Result<()> {
    let store = args.database.store().await?;
    let login = parse_login(&args.login)?;
    let name = args.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 100 {
        bail!("--name must have 1 to 100 characters");
    }
    let tenant_id = super::organisation::find(&store, &args.organisation).await?;
    if args.if_missing && store.find_reviewer(&login, None).await?.is_some() {
        return print_password(&login, None, args.output);
    }
    let (password, is_made) = password(args.password_stdin)?;
    let account = Account { tenant_id, sandbox: args.test };
    let reviewer = Reviewer { id: ReviewerId(Uuid::now_v7()), account, login, name, is_lead: args.lead };
    if !store.insert_reviewer(&reviewer, &password::hash(&password)?).await? {
        bail!("another reviewer signs in as {}: choose another --login", reviewer.login);
    }
    print_password(&reviewer.login, is_made.then_some(password.as_str()), args.output)
}

async fn list(args: ReviewerListArgs) -> anyhow::Result<()> {
    let (store, tenant_id) = args.of.find().await?;
    let mut table = table(["LOGIN", "NAME", "ROLE", "CASES", "STATE"]);
    let mut documents = Vec::new();
    for listed in store.list_reviewers(tenant_id).await? {
        let state = match (listed.is_disabled, listed.is_locked) {
            (true, _) => "disabled",
            (false, true) => "locked",
            (false, false) => "",
        };
        let reviewer = listed.reviewer;
        let role = if reviewer.is_lead { "lead" } else { "reviewer" };
        let cases = if reviewer.account.sandbox { "test" } else { "live" };
        table.add_row([reviewer.login.as_str(), reviewer.name.as_str(), role, cases, state]);
        documents.push(json!({
            "login": reviewer.login,
            "name": reviewer.name,
            "role": role,
            "cases": cases,
            "disabled": listed.is_disabled,
            "locked": listed.is_locked,
        }));
    }
    args.output.print(&json!({ "reviewers": documents }), || table.to_string())
}

async fn set_disabled(args: LoginArgs, disabled: bool) -> anyhow::Result<()> {
    let login = parse_login(&args.login)?;
    let store = args.database.store().await?;
    refuse_unknown(store.set_disabled(&login, disabled).await?, &login)?;
    args.output.print(&json!({ "login": login, "disabled": disabled }), String::new)
}

fn refuse_unknown(is_known: bool, login: &str) -> anyhow::Result<()> {
    if is_known { Ok(()) } else { bail!("nobody signs in as {login}: `visavis reviewer list` shows all logins") }
}

fn parse_login(text: &str) -> anyhow::Result<String> {
    let login = text.trim().to_lowercase();
    let is_wrong = |c: char| c.is_whitespace() || c.is_control();
    if !(3..=254).contains(&login.chars().count()) || login.chars().any(is_wrong) {
        bail!("--login must have 3 to 254 characters and no spaces");
    }
    Ok(login)
}

/// The password, and whether this command made it.
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

/// In text the password stands alone on its line, so that a shell can take it. It is shown this once.
fn print_password(login: &str, password: Option<&str>, output: OutputArgs) -> anyhow::Result<()> {
    output.print(&json!({ "login": login, "password": password }), || password.unwrap_or_default().to_owned())
}
