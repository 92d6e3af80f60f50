//! Where sealed bytes lie: a local folder.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Place;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::Error;

/// Sealed bytes by place; clones share one store.
#[derive(Clone)]
pub struct BlobStore {
    inner: Arc<dyn ObjectStore>,
}

impl BlobStore {
    /// Keeps blobs in a folder, which is made when missing and closed to other users.
    ///
    /// # Errors
    /// When the folder cannot be made or opened.
    pub fn folder(path: &Path) -> Result<Self, Error> {
        let wrong = |source| Error::Folder { path: path.display().to_string(), source };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(wrong)?;
        Ok(Self { inner: Arc::new(LocalFileSystem::new_with_prefix(path)?) })
    }

    pub(super) async fn put(&self, place: &str, bytes: Bytes) -> Result<(), Error> {
        self.inner.put(&Place::from(place), bytes.into()).await?;
        Ok(())
    }

    pub(super) async fn get(&self, place: &str) -> Result<Bytes, Error> {
        Ok(self.inner.get(&Place::from(place)).await?.bytes().await?)
    }

    pub(super) async fn delete(&self, place: &str) -> Result<(), Error> {
        match self.inner.delete(&Place::from(place)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
