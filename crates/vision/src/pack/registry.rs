//! The optional packs: which exist, which were pulled, and which are used.

use std::path::{Path, PathBuf};

use super::Pack;
use super::assembly::{Assembly, PackSource};
use super::fault::PackFault;
use super::manifest::{MANIFEST, Manifest};
use crate::compare::Scorers;

/// The default pack's folder, in which `packs/NAME.toml` describe optional packs, and the folder of pulled packs.
#[derive(Debug, Clone)]
pub struct PackRegistry {
    models: PathBuf,
    pulled: PathBuf,
}

impl PackRegistry {
    /// `models` is the default pack's folder. `pulled` has one folder for each pulled pack.
    #[must_use]
    pub fn new(models: &Path, pulled: &Path) -> Self {
        Self { models: models.to_owned(), pulled: pulled.to_owned() }
    }

    /// The default pack's description.
    ///
    /// # Errors
    /// When it is missing or malformed.
    pub fn default_pack(&self) -> Result<Manifest, PackFault> {
        Manifest::read(&self.models.join(MANIFEST))
    }

    /// The descriptions of all optional packs, sorted by name.
    ///
    /// # Errors
    /// When a description is malformed.
    pub fn optional(&self) -> Result<Vec<Manifest>, PackFault> {
        let folder = self.models.join("packs");
        let mut names = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.filter_map(|entry| described(&entry.ok()?.file_name())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(PackFault::Read { path: folder, source }),
        };
        names.sort();
        names.iter().map(|name| self.read(name)).collect()
    }

    /// The description of one optional pack.
    ///
    /// # Errors
    /// When no pack has that name, or its description is malformed.
    pub fn named(&self, name: &str) -> Result<Manifest, PackFault> {
        let found = self.optional()?.into_iter().find(|manifest| manifest.pack == name);
        found.ok_or_else(|| PackFault::Unknown { name: name.to_owned() })
    }

    /// The folder of a pulled pack.
    #[must_use]
    pub fn place(&self, pack: &str) -> PathBuf {
        self.pulled.join(pack)
    }

    /// The folder in which its files are collected while it is pulled.
    #[must_use]
    pub fn staging(&self, pack: &str) -> PathBuf {
        self.pulled.join(format!(".{pack}.new"))
    }

    /// Whether an optional pack was pulled.
    #[must_use]
    pub fn is_pulled(&self, pack: &str) -> bool {
        self.place(pack).is_dir()
    }

    /// The default pack with the optional packs that `named` lists. If none of these tests liveness, pulled packs that
    /// only add to that test are used, too.
    ///
    /// # Errors
    /// When a named pack is unknown or was not pulled, two packs bring the same part, or a file has the wrong hash.
    pub fn load(&self, named: &[String]) -> Result<Pack, PackFault> {
        let mut used = self.used(named)?;
        if let Some(absent) = used.iter().find(|manifest| !self.is_pulled(&manifest.pack)) {
            let licences = absent.licences().join(" --accept-licence ");
            return Err(PackFault::NotPulled { name: absent.pack.clone(), licences });
        }
        if used.iter().all(|manifest| manifest.liveness.is_none()) {
            let optional = self.optional()?.into_iter();
            used.extend(optional.filter(|manifest| manifest.only_adds() && self.is_pulled(&manifest.pack)));
        }
        self.assembly(used)?.load()
    }

    /// The calibrations of the same packs without their networks, for callers that only need to know what a threshold
    /// means.
    ///
    /// # Errors
    /// When a named pack is unknown, or a description or calibration is malformed.
    pub fn scorers(&self, named: &[String]) -> Result<Scorers, PackFault> {
        self.assembly(self.used(named)?)?.scorers()
    }

    fn used(&self, packs: &[String]) -> Result<Vec<Manifest>, PackFault> {
        let mut distinct: Vec<_> = packs.iter().filter(|pack| !pack.is_empty()).collect();
        distinct.sort();
        distinct.dedup();
        distinct.into_iter().map(|pack| self.named(pack)).collect()
    }

    fn assembly(&self, used: Vec<Manifest>) -> Result<Assembly, PackFault> {
        let source = |manifest: Manifest| {
            let (path, weights) = (self.description(&manifest.pack), self.place(&manifest.pack));
            PackSource::new(manifest, path, weights)
        };
        Ok(Assembly::new(PackSource::default_pack(&self.models)?, used.into_iter().map(source).collect()))
    }

    fn read(&self, name: &str) -> Result<Manifest, PackFault> {
        let path = self.description(name);
        let manifest = Manifest::read(&path)?;
        if manifest.pack == name {
            Ok(manifest)
        } else {
            Err(PackFault::Inconsistent { path, what: format!("it describes {}: name the file so", manifest.pack) })
        }
    }

    fn description(&self, name: &str) -> PathBuf {
        self.models.join("packs").join(name).with_added_extension("toml")
    }
}

/// The name of the pack that a file in the folder of descriptions describes.
fn described(file: &std::ffi::OsStr) -> Option<String> {
    file.to_str()?.strip_suffix(".toml").map(str::to_owned)
}
