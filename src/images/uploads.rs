//! Images uploaded by themselves: requests name them until their time is over, a day at most.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::erasure::remove;
use super::{Error, Images};
use crate::domain::ids::ImageId;
use crate::domain::image::{ImageFormat, Variant};
use crate::domain::tenant::Account;
use crate::store::images::NewUpload;
use crate::vision::decode::{DecodeParams, inspect};

/// An upload as its owner sees it.
#[derive(Debug, Clone)]
pub struct Upload {
    pub id: ImageId,
    pub format: ImageFormat,
    /// Size of the file.
    pub bytes: i64,
    /// Pixels across, once upright.
    pub width: i32,
    /// Pixels down, once upright.
    pub height: i32,
    pub expires_at: DateTime<Utc>,
}

impl Images {
    /// Stores an image by itself. Its header is read; whether its pixels can be is for the job that uses it to see.
    ///
    /// # Errors
    /// When the bytes are no image that we take, or a machine fails.
    pub async fn upload(&self, account: Account, bytes: Bytes) -> Result<Upload, Error> {
        let checked = bytes.clone();
        let inspected = tokio::task::spawn_blocking(move || inspect(&checked, &DecodeParams::default()));
        let header = inspected.await.map_err(|_| Error::Busy)??;
        let id = ImageId::new();
        let key = self.media.put_image(account.tenant_id, id, &bytes).await?;
        let upload = NewUpload {
            id,
            format: header.format,
            bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            width: i32::try_from(header.width).unwrap_or(i32::MAX),
            height: i32::try_from(header.height).unwrap_or(i32::MAX),
            master_key_id: key.master_key_id,
            wrapped_key: key.wrapped,
        };
        // Should this fail, a blob without a key stays behind until the janitor finds it; unless the commit took place.
        let expires_at = self.store.insert_upload(account, &upload).await?;
        Ok(view(&upload, expires_at))
    }

    /// One of the account's uploads, and a signed URL to look at it.
    ///
    /// # Errors
    /// When a machine fails.
    pub async fn find_upload(&self, account: Account, id: ImageId) -> Result<Option<(Upload, String)>, Error> {
        let Some(found) = self.store.find_upload(account, id).await? else { return Ok(None) };
        let url = self.url(account.tenant_id, id, Variant::Whole, found.now)?;
        Ok(Some((view(&found.upload, found.expires_at), url)))
    }

    /// Erases an upload at once; false when the account has none of that id.
    ///
    /// # Errors
    /// When a machine fails; the janitor goes on with what was begun.
    pub async fn delete_upload(&self, account: Account, id: ImageId) -> Result<bool, Error> {
        let Some(condemned) = self.store.erase_upload_keys(account, id).await? else { return Ok(false) };
        remove(&self.store, &self.media, &condemned).await?;
        Ok(true)
    }
}

fn view(upload: &NewUpload, expires_at: DateTime<Utc>) -> Upload {
    Upload {
        id: upload.id,
        format: upload.format,
        bytes: upload.bytes,
        width: upload.width,
        height: upload.height,
        expires_at,
    }
}
