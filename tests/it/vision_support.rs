//! Finds the models, the photos and the ONNX Runtime.

use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;
use visavis::vision::{Pack, Params, Pipeline, Runtime};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn models() -> PathBuf {
    root().join("models")
}

/// A copy of the models folder without the liveness test. The networks are links.
pub fn models_without_liveness() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(models()).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let manifest = folder.path().join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (before, rest) = text.split_once("[liveness]").unwrap();
    let (_, after) = rest.split_once("[[models]]").unwrap();
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&manifest, format!("{before}[[models]]{after}")).unwrap();
    folder
}

pub fn photo_path(name: &str) -> PathBuf {
    root().join("tests/photos").join(name)
}

pub fn photo(name: &str) -> Vec<u8> {
    std::fs::read(photo_path(name)).unwrap()
}

pub fn library() -> PathBuf {
    let named = std::env::var_os("VISAVIS_ONNXRUNTIME").map(PathBuf::from);
    named.unwrap_or_else(|| root().join(".local/lib/libonnxruntime.so"))
}

pub fn runtime() -> Runtime {
    Runtime::load(&library()).unwrap()
}

pub fn pack() -> Pack {
    static PACK: OnceLock<Pack> = OnceLock::new();
    PACK.get_or_init(|| Pack::load(&models()).unwrap()).clone()
}

pub fn pipeline() -> Pipeline {
    Pipeline::open(&pack(), &runtime(), Params::default()).unwrap()
}
