//! Erases images whose time is over: first the key, which makes them noise everywhere, backups included; then the blob;
//! then the row. A crash in between is mended by the next round.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::domain::ids::ImageId;
use crate::lifecycle::Lifecycle;
use crate::media::{self, Media};
use crate::store::{self, Store};

/// Between rounds: an image outlives its time by a minute at most, where the backlog is none.
const EVERY: Duration = Duration::from_mins(1);
/// Bodies of submissions that the broker gave up on wait so long for an operator.
const DEAD_LETTERS_KEEP: Duration = Duration::from_hours(168);
/// Images of one round's step.
const BATCH: i64 = 256;

/// What went wrong in a round; the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Media(#[from] media::Error),
}

/// Runs rounds until the shutdown begins.
pub fn start(store: &Store, media: &Media, life: &Lifecycle) {
    let (store, media, stopping) = (store.clone(), media.clone(), life.stopping().clone());
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
        let due = store.erase_due_image_keys(BATCH).await?;
        for (tenant, image) in &due {
            media.delete_image(*tenant, *image).await?;
        }
        let ids: Vec<ImageId> = due.iter().map(|(_, image)| *image).collect();
        erased += store.delete_erased_images(&ids).await?;
        if i64::try_from(ids.len()).unwrap_or(BATCH) < BATCH {
            break;
        }
    }
    while store.erase_due_sealed(BATCH).await? == BATCH.unsigned_abs() {}
    let bodies = store.erase_old_bodies(DEAD_LETTERS_KEEP, BATCH).await?;
    for id in &bodies {
        media.delete_dead_letter(*id).await?;
    }
    store.forget_erased_bodies(&bodies).await?;
    Ok(erased)
}
