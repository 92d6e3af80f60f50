//! `visavis models pull NAME`: an optional pack's files, from their addresses or from a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::download;
use crate::config::{OutgoingArgs, VisionArgs};
use crate::net::Client;
use crate::vision::pack::manifest::{Manifest, ModelOrigin};

#[derive(Args)]
pub(in crate::cli) struct PullArgs {
    /// Name of the pack
    pack: String,
    /// Take the files from this folder, where they lie under their own names, instead of from their addresses
    #[arg(long, env = "VISAVIS_MODEL_MIRROR")]
    mirror: Option<PathBuf>,
    /// A licence of the pack, by its name: that you accept it
    #[arg(long, value_name = "LICENCE")]
    accept_licence: Vec<String>,
    #[command(flatten)]
    vision: VisionArgs,
    #[command(flatten)]
    outgoing: OutgoingArgs,
}

pub(super) async fn run(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let registry = args.vision.registry();
    let pack = registry.named(&args.pack)?;
    let open = pack.licences().into_iter().filter(|it| !args.accept_licence.iter().any(|accepted| accepted == it));
    let open: Vec<_> = open.map(|it| format!("--accept-licence {it}")).collect();
    if !open.is_empty() {
        bail!("{} is under {}: pass {}", pack.pack, pack.licences().join(" and "), open.join(" "));
    }
    // Verified beside its place, and moved there whole: a worker that starts meanwhile finds all of it or nothing.
    let (folder, staged) = (registry.place(&pack.pack), registry.staging(&pack.pack));
    std::fs::create_dir_all(&staged).with_context(|| format!("cannot make {}", staged.display()))?;
    match &args.mirror {
        Some(mirror) => copy(&pack, mirror, &staged)?,
        None => fetch(&pack, &Client::new(args.outgoing.guard())?, &staged).await?,
    }
    if let Err(fault) = pack.verify_in(&staged) {
        let _ = std::fs::remove_dir_all(&staged);
        return Err(fault.into());
    }
    let former = folder.with_added_extension("former");
    let _ = std::fs::remove_dir_all(&former);
    if folder.exists() {
        std::fs::rename(&folder, &former).with_context(|| format!("cannot move {}", folder.display()))?;
    }
    std::fs::rename(&staged, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _ = std::fs::remove_dir_all(&former);
    println!("{} is in {}", pack.label(), folder.display());
    if pack.only_adds() {
        println!("workers that start from now on use it");
    } else {
        println!("it replaces parts of the default pack where VISAVIS_USE_PACKS or --use-packs names it");
    }
    Ok(ExitCode::SUCCESS)
}

fn copy(pack: &Manifest, mirror: &Path, staged: &Path) -> anyhow::Result<()> {
    for model in &pack.models {
        let from = mirror.join(&model.file);
        std::fs::copy(&from, staged.join(&model.file)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

async fn fetch(pack: &Manifest, client: &Client, staged: &Path) -> anyhow::Result<()> {
    for model in &pack.models {
        if model.read_in(staged).is_ok() {
            continue;
        }
        let ModelOrigin::Address { url, .. } = &model.origin else {
            bail!("{} has no address of its own: convert it, and pass --mirror with its folder", model.file);
        };
        download::fetch(client, url, &staged.join(&model.file))
            .await
            .context("what has come so far is kept; or fetch the files yourself and pass --mirror")?;
    }
    Ok(())
}
