//! Imports the rows of a file into the registry, a few at a time. An interrupted import is run again from its start:
//! rows that are already there are recognised and skipped.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::registry::{self, Put, Registry};
use super::rows::{Content, RowFault};
use super::{MAX_ATTRIBUTES, MAX_PORTRAIT, portrait};
use crate::domain::identity::{IdNumber, IdType, IdentityRecord};

/// Checks a portrait. It is called on a thread that may compute for long.
pub type Check = fn(&[u8]) -> Result<(), RowFault>;

/// Imports the rows of one file.
pub struct Importer {
    registry: Registry,
    id_type: IdType,
    /// Folder that paths of portraits are relative to.
    folder: PathBuf,
    check: Check,
    /// Hashes of the numbers so far.
    seen: HashSet<Vec<u8>>,
}

/// A row with a valid and new number. Has no `Debug`, so that no log can show the person.
pub struct AdmittedRow {
    number: IdNumber,
    record: IdentityRecord,
    portrait: String,
}

/// Why a row was not imported.
#[derive(Debug)]
pub enum Error {
    /// The row is at fault. The import goes on with the next one.
    Row(RowFault),
    /// A machine failed. The import cannot go on.
    Machine(registry::Error),
}

impl Importer {
    #[must_use]
    pub fn new(registry: Registry, id_type: IdType, folder: PathBuf, check: Check) -> Self {
        Self { registry, id_type, folder, check, seen: HashSet::new() }
    }

    /// Checks the number and the attributes of a row. Rows come in the file's order: of two rows with the same number
    /// the second is refused.
    ///
    /// # Errors
    /// When the row is at fault.
    pub fn admit(&mut self, content: Content) -> Result<AdmittedRow, RowFault> {
        let Content { id_number, portrait, attributes } = content;
        let number = IdNumber::parse(&id_number)
            .ok_or_else(|| RowFault::new("invalid_id_number", "id_number must have 1 to 64 printable characters"))?;
        let record = IdentityRecord { attributes };
        if serde_json::to_vec(&record.attributes).map_or(0, |json| json.len()) > MAX_ATTRIBUTES {
            return Err(RowFault::new(
                "attributes_too_large",
                format!("more than {MAX_ATTRIBUTES} bytes of attributes"),
            ));
        }
        if !self.seen.insert(self.registry.hash(self.id_type, &number)) {
            return Err(RowFault::new("duplicate_number", "an earlier row of this file has the same id_number"));
        }
        Ok(AdmittedRow { number, record, portrait })
    }

    /// Checks the portrait of an admitted row and stores the row.
    ///
    /// # Errors
    /// When the portrait is at fault, or a machine failed.
    pub async fn import(&self, entry: AdmittedRow) -> Result<Put, Error> {
        let AdmittedRow { number, record, portrait } = entry;
        let (folder, check) = (self.folder.clone(), self.check);
        let read = move || {
            let portrait = read_portrait(&folder, &portrait)?;
            check(&portrait)?;
            Ok(portrait)
        };
        let stopped = |_| Err(RowFault::new("invalid_image", "the portrait could not be decoded"));
        let portrait = tokio::task::spawn_blocking(read).await.unwrap_or_else(stopped).map_err(Error::Row)?;
        self.registry.put(self.id_type, &number, &record, &portrait).await.map_err(Error::Machine)
    }
}

/// The portrait: text that is Base64 of an image, else the path of a file.
fn read_portrait(folder: &Path, text: &str) -> Result<Bytes, RowFault> {
    if let Some(bytes) = portrait::read(text) {
        return Ok(bytes);
    }
    let unreadable = || {
        let message = "portrait is neither Base64 of a JPEG, PNG or WebP file nor the path of a file that can be read";
        RowFault::new("portrait_unreadable", message)
    };
    let path = Path::new(text);
    // A file from somebody else must not make the importer read files outside of the folder.
    if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(unreadable());
    }
    let path = folder.join(path);
    let size = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file).ok_or_else(unreadable)?.len();
    if size > MAX_PORTRAIT as u64 {
        return Err(RowFault::new("image_too_large", format!("the portrait has more than {MAX_PORTRAIT} bytes")));
    }
    std::fs::read(path).map(Bytes::from).map_err(|_| unreadable())
}
