//! The command line. It is parsed here; each command has a file of its own.

mod blobs;
mod compare;
mod dead_letters;
mod docs;
mod erasure;
mod eval;
mod identity;
mod listen;
mod missing;
mod models;
mod organisation;
mod output;
mod parked;
mod picture;
mod reviewer;
mod submit;
mod tenant;
mod wallet;
mod webhooks;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::app::{self, Role};
use crate::config::{DatabaseArgs, LogArgs, ServeArgs};
use crate::telemetry;

/// Compares faces as a job queue on your own machines.
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
        /// Parts of the work that this process does
        #[arg(value_enum, required = true)]
        roles: Vec<Role>,
        #[command(flatten)]
        args: Box<ServeArgs>,
    },
    /// Publish the pairs of a CSV file over AMQP and print the results
    Submit(submit::SubmitArgs),
    /// Upgrade the database's schema to this version
    Migrate(DatabaseArgs),
    /// List, pull, verify and measure model packs
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Manage organisations, their settings and their API keys
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Manage the people who review cases at the desk
    #[command(subcommand)]
    Reviewer(reviewer::ReviewerCommand),
    /// Pay into wallets and show them
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// Import, count and delete identity records in the registry
    #[command(subcommand)]
    Identity(identity::IdentityCommand),
    /// Show whether the blob store and the database belong together, and bind them
    #[command(subcommand)]
    Blobs(Box<blobs::BlobsCommand>),
    /// Erase again what was erased before, after a restore
    #[command(subcommand)]
    Erasure(Box<erasure::ErasureCommand>),
    /// List what could not be processed, and send it again
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// List items that are set aside because they fail by themselves, and try them again
    #[command(subcommand)]
    Parked(parked::ParkedCommand),
    /// Show deliveries to webhook endpoints as they are made
    #[command(subcommand)]
    Webhooks(webhooks::WebhooksCommand),
    /// Forward events to a program on this machine as they happen, signed like webhooks
    Listen(listen::ListenArgs),
    /// Print a document about the HTTP API, the AMQP messages or the settings
    Docs {
        #[arg(value_enum)]
        document: docs::DocumentKind,
    },
}

/// Runs the command that the arguments name. `commit` is the commit that was built, for `--version`.
#[must_use]
pub fn main(commit: &str) -> ExitCode {
    // Clap wants a text that lives as long as the process, and there is one.
    let version: &str = format!("{} (commit {commit})", env!("CARGO_PKG_VERSION")).leak();
    let mut command = Cli::command().version(version);
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            command.build();
            let Some(text) = missing::explain(&error, &command, std::env::args_os()) else { error.exit() };
            eprint!("{text}");
            return ExitCode::from(2);
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("visavis: {}", with_causes(&error));
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

/// The error and its causes, without causes that the text already contains.
fn with_causes(error: &anyhow::Error) -> String {
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
    // The TLS provider of the whole process. A second call would change nothing.
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
            Command::Models(command) => models::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Tenant(command) => tenant::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Reviewer(command) => reviewer::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Wallet(command) => wallet::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Identity(command) => identity::run(command).await,
            Command::Blobs(command) => blobs::run(*command).await,
            Command::Erasure(command) => erasure::run(*command).await,
            Command::DeadLetters(command) => dead_letters::run(command).await,
            Command::Parked(command) => parked::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Webhooks(command) => webhooks::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Listen(args) => listen::run(args).await.map(|()| ExitCode::SUCCESS),
            Command::Docs { document } => {
                docs::run(document, &command());
                Ok(ExitCode::SUCCESS)
            }
        }
    });
    // All work has ended. A thread that reads from a hung file system cannot be interrupted, and the process must not
    // wait for it.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that print nothing, or only documents.
    const WITHOUT_JSON: [&str; 3] = ["serve", "migrate", "docs"];

    fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
        let children: Vec<_> = command.get_subcommands().filter(|child| child.get_name() != "help").collect();
        if children.is_empty() {
            found.push((name.trim_start().to_owned(), command.clone()));
        }
        for child in children {
            leaves(child, &format!("{name} {}", child.get_name()), found);
        }
    }

    #[test]
    fn every_command_that_prints_can_print_json() {
        let mut found = Vec::new();
        leaves(&command(), "", &mut found);
        assert!(found.len() > 25, "{}", found.len());
        for (name, command) in found {
            let has_json = command.get_arguments().any(|arg| arg.get_long() == Some("json") && !arg.is_hide_set());
            assert_eq!(has_json, !WITHOUT_JSON.contains(&name.as_str()), "visavis {name}");
        }
    }

    #[test]
    fn an_organisation_has_one_flag_and_its_old_spelling_still_works() {
        for arguments in [
            &["visavis", "tenant", "show", "--name", "acme"][..],
            &["visavis", "tenant", "revoke-key", "--organisation", "acme", "--id", "0"],
            &["visavis", "wallet", "show", "--name", "acme"],
            &["visavis", "webhooks", "tail", "--name", "acme"],
        ] {
            let arguments = [arguments, &["--database-url", "postgres://nowhere"]].concat();
            assert!(Cli::try_parse_from(&arguments).is_ok(), "{arguments:?}");
        }
        let mut found = Vec::new();
        leaves(&command(), "", &mut found);
        let named =
            found.iter().filter(|(_, command)| command.get_arguments().any(|arg| arg.get_long() == Some("name")));
        let named: Vec<_> = named.map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, ["reviewer add"], "only a person has a --name");
    }
}
