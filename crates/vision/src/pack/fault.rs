//! Why a model pack was refused.

use std::path::PathBuf;

use visavis_domain::calibration::CalibrationFault;

/// Why a pack was refused.
#[derive(Debug, thiserror::Error)]
pub enum PackFault {
    /// A file is missing or cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A file is not TOML of the expected form.
    #[error("{} does not have the form of a manifest or calibration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A file is not the one that the manifest names.
    #[error(
        "{} is not the file that the manifest names: its sha256 is {found}, expected is {expected}",
        path.display()
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// The hash in the manifest.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// A calibration is not monotone.
    #[error("{} is not a usable calibration", path.display())]
    Calibration {
        /// The file.
        path: PathBuf,
        /// Why it is not usable.
        source: CalibrationFault,
    },
    /// Parts of the manifest do not fit each other or the code.
    #[error("{}: {what}", path.display())]
    Inconsistent {
        /// The manifest.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// No description has this name.
    #[error("there is no pack named {name}: see `visavis models list`")]
    Unknown {
        /// The requested name.
        name: String,
    },
    /// A requested pack was not downloaded.
    #[error("the pack {name} was not pulled: run `visavis models pull {name} --accept-licence {licences}`")]
    NotPulled {
        /// Name of the pack.
        name: String,
        /// The licences of its networks.
        licences: String,
    },
    /// Two packs bring the same part.
    #[error("the packs {first} and {second} both bring {part}: name one of them in --use-packs, not both")]
    Twice {
        /// The part.
        part: &'static str,
        /// A pack that has it.
        first: String,
        /// Another pack that has it.
        second: String,
    },
}
