//! `visavis models`: optional packs, whose weights do not come with the repository.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use crate::config::VisionArgs;
use crate::vision::{LivenessPack, PackDescription};

#[derive(Subcommand)]
pub(super) enum ModelsCommand {
    /// List the packs that there are, and which of them were pulled
    List(VisionArgs),
    /// Put a pack's files into the folder of packs
    Pull(PullArgs),
    /// Check the files of every pack that was pulled
    Verify(VisionArgs),
}

#[derive(Args)]
pub(super) struct PullArgs {
    /// Name of the pack
    pack: String,
    /// Folder that holds the files under their own names
    #[arg(long, env = "VISAVIS_MODEL_MIRROR")]
    mirror: Option<PathBuf>,
    /// The pack's licence, by its name: that you accept it
    #[arg(long)]
    accept_licence: Option<String>,
    #[command(flatten)]
    vision: VisionArgs,
}

pub(super) fn run(command: ModelsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ModelsCommand::List(args) => list(&args),
        ModelsCommand::Pull(args) => pull(&args),
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

fn pull(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let pack = PackDescription::load(&args.vision.models, &args.pack)
        .with_context(|| format!("there is no pack named {}: see `visavis models list`", args.pack))?;
    if args.accept_licence.as_deref() != Some(&*pack.licence) {
        bail!("{} is under {}: pass --accept-licence {}", pack.pack, pack.licence, pack.licence);
    }
    let Some(mirror) = &args.mirror else {
        let files = pack.models.iter().map(|it| format!("  {}{}", pack.url, it.file)).collect::<Vec<_>>().join("\n");
        bail!("fetch these files into a folder, and pass it as --mirror:\n{files}");
    };
    let folder = args.vision.packs.join(&pack.pack);
    let staged = args.vision.packs.join(format!(".{}.new", pack.pack));
    let _ = std::fs::remove_dir_all(&staged);
    std::fs::create_dir_all(&staged).with_context(|| format!("cannot make {}", staged.display()))?;
    for model in &pack.models {
        let from = mirror.join(&model.file);
        std::fs::copy(&from, staged.join(&model.file)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    // Verified beside its place, and moved there whole: a worker that starts meanwhile finds all of it or nothing.
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
