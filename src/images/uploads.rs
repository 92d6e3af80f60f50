//! Images and videos that are uploaded on their own. Requests can name them until they expire, after a day at most.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::erasure::remove;
use super::{Error, Images};
use crate::domain::ids::ImageId;
use crate::domain::image::{FileFormat, Variant, VideoFormat};
use crate::domain::tenant::Account;
use crate::store::images::NewUpload;
use crate::vision::decode::{DecodeParams, inspect};

/// An upload as its owner sees it.
#[derive(Debug, Clone)]
pub struct UploadView {
    pub id: ImageId,
    pub format: FileFormat,
    /// Size of the file.
    pub bytes: i64,
    /// Pixels across and down, once upright. `None` for a video.
    pub size: Option<(i32, i32)>,
    pub expires_at: DateTime<Utc>,
}

impl Images {
    /// Stores an image or a video on its own. Only the header of an image is read. Whether its pixels, or a video, can
    /// be read is left to the job that uses it.
    ///
    /// # Errors
    /// When the bytes are neither an image nor a video of a format that we accept, or a machine fails.
    pub async fn upload(&self, account: Account, bytes: Bytes) -> Result<UploadView, Error> {
        let (format, size) = match VideoFormat::sniff(&bytes) {
            Some(format) => (FileFormat::Video(format), None),
            None => inspected(bytes.clone()).await?,
        };
        let id = ImageId::new();
        let key = self.media.put_image(account.tenant_id, id, &bytes).await?;
        let upload = NewUpload {
            id,
            format,
            bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            size,
            master_key_id: key.master_key_id,
            wrapped_key: key.wrapped,
        };
        // If this fails without a commit, a blob without a key stays behind until the janitor finds it.
        let expires_at = self.store.insert_upload(account, &upload).await?;
        Ok(view(&upload, expires_at))
    }

    /// One of the account's uploads. If it is an image, with a signed URL to look at it.
    ///
    /// # Errors
    /// When a machine fails.
    pub async fn find_upload(
        &self,
        account: Account,
        id: ImageId,
    ) -> Result<Option<(UploadView, Option<String>)>, Error> {
        let Some(found) = self.store.find_upload(account, id).await? else { return Ok(None) };
        let url = match found.upload.format {
            FileFormat::Image(_) => Some(self.url(account.tenant_id, id, Variant::Whole, found.now)?),
            FileFormat::Video(_) => None,
        };
        Ok(Some((view(&found.upload, found.expires_at), url)))
    }

    /// Erases an upload at once. Returns false if the account has none of that id.
    ///
    /// # Errors
    /// When a machine fails. The janitor finishes what was begun.
    pub async fn delete_upload(&self, account: Account, id: ImageId) -> Result<bool, Error> {
        let Some(places) = self.store.erase_upload(account, id).await? else { return Ok(false) };
        remove(&self.store, &self.media, &places).await?;
        Ok(true)
    }
}

/// What an image's header says.
async fn inspected(bytes: Bytes) -> Result<(FileFormat, Option<(i32, i32)>), Error> {
    let read = tokio::task::spawn_blocking(move || inspect(&bytes, &DecodeParams::default()));
    let header = read.await.map_err(|_| Error::Busy)??;
    let pixels = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    Ok((FileFormat::Image(header.format), Some((pixels(header.width), pixels(header.height)))))
}

fn view(upload: &NewUpload, expires_at: DateTime<Utc>) -> UploadView {
    UploadView { id: upload.id, format: upload.format, bytes: upload.bytes, size: upload.size, expires_at }
}
