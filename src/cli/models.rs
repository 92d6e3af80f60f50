//! `visavis models`: optional packs, whose weights do not come with the repository.

mod download;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use crate::config::{OutgoingArgs, VisionArgs};
use crate::net::Client;
use crate::vision::{LivenessPack, PackDescription};

#[derive(Subcommand)]
pub(super) enum ModelsCommand {
    /// List the packs that there are, and which of them were pulled
    List(VisionArgs),
    /// Fetch a pack's files and check them; a download that broke off goes on where it was
    Pull(PullArgs),
    /// Check the files of every pack that was pulled
    Verify(VisionArgs),
}

#[derive(Args)]
pub(super) struct PullArgs {
    /// Name of the pack
    pack: String,
    /// Take the files from this folder, where they lie under their own names, instead of from the pack's address
    #[arg(long, env = "VISAVIS_MODEL_MIRROR")]
    mirror: Option<PathBuf>,
    /// The pack's licence, by its name: that you accept it
    #[arg(long)]
    accept_licence: Option<String>,
    #[command(flatten)]
    vision: VisionArgs,
    #[command(flatten)]
    outgoing: OutgoingArgs,
}

pub(super) async fn run(command: ModelsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ModelsCommand::List(args) => list(&args),
        ModelsCommand::Pull(args) => pull(&args).await,
        ModelsCommand::Verify(args) => verify(&args),
    }
}

fn descriptions(models: &Path) -> anyhow::Result<Vec<PackDescription>> {
    let folder = models.join("packs");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_suffix(".toml").map(str::to_owned))
        .collect();
    names.sort();
    names.iter().map(|name| Ok(PackDescription::load(models, name)?)).collect()
}

fn list(args: &VisionArgs) -> anyhow::Result<ExitCode> {
    for it in descriptions(&args.models)? {
        let pulled = if args.packs.join(&it.pack).is_dir() { "pulled" } else { "not pulled" };
        println!("{}@{}  {}  {}  {pulled}\n  {}", it.pack, it.version, it.task, it.licence, it.origin);
    }
    Ok(ExitCode::SUCCESS)
}

async fn pull(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let pack = PackDescription::load(&args.vision.models, &args.pack)
        .with_context(|| format!("there is no pack named {}: see `visavis models list`", args.pack))?;
    if args.accept_licence.as_deref() != Some(&*pack.licence) {
        bail!("{} is under {}: pass --accept-licence {}", pack.pack, pack.licence, pack.licence);
    }
    // Verified beside its place, and moved there whole: a worker that starts meanwhile finds all of it or nothing.
    let folder = args.vision.packs.join(&pack.pack);
    let staged = args.vision.packs.join(format!(".{}.new", pack.pack));
    std::fs::create_dir_all(&staged).with_context(|| format!("cannot make {}", staged.display()))?;
    if let Some(mirror) = &args.mirror {
        for model in &pack.models {
            let from = mirror.join(&model.file);
            std::fs::copy(&from, staged.join(&model.file))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    } else {
        let client = Client::new(args.outgoing.guard())?;
        for model in &pack.models {
            if pack.verify_file(&staged, model).is_ok() {
                continue;
            }
            let url = format!("{}{}", pack.url, model.file);
            download::fetch(&client, &url, &staged.join(&model.file))
                .await
                .context("what has come so far is kept; or fetch the files yourself and pass --mirror")?;
        }
    }
    if let Err(fault) = pack.verify_in(&staged) {
        let _ = std::fs::remove_dir_all(&staged);
        return Err(fault.into());
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&staged, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    println!("{}@{} is in {}; restart the workers to use it", pack.pack, pack.version, folder.display());
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &VisionArgs) -> anyhow::Result<ExitCode> {
    for it in descriptions(&args.models)? {
        match LivenessPack::load(&it, &args.packs)? {
            Some(_) => println!("{}@{} is as its description says", it.pack, it.version),
            None => println!("{}@{} was not pulled", it.pack, it.version),
        }
    }
    Ok(ExitCode::SUCCESS)
}
