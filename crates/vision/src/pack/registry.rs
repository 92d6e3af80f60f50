//! Optional packs: which there are, which of them were pulled, and which are used.

use std::path::{Path, PathBuf};

use super::assembly::{Assembly, PackSource};
use super::manifest::Manifest;
use super::{MANIFEST, Pack, PackFault};
use crate::compare::Scorers;

/// The default pack's folder, where `packs/NAME.toml` describe optional ones, and the folder of those that were pulled.
#[derive(Debug, Clone)]
pub struct PackRegistry {
    models: PathBuf,
    pulled: PathBuf,
}

impl PackRegistry {
    /// `models` is the default pack's folder, `pulled` has a folder for each optional pack that is there.
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

    /// Every optional pack that is described, by name.
    ///
    /// # Errors
    /// When a description is malformed.
    pub fn optional(&self) -> Result<Vec<Manifest>, PackFault> {
        let folder = self.models.join("packs");
        let mut names = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.filter_map(|it| described(&it.ok()?.file_name())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(PackFault::Read { path: folder, source }),
        };
        names.sort();
        names.iter().map(|name| self.read(name)).collect()
    }

    /// The description of one optional pack.
    ///
    /// # Errors
    /// When there is none of that name, or it is malformed.
    pub fn named(&self, name: &str) -> Result<Manifest, PackFault> {
        let found = self.optional()?.into_iter().find(|it| it.pack == name);
        found.ok_or_else(|| PackFault::Unknown { name: name.to_owned() })
    }

    /// Where the files of an optional pack lie once it was pulled.
    #[must_use]
    pub fn place(&self, pack: &str) -> PathBuf {
        self.pulled.join(pack)
    }

    /// Where its files gather meanwhile.
    #[must_use]
    pub fn staging(&self, pack: &str) -> PathBuf {
        self.pulled.join(format!(".{pack}.new"))
    }

    /// Whether an optional pack was pulled.
    #[must_use]
    pub fn is_pulled(&self, pack: &str) -> bool {
        self.place(pack).is_dir()
    }

    /// The default pack with the optional packs that `named` lists, and with those pulled ones that only add what no named
    /// one brings.
    ///
    /// # Errors
    /// When a named pack is unknown or was not pulled, two bring the same part, or a file is not the one described.
    pub fn load(&self, named: &[String]) -> Result<Pack, PackFault> {
        let mut used = self.used(named)?;
        if let Some(absent) = used.iter().find(|it| !self.is_pulled(&it.pack)) {
            let licences = absent.licences().join(" --accept-licence ");
            return Err(PackFault::NotPulled { name: absent.pack.clone(), licences });
        }
        if used.iter().all(|it| it.liveness.is_none()) {
            used.extend(self.optional()?.into_iter().filter(|it| it.only_adds() && self.is_pulled(&it.pack)));
        }
        self.assembly(used)?.load()
    }

    /// The calibrations of the same packs, and none of their networks: for those who only ask what a threshold means.
    ///
    /// # Errors
    /// When a named pack is unknown, or a description or calibration is not as it should be.
    pub fn scorers(&self, named: &[String]) -> Result<Scorers, PackFault> {
        self.assembly(self.used(named)?)?.scorers()
    }

    fn used(&self, named: &[String]) -> Result<Vec<Manifest>, PackFault> {
        let mut asked: Vec<_> = named.iter().filter(|it| !it.is_empty()).collect();
        asked.sort();
        asked.dedup();
        asked.into_iter().map(|name| self.named(name)).collect()
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

/// The pack that a file in the folder of descriptions describes.
fn described(file: &std::ffi::OsStr) -> Option<String> {
    file.to_str()?.strip_suffix(".toml").map(str::to_owned)
}
