//! JPEG files for people to look at. They are made from the encrypted original at the first read, then stored encrypted
//! beside it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{Error, Images};
use crate::domain::image::Variant;
use crate::domain::outcome::ImageFinding;
use crate::keys::{Grant, WrappedKey};
use crate::store::renditions::{NewRendition, ReadableImage, RenditionInsert, StoredKey};
use crate::vision::decode::DecodeParams;
use crate::vision::geometry::Rect;
use crate::vision::rendition::{Crop, RenditionParams, render};

/// The time limit for getting a turn, and again for making the file. 24 megapixels take about a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// A JPEG as sent.
#[derive(Clone)]
pub struct Rendition {
    /// The id of exactly these bytes.
    pub id: Uuid,
    pub bytes: Bytes,
}

impl Images {
    /// The image that a genuine URL leads to. The database's clock decides whether the URL has expired.
    ///
    /// # Errors
    /// When the URL has expired, the image is erased or unreadable, or a machine fails.
    pub async fn read(&self, grant: Grant) -> Result<Rendition, Error> {
        let readable = self.find(grant).await?;
        if let Some(rendition) = &readable.rendition {
            return self.fetch(grant, rendition).await;
        }
        // First a turn, then the original: a call that waits holds no image in memory.
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.rendering).acquire_owned());
        let turn = turn.await.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        let readable = self.find(grant).await?;
        if let Some(rendition) = &readable.rendition {
            drop(turn);
            return self.fetch(grant, rendition).await;
        }
        let (original, crop) = self.original(grant, &readable).await?;
        let bytes = make(turn, original, crop).await?;
        let id = Uuid::now_v7();
        let key = self.media.put_rendition(grant.tenant_id, id, &bytes).await?;
        let key = StoredKey { master_key_id: key.master_key_id, wrapped_key: key.wrapped };
        let rendition = NewRendition { id, image_id: grant.image_id, variant: grant.variant, key };
        let kept = self.store.insert_rendition(grant.tenant_id, &rendition).await;
        if !matches!(kept, Ok(RenditionInsert::Done)) {
            self.media.delete_rendition(grant.tenant_id, id).await?;
        }
        match kept? {
            RenditionInsert::Done => Ok(Rendition { id, bytes }),
            RenditionInsert::Exists => match self.find(grant).await?.rendition {
                Some(rendition) => self.fetch(grant, &rendition).await,
                None => Err(Error::Erased),
            },
            RenditionInsert::Gone => Err(Error::Erased),
        }
    }

    async fn find(&self, grant: Grant) -> Result<ReadableImage, Error> {
        let (now, readable) = self.store.find_readable(grant.tenant_id, grant.image_id, grant.variant).await?;
        if grant.is_over(now) {
            return Err(Error::Expired);
        }
        readable.ok_or(Error::Erased)
    }

    async fn fetch(&self, grant: Grant, (id, key): &(Uuid, StoredKey)) -> Result<Rendition, Error> {
        match self.media.get_rendition(grant.tenant_id, *id, &wrapped(key)).await {
            Ok(bytes) => Ok(Rendition { id: *id, bytes }),
            Err(error) => Err(self.erased_or(grant, error).await?),
        }
    }

    async fn original(&self, grant: Grant, readable: &ReadableImage) -> Result<(Bytes, Crop), Error> {
        let crop = match grant.variant {
            Variant::Whole => Crop::Whole,
            // Portrait URLs are issued only where a face was found. The outcome is gone if the job was erased
            // meanwhile.
            Variant::Portrait => Crop::Face(face(readable).ok_or(Error::Erased)?),
        };
        match self.media.get_image(grant.tenant_id, grant.image_id, &wrapped(&readable.key)).await {
            Ok(original) => Ok((original, crop)),
            Err(error) => Err(self.erased_or(grant, error).await?),
        }
    }

    /// A blob that cannot be read is no fault if the image was erased meanwhile.
    async fn erased_or(&self, grant: Grant, error: crate::media::Error) -> Result<Error, Error> {
        self.find(grant).await?;
        Ok(error.into())
    }
}

async fn make(turn: OwnedSemaphorePermit, original: Bytes, crop: Crop) -> Result<Bytes, Error> {
    let making = tokio::task::spawn_blocking(move || {
        // Held to the end, even if the caller no longer waits.
        let _turn = turn;
        render(&original, crop, &DecodeParams::default(), &RenditionParams::default())
    });
    let made = tokio::time::timeout(PATIENCE, making).await.map_err(|_| Error::Busy)?;
    Ok(made.map_err(|_| Error::Busy)??.into())
}

fn wrapped(key: &StoredKey) -> WrappedKey {
    WrappedKey { master_key_id: key.master_key_id.clone(), wrapped: key.wrapped_key.clone() }
}

/// The box of the compared face.
fn face(readable: &ReadableImage) -> Option<Rect> {
    let report = readable.outcome.as_ref()?.image(readable.role?, readable.position)?;
    match report.seen {
        ImageFinding::Picture { face: Some([left, top, right, bottom]), .. } => Some(Rect { left, top, right, bottom }),
        _ => None,
    }
}
