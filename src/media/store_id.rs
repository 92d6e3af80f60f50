//! The id by which a blob store and its database know each other. It stands in an object beside the folders of blobs.

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Error, Media};

const PLACE: &str = "visavis-store.json";

impl Media {
    /// What messages call the blob store: its folder, or its bucket and prefix.
    #[must_use]
    pub fn store_name(&self) -> &str {
        self.blobs.name()
    }

    /// The id of the blob store. `None` if it has none yet.
    ///
    /// # Errors
    /// When the blob store fails, or the object with the id is not one of ours.
    pub async fn store_id(&self) -> Result<Option<Uuid>, Error> {
        let bytes = match self.blobs.get(PLACE).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| value["id"].as_str()?.parse().ok());
        id.map(Some).ok_or_else(|| Error::Settings(format!("{PLACE} in {} holds no id", self.store_name())))
    }

    /// Gives the blob store an id, unless it has one.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn create_store_id(&self, id: Uuid) -> Result<(), Error> {
        self.blobs.create(PLACE, content(id)).await
    }

    /// Gives the blob store another id.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn replace_store_id(&self, id: Uuid) -> Result<(), Error> {
        self.blobs.put(PLACE, content(id)).await
    }
}

fn content(id: Uuid) -> Bytes {
    let about = "Binds this store to its database: see `visavis blobs show`. Do not edit or delete.";
    Bytes::from(format!("{:#}\n", json!({ "version": 1, "id": id, "about": about })))
}
