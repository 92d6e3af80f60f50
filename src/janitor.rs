//! Erases images whose time is over, and all that was made from them: first the keys, which makes them noise everywhere,
//! backups included; then the blobs; then the rows. A crash in between is mended by the next round. Forgets deliveries that
//! were over long ago.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::images::{self, erasure};
use crate::lifecycle::Lifecycle;
use crate::media::{self, Media};
use crate::store::{self, Store};

/// Between rounds: an image outlives its time by a minute at most, where the backlog is none.
const EVERY: Duration = Duration::from_mins(1);
/// Bodies of submissions that the broker gave up on wait so long for an operator.
const DEAD_LETTERS_KEEP: Duration = Duration::from_hours(168);
/// Between looks for blobs that belong to nothing: a look lists them all.
const STRANDED_EVERY: Duration = Duration::from_hours(1);
/// A look that takes longer is broken off; the next one starts again.
const LOOK: Duration = Duration::from_mins(10);
/// Images of one round's step.
const BATCH: i64 = 256;

/// What went wrong in a round; the next one goes on.
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

/// Erases everything that is due; says how many images.
///
/// # Errors
/// When the database or the blob store fails; what was begun is taken up again by the next call.
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
