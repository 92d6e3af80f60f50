//! Erases images whose retention has ended, and everything made from them. First the keys, which makes the bytes noise
//! everywhere, in backups too; then the blobs; then the rows. After a crash the next round continues. Also deletes
//! deliveries that ended long ago.

pub mod records;

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::images::{self, erasure};
use crate::lifecycle::Lifecycle;
use crate::media::{self, Media};
use crate::store::{self, Store};

/// Time between rounds. Without a backlog, an image outlives its retention by a minute at most.
const EVERY: Duration = Duration::from_mins(1);
/// How long an operator can redrive the body of a submission that the broker gave up on.
const DEAD_LETTERS_KEEP: Duration = Duration::from_hours(168);
/// Time between searches for blobs that belong to no row. Each search lists all blobs.
const STRANDED_EVERY: Duration = Duration::from_hours(1);
/// A search that takes longer is stopped, and the next one starts again.
const LOOK: Duration = Duration::from_mins(10);
/// Images that one step of a round erases.
const BATCH: i64 = 256;

/// What went wrong in a round. The next round continues.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Media(#[from] media::Error),
    #[error(transparent)]
    Images(#[from] images::Error),
}

/// Runs rounds until the shutdown begins.
pub fn start(store: &Store, media: &Media, life: &Lifecycle) {
    let (store, media, stopping) = (store.clone(), media.clone(), life.stopping().clone());
    life.spawn("janitor of stranded blobs", sweep_stranded(store.clone(), media.clone(), life.clone()));
    life.spawn("janitor of old records", records::run(store.clone(), life.clone()));
    life.spawn("janitor", async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match erase_due(&store, &media).await {
                Ok(0) => {}
                Ok(images) => info!(images, "erased"),
                Err(error) => warn!(%error, "not everything was erased that is due"),
            }
        }
    });
}

/// Erases everything that is due. Returns how many images.
///
/// # Errors
/// When the database or the blob store fails. The next call continues.
pub async fn erase_due(store: &Store, media: &Media) -> Result<u64, Error> {
    let mut erased = 0;
    loop {
        let due = store.erase_due_keys(BATCH).await?;
        erased += erasure::remove(store, media, &due).await?;
        if i64::try_from(due.images.len()).unwrap_or(BATCH) < BATCH {
            break;
        }
    }
    while store.erase_due_sealed(BATCH).await? == BATCH.unsigned_abs() {}
    while store.erase_due_probe_hashes(BATCH).await? == BATCH.unsigned_abs() {}
    while store.open_missing_cases(BATCH).await? == BATCH.unsigned_abs() {}
    while store.close_lapsed_cases(BATCH).await? == BATCH.unsigned_abs() {}
    store.forget_expired_challenges().await?;
    while store.forget_old_deliveries(BATCH).await? == BATCH.unsigned_abs() {}
    let bodies = store.erase_old_bodies(DEAD_LETTERS_KEEP, BATCH).await?;
    for id in &bodies {
        media.delete_dead_letter(*id).await?;
    }
    store.forget_erased_bodies(&bodies).await?;
    Ok(erased)
}

async fn sweep_stranded(store: Store, media: Media, life: Lifecycle) {
    let mut ticks = tokio::time::interval(STRANDED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = life.stopping().cancelled() => return,
            _ = ticks.tick() => {}
        }
        let look = tokio::time::timeout(LOOK, erasure::remove_stranded(&store, &media));
        let looked = tokio::select! {
            () = life.stopping().cancelled() => return,
            looked = look => looked,
        };
        match looked {
            Ok(Ok(0)) => {}
            Ok(Ok(blobs)) => info!(blobs, "removed blobs that belonged to nothing"),
            Ok(Err(error)) => warn!(%error, "not every blob that belongs to nothing was removed"),
            Err(_) => warn!("the look for blobs that belong to nothing took too long"),
        }
    }
}
