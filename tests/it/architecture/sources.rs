//! The source files of the product, with the room that each belongs to.

use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Rust file of `src` or of a crate below `crates`.
pub struct Source {
    /// Files of `src` are named from there, files of a crate by its folder: `store/jobs.rs`.
    pub name: String,
    pub text: String,
}

impl Source {
    /// The part of the house that the file belongs to: `store` for `store/jobs.rs` and `store.rs`.
    pub fn room(&self) -> &str {
        self.name.split('/').next().unwrap().trim_end_matches(".rs")
    }
}

/// Whether the room is a crate of its own.
pub fn is_crate(room: &str) -> bool {
    root().join("crates").join(room).exists()
}

/// Every source file of the product.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut add = |prefix: &str, folder: &Path| {
        for path in files_below(folder, "rs") {
            let name = format!("{prefix}{}", path.strip_prefix(folder).unwrap().display());
            found.push(Source { name, text: std::fs::read_to_string(&path).unwrap() });
        }
    };
    add("", &root().join("src"));
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap();
        add(&format!("{}/", folder.file_name().display()), &folder.path().join("src"));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// All files below a folder whose names end so.
pub fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
