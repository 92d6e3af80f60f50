//! `visavis models`: the networks that there are, those of the default pack and those whose weights do not come with the
//! repository.

mod bench;
mod download;
mod pull;

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::{Table, presets};

use crate::config::VisionArgs;
use crate::vision::pack::manifest::Manifest;

#[derive(Subcommand)]
pub(super) enum ModelsCommand {
    /// List the networks of every pack with their licences, and which packs were pulled
    List(VisionArgs),
    /// Fetch a pack's files and check them; a download that broke off goes on where it was
    Pull(pull::PullArgs),
    /// Check the files of the default pack and of every pack that was pulled
    Verify(VisionArgs),
    /// Measure how long each network in use takes, on one thread
    Bench(bench::BenchArgs),
}

pub(super) async fn run(command: ModelsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ModelsCommand::List(args) => list(&args),
        ModelsCommand::Pull(args) => pull::run(&args).await,
        ModelsCommand::Verify(args) => verify(&args),
        ModelsCommand::Bench(args) => bench::run(&args),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    table
}

fn list(args: &VisionArgs) -> anyhow::Result<ExitCode> {
    let registry = args.registry();
    let mut table = table(&["PACK", "STATE", "NETWORK", "TASK", "LICENCE", "FROM"]);
    let mut add = |pack: &Manifest, state: &str| {
        for it in &pack.models {
            let network = format!("{}@{}", it.name, it.version);
            table.add_row([&pack.label(), state, &network, it.task(), &it.licence, &it.origin.to_string()]);
        }
    };
    add(&registry.default_pack()?, "here");
    for pack in registry.optional()? {
        add(&pack, if registry.is_pulled(&pack.pack) { "pulled" } else { "not pulled" });
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &VisionArgs) -> anyhow::Result<ExitCode> {
    let registry = args.registry();
    let default = registry.default_pack()?;
    default.verify_in(&args.models)?;
    println!("{} is as its description says", default.label());
    for pack in registry.optional()? {
        if registry.is_pulled(&pack.pack) {
            pack.verify_in(&registry.place(&pack.pack))?;
            println!("{} is as its description says", pack.label());
        } else {
            println!("{} was not pulled", pack.label());
        }
    }
    Ok(ExitCode::SUCCESS)
}
