//! Erasure on request, with a receipt, and cleaning up what a crash or a lost answer left behind.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::{Error, Images};
use crate::domain::ids::JobId;
use crate::domain::tenant::Account;
use crate::domain::time::time;
use crate::media::Media;
use crate::store::Store;
use crate::store::erasure::ErasureBatch;

/// A blob is written before its row. If it has no row after this time, it never will.
const STRANDED: Duration = Duration::from_hours(24);
/// Blobs that are looked up at once.
const CHUNK: usize = 512;
/// Blobs deleted in one round.
const ROUND: u64 = 10_000;

impl Images {
    /// Erases a job: images, renditions, sealed records, result, metadata, and what notices repeat of them. A job that
    /// has not ended is cancelled. Returns the signed receipt, the same one each time. `None` if there is no such job.
    ///
    /// # Errors
    /// When a machine fails. Once the keys are gone, nothing can be read. The janitor, or the next call, deletes the
    /// rest.
    pub async fn erase_job(&self, account: Account, id: JobId) -> Result<Option<Value>, Error> {
        let mut tx = self.store.begin().await?;
        let Some(job) = tx.lock_job(account, id).await? else {
            tx.commit().await?;
            // The row of an erased job goes some day. Its receipt stays.
            return Ok(self.store.find_kept_receipt(account, id).await?);
        };
        let receipt = if let Some(receipt) = job.receipt {
            // The transaction ends before the pool is asked again: callers that wait for this row hold the other
            // connections.
            tx.commit().await?;
            receipt
        } else {
            let erased = tx.erase_keys(&job).await?;
            let mut receipt = json!({
                "job_id": job.summary.id,
                "request_id": job.summary.request_id,
                "erased_at": time(job.now),
                "images": erased.images,
                "renditions": erased.renditions,
                "records": erased.records,
            });
            receipt["signature"] = json!(self.signer.sign_detached(&receipt)?);
            tx.mark_erased(&job, &receipt).await?;
            tx.commit().await?;
            receipt
        };
        // This includes what an earlier call left: a receipt means that everything is gone.
        let batch = self.store.list_erasure_batch(account.tenant_id, id).await?;
        remove(&self.store, &self.media, &batch).await?;
        Ok(Some(receipt))
    }
}

/// Deletes the blobs, and then the rows, of what has no key any more. Returns how many images.
///
/// # Errors
/// When the database or the blob store fails. The next call continues.
pub async fn remove(store: &Store, media: &Media, batch: &ErasureBatch) -> Result<u64, Error> {
    for (tenant, rendition) in &batch.renditions {
        media.delete_rendition(*tenant, *rendition).await?;
    }
    for (tenant, image) in &batch.images {
        media.delete_image(*tenant, *image).await?;
    }
    if batch.images.is_empty() && batch.renditions.is_empty() {
        return Ok(0);
    }
    Ok(store.delete_erased(batch).await?)
}

/// Deletes blobs that belong to no row, a day after they were written. Returns how many. Nobody could ever read them:
/// their keys were never committed.
///
/// # Errors
/// When the database or the blob store fails. The next call continues.
pub async fn remove_stranded(store: &Store, media: &Media) -> Result<u64, Error> {
    let moment = store.ago(STRANDED).await?;
    let mut removed = media.delete_leftovers(moment).await?;
    let mut chunks = std::pin::pin!(media.blobs_before(moment).try_chunks(CHUNK));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| error.1)?;
        let ids: Vec<_> = chunk.iter().map(|blob| blob.id).collect();
        let orphans = store.list_orphans(&ids).await?;
        for blob in chunk.iter().filter(|blob| orphans.contains(&blob.id)) {
            media.delete_blob(blob).await?;
            removed += 1;
        }
        if removed >= ROUND {
            break;
        }
    }
    Ok(removed)
}
