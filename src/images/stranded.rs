//! Blobs that belong to no row, because a crash or a lost answer left them behind. Nobody can read them: their keys
//! were never committed. They are set aside for days before they are deleted. A look that finds many changes nothing,
//! because many unknown blobs are a sign that the database is not the store's own, or is an old backup.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use tracing::warn;

use super::Error;
use crate::media::Media;
use crate::store::Store;
use crate::store::blob_store::StrandedBlob;

/// A blob is written before its row. If it has no row after this time, it never will.
const YOUNG: Duration = Duration::from_hours(24);
/// How long a blob is set aside before it is deleted: time for a person to notice that a restore went wrong.
const QUARANTINE: Duration = Duration::from_hours(7 * 24);
/// How long the erasure log is kept. A backup of the database that is older would bring back what was erased.
const LOG_KEPT: Duration = Duration::from_hours(90 * 24);
/// Blobs that are looked up at once.
const CHUNK: usize = 512;
/// Blobs that one look sets aside at most. The next look goes on.
const MOST: usize = 10_000;
/// So many blobs may always be unknown. A crash leaves a few.
const FEW: u64 = 100;
/// The share of all blobs that may be unknown, as 1 of so many.
const SHARE: u64 = 100;

/// How many unknown blobs a look may find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// One in a hundred of all blobs, or a hundred blobs.
    SmallShare,
    /// Any number: a person said that they belong to nothing.
    Any,
}

/// What a look found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Blobs that were old enough to be looked at.
    pub listed: u64,
    /// Those of them that no row knows.
    pub unknown: u64,
    /// Blobs that this look set aside.
    pub set_aside: u64,
    /// Blobs that were set aside before and belong to a row by now.
    pub released: u64,
    /// Blobs that were set aside for long enough and are now to be deleted.
    pub erased: u64,
    /// Files of interrupted writes that were deleted.
    pub leftovers: u64,
    /// Folders that could not be listed to the end.
    pub unreadable: u64,
}

/// Looks for blobs that belong to no row. Sets new ones aside, releases those that have a row by now, and hands those
/// that were set aside for a week over to be deleted.
///
/// # Errors
/// [`Error::ManyUnknown`] when too many blobs are unknown; then nothing was changed. Else when the database or the blob
/// store fails. The next call continues.
pub async fn look(store: &Store, media: &Media, bound: Bound) -> Result<Looked, Error> {
    let moment = store.ago(YOUNG).await?;
    let mut looked = Looked::default();
    let unknown = list_unknown(store, media, moment, &mut looked).await?;
    if bound == Bound::SmallShare && looked.unknown > FEW.max(looked.listed / SHARE) {
        return Err(Error::ManyUnknown { unknown: looked.unknown, listed: looked.listed });
    }
    for chunk in unknown.chunks(CHUNK) {
        looked.set_aside += store.mark_stranded(chunk).await?;
    }
    review(store, &mut looked).await?;
    match media.delete_leftovers(moment).await {
        Ok(deleted) => looked.leftovers = deleted,
        Err(error) => warn!(%error, "not every file of an interrupted write was deleted"),
    }
    if let Err(error) = media.prune_erasure_log(store.ago(LOG_KEPT).await?).await {
        warn!(%error, "the erasure log was not pruned");
    }
    Ok(looked)
}

/// The blobs that no row knows, but no more than one look sets aside. Counts all of them.
async fn list_unknown(
    store: &Store,
    media: &Media,
    moment: DateTime<Utc>,
    looked: &mut Looked,
) -> Result<Vec<StrandedBlob>, Error> {
    let mut unknown = Vec::new();
    let mut chunks = std::pin::pin!(media.blobs_before(moment).chunks(CHUNK));
    while let Some(chunk) = chunks.next().await {
        let mut blobs = Vec::with_capacity(chunk.len());
        for blob in chunk {
            match blob {
                Ok(blob) => blobs.push(StrandedBlob { place: blob.place, id: blob.id }),
                // One folder that cannot be listed to the end does not keep the others.
                Err(error) => {
                    warn!(%error, "a folder of the blob store was not listed to its end");
                    looked.unreadable += 1;
                }
            }
        }
        let orphans = store.list_orphans(&blobs).await?;
        looked.listed += blobs.len() as u64;
        looked.unknown += orphans.len() as u64;
        unknown.extend(orphans);
        unknown.truncate(MOST);
    }
    Ok(unknown)
}

/// Goes through everything that is set aside: releases what a row knows by now, and gives up what waited long enough.
async fn review(store: &Store, looked: &mut Looked) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let blobs = store.list_stranded(&after, i64::try_from(CHUNK).unwrap_or(i64::MAX)).await?;
        let Some(last) = blobs.last() else { return Ok(()) };
        after.clone_from(&last.place);
        let orphans: HashSet<String> = store.list_orphans(&blobs).await?.into_iter().map(|blob| blob.place).collect();
        let (unknown, known): (Vec<_>, Vec<_>) =
            blobs.into_iter().map(|blob| blob.place).partition(|place| orphans.contains(place));
        looked.released += store.release_stranded(&known).await?;
        looked.erased += store.erase_stranded(&unknown, QUARANTINE).await?;
    }
}
