//! `visavis models`: the networks of the default pack, and of the optional packs whose weights are fetched separately.

mod bench;
mod download;
mod pull;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{OutputArgs, table};
use crate::config::VisionArgs;
use crate::vision::pack::manifest::Manifest;

#[derive(Subcommand)]
pub(super) enum ModelsCommand {
    /// List the networks of every pack with their licences, and which packs were pulled
    List(PackArgs),
    /// Fetch and check the files of an optional pack; an interrupted download continues where it stopped
    Pull(pull::PullArgs),
    /// Check the files of the default pack and of every pack that was pulled
    Verify(PackArgs),
    /// Measure how long one run of each network in use takes, on one thread
    Bench(bench::BenchArgs),
}

#[derive(Args)]
pub(super) struct PackArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    vision: VisionArgs,
}

pub(super) async fn run(command: ModelsCommand) -> anyhow::Result<()> {
    match command {
        ModelsCommand::List(args) => list(&args),
        ModelsCommand::Pull(args) => pull::run(&args).await,
        ModelsCommand::Verify(args) => verify(&args),
        ModelsCommand::Bench(args) => bench::run(&args),
    }
}

fn list(args: &PackArgs) -> anyhow::Result<()> {
    let registry = args.vision.registry()?;
    let mut table = table(["PACK", "STATE", "NETWORK", "TASK", "LICENCE", "FROM"]);
    let mut documents = Vec::new();
    let mut add = |pack: &Manifest, state: &str| {
        for model in &pack.models {
            let (network, origin) = (format!("{}@{}", model.name, model.version), model.origin.to_string());
            table.add_row([&pack.label(), state, &network, model.task(), &model.licence, &origin]);
            documents.push(json!({
                "pack": pack.label(),
                "state": state.replace(' ', "_"),
                "network": network,
                "task": model.task(),
                "licence": model.licence,
                "origin": origin,
            }));
        }
    };
    add(&registry.default_pack()?, "here");
    for pack in registry.optional()? {
        add(&pack, if registry.is_pulled(&pack.pack) { "pulled" } else { "not pulled" });
    }
    args.output.print(&json!({ "networks": documents }), || table.to_string())
}

fn verify(args: &PackArgs) -> anyhow::Result<()> {
    let registry = args.vision.registry()?;
    let default = registry.default_pack()?;
    default.verify_in(&args.vision.models_folder()?)?;
    let mut packs = vec![(default.label(), true)];
    for pack in registry.optional()? {
        let is_pulled = registry.is_pulled(&pack.pack);
        if is_pulled {
            pack.verify_in(&registry.place(&pack.pack))?;
        }
        packs.push((pack.label(), is_pulled));
    }
    let state = |is_here: &bool| if *is_here { "verified" } else { "not_pulled" };
    let documents: Vec<_> =
        packs.iter().map(|(pack, is_here)| json!({ "pack": pack, "state": state(is_here) })).collect();
    args.output.print(&json!({ "packs": documents }), || {
        let line = |(pack, is_here): &(String, bool)| {
            let state = if *is_here { "matches its description" } else { "was not pulled" };
            format!("{pack} {state}")
        };
        packs.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
