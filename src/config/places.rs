//! Where models and ONNX Runtime lie when no setting names them, so that the binary works from any folder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A file whose presence says that a folder holds the default pack.
const MANIFEST: &str = "manifest.toml";
const RUNTIME: &str = "libonnxruntime.so";
/// Folders above the binary in which a checkout is looked for: `target/x86_64-unknown-linux-gnu/release` needs four.
const LEVELS: usize = 5;

/// Where this process looks.
pub(super) struct Places {
    /// The folder of the running binary.
    beside: Option<PathBuf>,
    /// The checkout in which the binary was built, if it still lies in one.
    checkout: Option<PathBuf>,
}

impl Places {
    /// The places of the running binary.
    pub(super) fn of_this_process() -> Self {
        Self::of(std::env::current_exe().ok().as_deref())
    }

    fn of(binary: Option<&Path>) -> Self {
        // Below `target` only: in a folder such as /tmp anybody could lay a checkout above the binary.
        let is_checkout = |folder: &&Path| {
            folder.join("Cargo.toml").is_file()
                && folder.join("models").join(MANIFEST).is_file()
                && binary.is_some_and(|path| path.starts_with(folder.join("target")))
        };
        Self {
            beside: binary.and_then(Path::parent).map(Path::to_owned),
            checkout: binary.and_then(|path| path.ancestors().take(LEVELS).find(is_checkout)).map(Path::to_owned),
        }
    }

    /// The folder of the default model pack.
    ///
    /// # Errors
    /// When no place has it. The message lists the places and the setting.
    pub(super) fn models(&self) -> anyhow::Result<PathBuf> {
        let folders = self.folders("models", "models", &["/usr/share/visavis/models"]);
        let manifest =
            first_file("the default model pack", MANIFEST, folders, "VISAVIS_MODELS or --models to its folder")?;
        Ok(manifest.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// The shared library of ONNX Runtime.
    ///
    /// # Errors
    /// When no place has it. The message lists the places and the setting.
    pub(super) fn runtime(&self) -> anyhow::Result<PathBuf> {
        let system = ["/usr/lib/visavis", "/usr/share/visavis", "/usr/local/lib", "/usr/lib"];
        let folders = self.folders("", ".local/lib", &system);
        let advice = "VISAVIS_ONNXRUNTIME or --onnxruntime to the library; in a checkout, `./dev setup` fetches it";
        first_file("ONNX Runtime", RUNTIME, folders, advice)
    }

    /// The folder of optional packs that were pulled: below the current folder if it is there, else in the checkout
    /// that has `models`. The hashes of packs stand in their descriptions, so this folder decides only where they lie.
    pub(super) fn packs(models: &Path) -> PathBuf {
        let current = PathBuf::from(".local/packs");
        let checkout = models.parent().map(|parent| parent.join(".local")).filter(|folder| folder.is_dir());
        match checkout {
            Some(checkout) if !current.is_dir() => checkout.join("packs"),
            _ => current,
        }
    }

    /// Beside the binary first, then the checkout, then where packages install. Never the current folder: anybody who
    /// can write there could choose the library that runs, or the models that judge.
    fn folders(&self, beside: &str, below: &str, system: &[&str]) -> Vec<PathBuf> {
        let own = self.beside.iter().map(|folder| if beside.is_empty() { folder.clone() } else { folder.join(beside) });
        let checkout = self.checkout.iter().map(|folder| folder.join(below));
        own.chain(checkout).chain(system.iter().map(PathBuf::from)).collect()
    }
}

fn first_file(what: &str, name: &str, folders: Vec<PathBuf>, setting: &str) -> anyhow::Result<PathBuf> {
    let mut candidates: Vec<PathBuf> = folders.into_iter().map(|folder| folder.join(name)).collect();
    candidates.dedup();
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.with_context(|| {
        let tried = candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        format!("{what} was not found at {tried}: set {setting}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn what_lies_beside_the_binary_comes_before_its_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let binary = root.join("target/debug/visavis");
        touch(&root.join("Cargo.toml"));
        touch(&root.join("models/manifest.toml"));
        touch(&root.join(".local/lib/libonnxruntime.so"));
        let places = Places::of(Some(&binary));
        assert_eq!(places.models().unwrap(), root.join("models"));
        assert_eq!(places.runtime().unwrap(), root.join(".local/lib/libonnxruntime.so"));
        assert_eq!(Places::packs(&root.join("models")), root.join(".local/packs"));
        touch(&root.join("target/debug/models/manifest.toml"));
        touch(&root.join("target/debug/libonnxruntime.so"));
        assert_eq!(places.models().unwrap(), root.join("target/debug/models"));
        assert_eq!(places.runtime().unwrap(), root.join("target/debug/libonnxruntime.so"));
    }

    #[test]
    fn what_is_missing_is_said_with_the_places_and_the_setting() {
        let folders = vec![PathBuf::from("/nowhere/a"), PathBuf::from("/nowhere/b")];
        let error = first_file("the pack", MANIFEST, folders, "VISAVIS_MODELS").unwrap_err().to_string();
        let tried = "/nowhere/a/manifest.toml, /nowhere/b/manifest.toml";
        assert_eq!(error, format!("the pack was not found at {tried}: set VISAVIS_MODELS"));
    }

    #[test]
    fn installed_packages_are_looked_for_last_and_the_current_folder_never() {
        let folders = Places::of(Some(Path::new("/opt/visavis/visavis"))).folders("", ".local/lib", &["/usr/lib"]);
        assert_eq!(folders, ["/opt/visavis", "/usr/lib"].map(PathBuf::from));
    }
}
