//! Images at rest: encrypted in the blob store, each under its own key, and nowhere else.

pub mod blob;

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use uuid::Uuid;

pub use blob::{Blob, BlobStore, S3Settings};

use crate::domain::ids::{ImageId, TenantId};
use crate::keys::{self, Keyring, WrappedKey};

/// The folders of the blob store. Everything else in the store is not ours.
const FOLDERS: [&str; 4] = ["images", "renditions", "identity", "dead"];

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
        let place = image_place(tenant, image);
        self.put(&place, bytes).await
    }

    /// Reads an image back.
    ///
    /// # Errors
    /// When the blob store fails, the master key is gone, or the bytes were altered or swapped.
    pub async fn get_image(&self, tenant: TenantId, image: ImageId, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(&image_place(tenant, image), key).await
    }

    /// Deletes an image. It is no error if the image does not exist.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn delete_image(&self, tenant: TenantId, image: ImageId) -> Result<(), Error> {
        self.blobs.delete(&image_place(tenant, image)).await
    }

    /// Stores a JPEG made from an image, as [`Media::put_image`] stores the image.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn put_rendition(&self, tenant: TenantId, id: Uuid, bytes: &Bytes) -> Result<WrappedKey, Error> {
        self.put(&rendition_place(tenant, id), bytes).await
    }

    /// # Errors
    /// As [`Media::get_image`].
    pub async fn get_rendition(&self, tenant: TenantId, id: Uuid, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(&rendition_place(tenant, id), key).await
    }

    /// # Errors
    /// When the blob store fails.
    pub async fn delete_rendition(&self, tenant: TenantId, id: Uuid) -> Result<(), Error> {
        self.blobs.delete(&rendition_place(tenant, id)).await
    }

    /// All blobs last written before `moment`, in no order.
    pub fn blobs_before(&self, moment: DateTime<Utc>) -> impl Stream<Item = Result<Blob, Error>> + Send + use<> {
        self.blobs.list_before(&FOLDERS, moment)
    }

    /// Removes a blob that was listed.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn delete_blob(&self, blob: &Blob) -> Result<(), Error> {
        self.blobs.delete(&blob.place).await
    }

    /// Deletes what interrupted writes left behind before `moment`. Returns how many files.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn delete_leftovers(&self, moment: DateTime<Utc>) -> Result<u64, Error> {
        self.blobs.delete_leftovers(&FOLDERS, moment).await
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
        self.put(&portrait_place(entry), bytes).await
    }

    /// # Errors
    /// As [`Media::get_image`].
    pub async fn get_portrait(&self, entry: Uuid, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(&portrait_place(entry), key).await
    }

    /// # Errors
    /// When the blob store fails.
    pub async fn delete_portrait(&self, entry: Uuid) -> Result<(), Error> {
        self.blobs.delete(&portrait_place(entry)).await
    }

    /// Stores the body of a message that the broker gave up on.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn put_dead_letter(&self, id: Uuid, body: &Bytes) -> Result<WrappedKey, Error> {
        self.put(&format!("dead/{id}"), body).await
    }

    /// # Errors
    /// As [`Media::get_image`].
    pub async fn get_dead_letter(&self, id: Uuid, key: &WrappedKey) -> Result<Bytes, Error> {
        self.get(&format!("dead/{id}"), key).await
    }

    /// # Errors
    /// When the blob store fails.
    pub async fn delete_dead_letter(&self, id: Uuid) -> Result<(), Error> {
        self.blobs.delete(&format!("dead/{id}")).await
    }

    async fn put(&self, place: &str, bytes: &Bytes) -> Result<WrappedKey, Error> {
        let (sealed, key) = self.keyring.seal(place, bytes)?;
        self.blobs.put(place, sealed.into()).await?;
        Ok(key)
    }

    async fn get(&self, place: &str, key: &WrappedKey) -> Result<Bytes, Error> {
        let sealed = self.blobs.get(place).await?;
        Ok(self.keyring.open(place, key, sealed.into())?.into())
    }
}

/// Both the path and the authenticated data. An image that is moved to another place does not decrypt.
fn image_place(tenant: TenantId, image: ImageId) -> String {
    format!("images/{tenant}/{image}")
}

/// Portraits belong to the deployment, so the place names no organisation.
fn portrait_place(entry: Uuid) -> String {
    format!("identity/{entry}")
}

fn rendition_place(tenant: TenantId, id: Uuid) -> String {
    format!("renditions/{tenant}/{id}")
}
