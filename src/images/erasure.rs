//! Erasure on request, with a receipt, and the deletion of the blobs of everything that was erased.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tracing::warn;

use super::{Error, Images};
use crate::domain::ids::JobId;
use crate::domain::tenant::Account;
use crate::domain::time::time;
use crate::media::{self, Media};
use crate::store::Store;
use crate::store::parked::WorkLoop;

/// Blobs that are taken from the list together.
const BATCH: i64 = 256;
/// Blobs that are deleted at once.
const AT_ONCE: usize = 8;
/// The time limit for deleting one blob, with the retries of a bucket.
const PATIENCE: Duration = Duration::from_secs(25);
/// A blob that was tried so often is stuck: somebody must look. By then it is half an hour old.
pub const STUCK: i32 = 5;

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
        remove(&self.store, &self.media, &self.store.list_erasures(id).await?).await?;
        Ok(Some(receipt))
    }
}

/// Deletes the blobs of everything that was erased and is due. Each blob that cannot be deleted has a back-off of its
/// own, and keeps no other.
///
/// # Errors
/// When the database or the blob store fails altogether. The next call continues.
pub async fn delete_due_blobs(store: &Store, media: &Media) -> Result<(), Error> {
    loop {
        let due = store.claim_erasures(BATCH).await?;
        let places: Vec<_> = due.iter().map(|erasure| erasure.place.clone()).collect();
        let failed = finish(store, media, &places).await?;
        // If nothing could be deleted, it may be the store. Then what is left waits for the next round.
        if !failed.is_empty() && failed.len() == due.len() {
            media.probe(PATIENCE).await?;
        }
        for (place, error) in failed {
            let attempt = due.iter().find(|erasure| erasure.place == place).map_or(0, |erasure| erasure.attempt);
            warn!(%place, attempt, %error, "an erased blob could not be deleted");
            if attempt > STUCK {
                store.park(WorkLoop::Erasure, &place, None, "the blob store does not delete this blob").await?;
            }
        }
        if i64::try_from(due.len()).unwrap_or(BATCH) < BATCH {
            return Ok(());
        }
    }
}

/// Deletes these erased blobs at once, whatever their back-off. Each is tried, even if another fails.
///
/// # Errors
/// When the database or the blob store fails. The janitor continues.
pub(super) async fn remove(store: &Store, media: &Media, places: &[String]) -> Result<(), Error> {
    let failed = finish(store, media, places).await?;
    failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error.into()))
}

/// Adds the places to the erasure log, deletes the blobs, and strikes what is done off the list. Returns what could not
/// be deleted.
async fn finish(store: &Store, media: &Media, places: &[String]) -> Result<Vec<(String, media::Error)>, Error> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let logged = media.log_erasures(places).await;
    let deleting = stream::iter(places.to_vec()).map(|place| {
        let media = media.clone();
        async move {
            let deleted = media.delete_place(&place, PATIENCE).await;
            (place, deleted)
        }
    });
    let deleted: Vec<_> = deleting.buffer_unordered(AT_ONCE).collect().await;
    // A full store takes no log entry. Its blobs are deleted even so, and their places stay listed until they are
    // logged.
    logged?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (place, deleted) in deleted {
        match deleted {
            Ok(()) => done.push(place),
            Err(error) => failed.push((place, error)),
        }
    }
    store.finish_erasures(&done).await?;
    Ok(failed)
}
