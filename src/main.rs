//! The one binary; what it can do is in `cli`.

use clap::Parser;
use visavis::cli::compare::{self, CompareArgs};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Compare(CompareArgs),
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
    }
}
