//! Images at rest: encrypted in the blob store, each under its own key, and nowhere else.

pub mod blob;
pub mod erasure_log;
mod store_id;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _};
use uuid::Uuid;

pub use blob::{Blob, BlobStore, S3Settings};

use crate::domain::blob::BlobPlace;
use crate::domain::ids::{ImageId, TenantId};
use crate::keys::{self, Keyring, WrappedKey};

/// The folders of sealed blobs. Beside them lie `erasures`, `probes` and `visavis-store.json`. Everything else in the
/// store is not ours.
static FOLDERS: [&str; 4] = ["images", "renditions", "identity", "dead"];
/// Where probes of the store write.
const PROBES: &str = "probes";

/// The blob store, and the keys to what it holds.
#[derive(Clone)]
pub struct Media {
    blobs: BlobStore,
    keyring: Arc<Keyring>,
}

/// What went wrong with stored bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("blob store: {0}")]
    Blob(#[from] object_store::Error),
    #[error("blob store {path}: {source}")]
    Folder { path: String, source: std::io::Error },
    #[error("blob store: {0}")]
    Settings(String),
    #[error("blob store: no answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error(transparent)]
    Keys(#[from] keys::Error),
}

impl Error {
    /// Whether there is nothing at that place.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Blob(object_store::Error::NotFound { .. }))
    }
}

impl Media {
    #[must_use]
    pub fn new(blobs: BlobStore, keyring: Keyring) -> Self {
        Self { blobs, keyring: Arc::new(keyring) }
    }

    /// Encrypts an image under a new key of its own, and stores it.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn put_image(&self, tenant: TenantId, image: ImageId, bytes: &Bytes) -> Result<WrappedKey, Error> {
        self.put(BlobPlace::Image(tenant, image), bytes).await
    }

    /// Reads an image back.
    ///
    /// # Errors
    /// When the blob store fails, the master key is gone, or the bytes were altered or swapped.
    pub async fn get_image(&self, tenant: TenantId, image: ImageId, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(BlobPlace::Image(tenant, image), key).await
    }

    /// Deletes an image. It is no error if the image does not exist.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn delete_image(&self, tenant: TenantId, image: ImageId) -> Result<(), Error> {
        self.blobs.delete(&BlobPlace::Image(tenant, image).to_string()).await
    }

    /// Stores a JPEG made from an image, as [`Media::put_image`] stores the image.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn put_rendition(&self, tenant: TenantId, id: Uuid, bytes: &Bytes) -> Result<WrappedKey, Error> {
        self.put(BlobPlace::Rendition(tenant, id), bytes).await
    }

    /// # Errors
    /// As [`Media::get_image`].
    pub async fn get_rendition(&self, tenant: TenantId, id: Uuid, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(BlobPlace::Rendition(tenant, id), key).await
    }

    /// # Errors
    /// When the blob store fails.
    pub async fn delete_rendition(&self, tenant: TenantId, id: Uuid) -> Result<(), Error> {
        self.blobs.delete(&BlobPlace::Rendition(tenant, id).to_string()).await
    }

    /// All blobs last written before `moment`, in no order.
    pub fn blobs_before(&self, moment: DateTime<Utc>) -> impl Stream<Item = Result<Blob, Error>> + Send + use<> {
        self.blobs.list_before(&FOLDERS, moment)
    }

    /// As [`Media::blobs_before`], a listing for each folder.
    pub fn folders_before(
        &self,
        moment: DateTime<Utc>,
    ) -> impl Iterator<Item = impl Stream<Item = Result<Blob, Error>> + Send + use<>> {
        FOLDERS.chunks(1).map(move |folder| self.blobs.list_before(folder, moment))
    }

    /// Deletes the blob at a place, within `limit`. It is no error if there is none.
    ///
    /// # Errors
    /// When the blob store fails, or takes longer.
    pub async fn delete_place(&self, place: &str, limit: Duration) -> Result<(), Error> {
        tokio::time::timeout(limit, self.blobs.delete(place)).await.map_err(|_| Error::Slow(limit))?
    }

    /// Deletes what interrupted writes and probes left behind before `moment`. Returns how many files.
    ///
    /// # Errors
    /// When the blob store fails. What can be deleted is deleted even so.
    pub async fn delete_leftovers(&self, moment: DateTime<Utc>) -> Result<u64, Error> {
        let staged = self.blobs.delete_leftovers(&FOLDERS, moment).await;
        let probes = self.delete_before(&[PROBES], moment).await;
        Ok(staged? + probes?)
    }

    /// Deletes blobs of folders that hold nothing sealed. Returns how many.
    async fn delete_before(&self, folders: &'static [&'static str], moment: DateTime<Utc>) -> Result<u64, Error> {
        let mut listed = std::pin::pin!(self.blobs.list_before(folders, moment));
        let (mut deleted, mut first) = (0, Ok(()));
        while let Some(blob) = listed.next().await {
            match self.blobs.delete(&blob?.place).await {
                Ok(()) => deleted += 1,
                Err(error) => first = first.and(Err(error)),
            }
        }
        first.map(|()| deleted)
    }

    /// The keys that seal what is stored here.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Encrypts the portrait of a registry entry under a new key of its own, and stores it.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn put_portrait(&self, entry: Uuid, bytes: &Bytes) -> Result<WrappedKey, Error> {
        self.put(BlobPlace::Portrait(entry), bytes).await
    }

    /// # Errors
    /// As [`Media::get_image`].
    pub async fn get_portrait(&self, entry: Uuid, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(BlobPlace::Portrait(entry), key).await
    }

    /// # Errors
    /// When the blob store fails.
    pub async fn delete_portrait(&self, entry: Uuid) -> Result<(), Error> {
        self.blobs.delete(&BlobPlace::Portrait(entry).to_string()).await
    }

    /// Stores the body of a message that the broker gave up on.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn put_dead_letter(&self, id: Uuid, body: &Bytes) -> Result<WrappedKey, Error> {
        self.put(BlobPlace::DeadLetter(id), body).await
    }

    /// # Errors
    /// As [`Media::get_image`].
    pub async fn get_dead_letter(&self, id: Uuid, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(BlobPlace::DeadLetter(id), key).await
    }

    /// Whether the store can be written, read and deleted from: does each with a tiny blob, within `limit` altogether.
    ///
    /// # Errors
    /// When it cannot, or takes longer.
    pub async fn probe(&self, limit: Duration) -> Result<(), Error> {
        let (place, wrote) = (format!("{PROBES}/{}", Uuid::now_v7()), Bytes::from_static(b"visavis"));
        let probe = async {
            self.blobs.put(&place, wrote.clone()).await?;
            let read = self.blobs.get(&place).await?;
            self.blobs.delete(&place).await?;
            if read == wrote { Ok(()) } else { Err(Error::Settings("a probe was read back altered".to_owned())) }
        };
        tokio::time::timeout(limit, probe).await.map_err(|_| Error::Slow(limit))?
    }

    async fn put(&self, place: BlobPlace, bytes: &Bytes) -> Result<WrappedKey, Error> {
        let place = place.to_string();
        let (sealed, key) = self.keyring.seal(&place, bytes)?;
        self.blobs.put(&place, sealed.into()).await?;
        Ok(key)
    }

    async fn get(&self, place: BlobPlace, key: &WrappedKey) -> Result<Bytes, Error> {
        let place = place.to_string();
        let sealed = self.blobs.get(&place).await?;
        Ok(self.keyring.open(&place, key, sealed.into())?.into())
    }
}
