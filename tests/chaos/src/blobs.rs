//! The blob store's folder, as files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use uuid::Uuid;

/// Folders that hold blobs, one file each, named by their ids.
const FOLDERS: [&str; 4] = ["images", "renditions", "identity", "dead"];

/// The ids of all blobs in the store.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(store: &Path) -> Result<BTreeSet<Uuid>> {
    let files = files(store)?;
    Ok(files.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
}

fn files(store: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(|name| store.join(name)).filter(|folder| folder.exists()).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}
