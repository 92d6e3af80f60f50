//! The command line: one file a command, parsed here.

mod compare;
mod dead_letters;
mod docs;
mod eval;
mod identity;
mod listen;
mod models;
mod picture;
mod reviewer;
mod submit;
mod tenant;
mod wallet;
mod webhooks;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app::{self, Role};
use crate::config::{DatabaseArgs, LogArgs, ServeArgs};
use crate::telemetry;

/// Compares faces, as a job queue on your own machines.
#[derive(Parser)]
#[command(name = "visavis", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare two image files, without broker or database
    Compare(compare::CompareArgs),
    /// Measure error rates on labelled pictures
    Eval(Box<eval::EvalArgs>),
    /// Run one or more roles until SIGTERM
    Serve {
        /// What this process takes on
        #[arg(value_enum, required = true)]
        roles: Vec<Role>,
        #[command(flatten)]
        args: Box<ServeArgs>,
    },
    /// Publish the pairs of a CSV file over AMQP and print what became of them
    Submit(submit::SubmitArgs),
    /// Bring the database's schema to this version
    Migrate(DatabaseArgs),
    /// Optional model packs: list them, pull one, verify those that were pulled
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Make organisations and their API keys
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// People who review cases at the desk: add them, set their passwords, shut them out
    #[command(subcommand)]
    Reviewer(reviewer::ReviewerCommand),
    /// Top wallets up and look into them
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// The registry of identity records: import, count, delete
    #[command(subcommand)]
    Identity(identity::IdentityCommand),
    /// What nobody could deal with: list it, send it again
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Look on while events are delivered
    #[command(subcommand)]
    Webhooks(webhooks::WebhooksCommand),
    /// Bring events to a program on this machine as they happen, signed as webhooks are
    Listen(listen::ListenArgs),
    /// Print a document about this binary: the API's, the messages', or the settings'
    Docs {
        #[arg(value_enum)]
        document: docs::DocumentKind,
    },
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("visavis: {}", told_once(&error));
            ExitCode::FAILURE
        }
    }
}

/// The whole command line as clap knows it, with global flags in every command.
fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// The error and its causes, without those that the text before has told already.
fn told_once(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Err(error) = telemetry::start(&cli.log.log, cli.log.log_format) {
        eprintln!("visavis: VISAVIS_LOG: {error}");
        return Ok(ExitCode::from(2));
    }
    // One TLS provider for the whole process; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        match cli.command {
            Command::Compare(args) => compare::run(&args),
            Command::Eval(args) => eval::run(&args).await,
            Command::Serve { roles, args } => app::serve(*args, &roles).await.map(|()| ExitCode::SUCCESS),
            Command::Submit(args) => submit::run(args).await,
            Command::Migrate(args) => {
                args.connect().await?.migrate().await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Models(command) => models::run(command).await,
            Command::Tenant(command) => tenant::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Reviewer(command) => reviewer::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Wallet(command) => wallet::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Identity(command) => identity::run(command).await,
            Command::DeadLetters(command) => dead_letters::run(command).await,
            Command::Webhooks(command) => webhooks::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Listen(args) => listen::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Docs { document } => {
                docs::run(document, &command());
                Ok(ExitCode::SUCCESS)
            }
        }
    });
    // Whatever had to end has ended. A thread that reads from a hung file system cannot be interrupted; the process must
    // not wait for it.
    runtime.shutdown_background();
    code
}
