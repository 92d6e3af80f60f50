//! The registry: identity records in our own database, under the keyed hash of their number. Portraits are in the blob
//! store like any image. Attributes are encrypted in the row.

use bytes::Bytes;
use uuid::Uuid;

use super::{FoundIdentity, Permanent, SourceError, Transient};
use crate::domain::identity::{IdNumber, IdType, IdentityRecord};
use crate::domain::pepper::{HashPurpose, Pepper};
use crate::keys::{self, WrappedKey};
use crate::media::{self, Media};
use crate::store::registry::RegistryEntry;
use crate::store::{self, Store};

/// The registry's tables and the keys to them. Clones share both.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    media: Media,
    pepper: Pepper,
}

/// What a [`Registry::put`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Imported,
    /// The registry had the same entry.
    Unchanged,
}

/// A fault of our own machines.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Media(#[from] media::Error),
}

impl From<keys::Error> for Error {
    fn from(error: keys::Error) -> Self {
        Self::Media(error.into())
    }
}

/// Entries per step of [`Registry::delete_all`].
const BATCH: i64 = 256;

impl Registry {
    #[must_use]
    pub fn new(store: Store, media: Media, pepper: Pepper) -> Self {
        Self { store, media, pepper }
    }

    /// The entry for a number.
    ///
    /// # Errors
    /// When a machine failed, or the entry was altered.
    pub async fn find(&self, id_type: IdType, number: &IdNumber) -> Result<Option<FoundIdentity>, SourceError> {
        let hash = self.hash(id_type, number);
        let entry = self.store.find_registry_entry(id_type, &hash).await.map_err(Transient::from)?;
        let Some(entry) = entry else { return Ok(None) };
        let key = WrappedKey { master_key_id: entry.record_master_key_id, wrapped: entry.record_key };
        let plain =
            self.media.keyring().open(&place(entry.id), &key, entry.record).map_err(|error| fault(error.into()))?;
        let attributes = serde_json::from_slice(&plain).map_err(|_| Permanent::Unreadable)?;
        let key = WrappedKey { master_key_id: entry.portrait_master_key_id, wrapped: entry.portrait_key };
        let portrait = self.media.get_portrait(entry.id, &key).await.map_err(fault)?;
        Ok(Some(FoundIdentity { record: IdentityRecord { attributes }, portrait }))
    }

    /// Stores an entry. It replaces an earlier entry for the number.
    ///
    /// # Errors
    /// When a machine failed.
    pub async fn put(
        &self,
        id_type: IdType,
        number: &IdNumber,
        record: &IdentityRecord,
        portrait: &Bytes,
    ) -> Result<Put, Error> {
        let hash = self.hash(id_type, number);
        let attributes = serde_json::Value::Object(record.attributes.clone()).to_string();
        let content = self.pepper.digest(HashPurpose::RegistryEntry, &[&hash, portrait, attributes.as_bytes()]);
        if self.store.find_registry_content(id_type, &hash).await?.is_some_and(|known| known == content) {
            return Ok(Put::Unchanged);
        }
        let id = Uuid::now_v7();
        // The portrait is stored before the row. A crash in between leaves only noise without a key.
        let portrait_key = self.media.put_portrait(id, portrait).await?;
        let (sealed, record_key) = self.media.keyring().seal(&place(id), attributes.as_bytes())?;
        let entry = RegistryEntry {
            id,
            portrait_master_key_id: portrait_key.master_key_id,
            portrait_key: portrait_key.wrapped,
            record_master_key_id: record_key.master_key_id,
            record_key: record_key.wrapped,
            record: sealed,
        };
        if let Some(replaced) = self.store.upsert_registry_entry(id_type, &hash, &content, &entry).await? {
            self.media.delete_portrait(replaced).await?;
        }
        Ok(Put::Imported)
    }

    /// The number of entries for each ID type that has any, with the type's name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count(&self) -> Result<Vec<(String, i64)>, Error> {
        Ok(self.store.count_registry().await?)
    }

    /// Erases the entry for a number: first the keys, then the portrait. False when there is none.
    ///
    /// # Errors
    /// When a machine failed. A portrait that is left behind is noise, because its key is erased.
    pub async fn delete(&self, id_type: IdType, number: &IdNumber) -> Result<bool, Error> {
        let hash = self.hash(id_type, number);
        let Some(id) = self.store.delete_registry_entry(id_type, &hash).await? else { return Ok(false) };
        self.media.delete_portrait(id).await?;
        Ok(true)
    }

    /// Erases every entry of an ID type and returns their number.
    ///
    /// # Errors
    /// As [`Registry::delete`].
    pub async fn delete_all(&self, id_type: IdType) -> Result<u64, Error> {
        let mut erased = 0;
        loop {
            let ids = self.store.delete_registry_entries(id_type, BATCH).await?;
            for id in &ids {
                self.media.delete_portrait(*id).await?;
            }
            if ids.is_empty() {
                return Ok(erased);
            }
            erased += ids.len() as u64;
        }
    }

    /// The keyed hash that stands for a number in the database. All notations of a number have the same hash.
    #[must_use]
    pub fn hash(&self, id_type: IdType, number: &IdNumber) -> Vec<u8> {
        self.pepper.digest(HashPurpose::IdNumber, &[id_type.name().as_bytes(), number.canonical().as_bytes()])
    }
}

/// The place that is authenticated with a record. A record that is moved to another entry does not decrypt.
fn place(entry: Uuid) -> String {
    format!("identity-record/{entry}")
}

fn fault(error: media::Error) -> SourceError {
    match error {
        media::Error::Keys(keys::Error::Altered | keys::Error::UnknownMasterKey(_)) => Permanent::Unreadable.into(),
        // The portrait may have been replaced since the row was read: the next attempt finds the new one.
        other => Transient::Media(other).into(),
    }
}
