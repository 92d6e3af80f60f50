//! The erasure log: the places of everything that was erased. It lies in the blob store, where restoring an older
//! backup of the database does not take it away. It names ids only.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, Media};

const FOLDER: &str = "erasures";

/// An entry of the log.
#[derive(Debug, Serialize, Deserialize)]
struct LogEntry {
    version: u32,
    erased: Vec<String>,
}

impl Media {
    /// Adds places to the erasure log. They stand in it for good once this returns.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn log_erasures(&self, places: &[String]) -> Result<(), Error> {
        // The id says when: later entries sort after earlier ones.
        let place = format!("{FOLDER}/{}", Uuid::now_v7());
        let entry = LogEntry { version: 1, erased: places.to_owned() };
        let entry = serde_json::to_vec(&entry).map_err(|error| Error::Settings(error.to_string()))?;
        self.blobs.put(&place, Bytes::from(entry)).await
    }

    /// The places of each entry that was written before `moment`, in no order. An entry that cannot be read is an
    /// error, and the next ones follow.
    pub fn erasure_log(&self, moment: DateTime<Utc>) -> impl Stream<Item = Result<Vec<String>, Error>> + Send {
        self.blobs.list_before(&[FOLDER], moment).then(async |blob| {
            let place = blob?.place;
            let bytes = self.blobs.get(&place).await?;
            let entry: LogEntry = serde_json::from_slice(&bytes)
                .map_err(|_| Error::Settings(format!("{place} is not an entry of the erasure log")))?;
            Ok(entry.erased)
        })
    }

    /// Deletes entries that were written before `moment`. Returns how many.
    ///
    /// # Errors
    /// When the blob store fails. What can be deleted is deleted even so.
    pub async fn prune_erasure_log(&self, moment: DateTime<Utc>) -> Result<u64, Error> {
        self.delete_before(&[FOLDER], moment).await
    }
}
