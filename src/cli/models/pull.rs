//! `visavis models pull NAME`: fetches the files of an optional pack from their addresses or from a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::download;
use crate::cli::output::OutputArgs;
use crate::config::{OutgoingArgs, VisionArgs};
use crate::net::Client;
use crate::vision::pack::manifest::{Manifest, ModelOrigin};

#[derive(Args)]
pub(in crate::cli) struct PullArgs {
    /// Name of the pack
    pack: String,
    /// Folder that has the files under their own names; they are copied from there instead of downloaded
    #[arg(long, env = "VISAVIS_MODEL_MIRROR")]
    mirror: Option<PathBuf>,
    /// Licence of the pack that you accept, by its name
    #[arg(long, value_name = "LICENCE")]
    accept_licence: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    vision: VisionArgs,
    #[command(flatten)]
    outgoing: OutgoingArgs,
}

pub(super) async fn run(args: &PullArgs) -> anyhow::Result<()> {
    let registry = args.vision.registry()?;
    let pack = registry.named(&args.pack)?;
    let is_open = |licence: &&str| !args.accept_licence.iter().any(|accepted| accepted == licence);
    let open: Vec<_> =
        pack.licences().into_iter().filter(is_open).map(|name| format!("--accept-licence {name}")).collect();
    if !open.is_empty() {
        bail!("{} is under {}: pass {}", pack.pack, pack.licences().join(" and "), open.join(" "));
    }
    // The files are verified in a folder beside the pack's, which then takes its name: a worker that starts meanwhile
    // finds the whole pack or none of it.
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
    let is_automatic = pack.only_adds();
    let document = json!({ "pack": pack.label(), "folder": folder, "used_without_being_named": is_automatic });
    args.output.print(&document, || {
        let use_of_it = if is_automatic {
            "workers that start from now on use it"
        } else {
            "name it in VISAVIS_USE_PACKS or --use-packs to let it replace parts of the default pack"
        };
        format!("{} is in {}\n{use_of_it}", pack.label(), folder.display())
    })
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
            bail!("{} cannot be downloaded: convert it, and pass its folder as --mirror", model.file);
        };
        download::fetch(client, url, &staged.join(&model.file)).await.context(
            "run the command again to continue, or fetch the files yourself and pass their folder as --mirror",
        )?;
    }
    Ok(())
}
