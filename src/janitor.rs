//! Erases images whose retention has ended, and everything made from them. First the keys of all that is due, which
//! makes the bytes noise everywhere; then the blobs. After a crash the next round continues. Also closes cases that
//! nobody decided, and forgets what ended long ago.
//!
//! Each step of a round runs, even if another failed. A step leaves a row out that it cannot deal with, and goes on.

pub mod records;

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use crate::images::stranded::{self, Bound, Looked};
use crate::images::{self, erasure};
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::store::parked::WorkLoop;
use crate::store::{self, Store};

/// Time between rounds. Without a backlog, an image outlives its retention by a minute at most.
const EVERY: Duration = Duration::from_mins(1);
/// How long an operator can redrive the body of a submission that the broker gave up on.
const DEAD_LETTERS_KEEP: Duration = Duration::from_hours(168);
/// Time between searches for blobs that belong to no row, and before the first one: a process that was started on the
/// wrong database is stopped again before it looks. Each search lists all blobs.
const STRANDED_EVERY: Duration = Duration::from_hours(1);
/// A step, or a search, that takes longer is stopped, and the next round starts again.
const STEP: Duration = Duration::from_mins(10);
/// Rows that a statement deals with at once.
const BATCH: i64 = 256;
/// Rows that a step leaves out in a round. If there are more, something else is wrong, and the step ends.
const MOST_LEFT_OUT: i64 = 100;

/// Times that a step with a fault looks again before it ends. Postgres reports a failed statement before it releases
/// the statement's locks, and the next statement passes over locked rows.
const LOOKS: u32 = 2;
/// Time before each of these looks.
const LOCKS_END: Duration = Duration::from_millis(50);

/// What went wrong in a round. The next round continues.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Images(#[from] images::Error),
    #[error("a step of the janitor took too long")]
    Slow,
}

/// Runs rounds until the shutdown begins.
pub fn start(store: &Store, media: &Media, life: &Lifecycle) {
    let (store, media, stopping) = (store.clone(), media.clone(), life.stopping().clone());
    life.spawn("janitor of stranded blobs", look_for_stranded(store.clone(), media.clone(), life.clone()));
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
/// The first fault of a step, when all other steps were done. The next call continues.
pub async fn erase_due(store: &Store, media: &Media) -> Result<u64, Error> {
    let mut round = Round { store, fault: None };
    // Everything that makes something readable goes before anything that may take long.
    let images = round.drain("images", |limit, skip| store.erase_due_images(limit, skip)).await;
    round.drain("sealed records", |limit, skip| store.erase_due_sealed(limit, skip)).await;
    round.drain("perceptual hashes", |limit, skip| store.erase_due_probe_hashes(limit, skip)).await;
    let bodies = |limit, skip| store.erase_old_bodies(DEAD_LETTERS_KEEP, limit, skip);
    round.drain("bodies of dead letters", bodies).await;
    round.step("blobs", async { Ok(erasure::delete_due_blobs(store, media).await?) }).await;
    round.drain("missing cases", |limit, skip| store.open_missing_cases(limit, skip)).await;
    round.drain("lapsed cases", |limit, skip| store.close_lapsed_cases(limit, skip)).await;
    round.step("challenges", async { Ok(store.forget_expired_challenges().await.map(drop)?) }).await;
    round.drain("old deliveries", |limit, skip| store.forget_old_deliveries(limit, skip)).await;
    round.fault.map_or(Ok(images), Err)
}

/// The steps of a round, and the first fault of one.
struct Round<'a> {
    store: &'a Store,
    fault: Option<Error>,
}

impl Round<'_> {
    /// Runs a step. A fault is logged, and the next steps run.
    async fn step(&mut self, name: &'static str, work: impl Future<Output = Result<(), Error>>) {
        let done = tokio::time::timeout(STEP, work).await.unwrap_or(Err(Error::Slow));
        if let Err(error) = done {
            warn!(step = name, %error, "a step of the janitor failed");
            self.fault.get_or_insert(error);
        }
    }

    /// Drains a step's rows, and parks the step if it left rows out. Returns how many rows were dealt with.
    async fn drain<F>(&mut self, name: &'static str, batch: impl Fn(i64, i64) -> F) -> u64
    where
        F: Future<Output = Result<u64, store::Error>>,
    {
        let (mut done, store) = (0, self.store);
        self.step(name, async {
            let drained = drain(batch).await;
            done = drained.done;
            for error in drained.left_out {
                store.park(WorkLoop::Erasure, name, None, &error.reason()).await?;
                warn!(step = name, %error, "the janitor left a row out");
            }
            drained.fault.map_or(Ok(()), |error| Err(error.into()))
        })
        .await;
        done
    }
}

/// What became of the rows of a step.
#[derive(Default)]
struct Drained {
    done: u64,
    /// Why rows were left out.
    left_out: Vec<store::Error>,
    /// Why the step ended early.
    fault: Option<store::Error>,
}

/// Calls `batch` with how many rows to deal with, and how many to leave out before them, until nothing is left. A batch
/// that fails is tried again in parts, down to the row at fault, which is then left out.
async fn drain<F>(batch: impl Fn(i64, i64) -> F) -> Drained
where
    F: Future<Output = Result<u64, store::Error>>,
{
    let (mut drained, mut size, mut skip) = (Drained::default(), BATCH, 0);
    // Looks that must still find nothing after a fault.
    let mut looks = 0;
    loop {
        match batch(size, skip).await {
            Ok(rows) if rows < size.unsigned_abs() => {
                drained.done += rows;
                if looks == 0 {
                    return drained;
                }
                looks = if rows == 0 { looks - 1 } else { LOOKS };
                tokio::time::sleep(LOCKS_END).await;
            }
            Ok(rows) => {
                drained.done += rows;
                size = (size * 2).min(BATCH);
            }
            Err(error) if !error.is_of_item() || skip == MOST_LEFT_OUT => {
                drained.fault = Some(error);
                return drained;
            }
            Err(_) if size > 1 => (size, looks) = ((size / 4).max(1), LOOKS),
            Err(error) => {
                (skip, looks) = (skip + 1, LOOKS);
                drained.left_out.push(error);
            }
        }
    }
}

async fn look_for_stranded(store: Store, media: Media, life: Lifecycle) {
    let mut ticks = tokio::time::interval_at(Instant::now() + STRANDED_EVERY, STRANDED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = life.stopping().cancelled() => return,
            _ = ticks.tick() => {}
        }
        let look = tokio::time::timeout(STEP, stranded::look(&store, &media, Bound::SmallShare));
        let looked = tokio::select! {
            () = life.stopping().cancelled() => return,
            looked = look => looked,
        };
        match looked {
            Ok(Ok(Looked { unknown: 0, released: 0, erased: 0, leftovers: 0, .. })) => {}
            Ok(Ok(Looked { unknown, set_aside, released, erased, leftovers, .. })) => {
                info!(unknown, set_aside, released, erased, leftovers, "looked for blobs that belong to nothing");
            }
            Ok(Err(error @ images::Error::ManyUnknown { .. })) => error!(%error, "blobs that belong to nothing stay"),
            Ok(Err(error)) => warn!(%error, "the look for blobs that belong to nothing failed"),
            Err(_) => warn!("the look for blobs that belong to nothing took too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// Rows by number. Those at fault fail every statement that includes them.
    async fn drained(rows: std::ops::Range<u64>, at_fault: &[u64]) -> (Vec<u64>, Drained) {
        let left = std::sync::Mutex::new(rows.collect::<Vec<_>>());
        let before = left.lock().unwrap().len();
        let batch = |limit: i64, skip: i64| {
            let mut left = left.lock().unwrap();
            let (limit, skip) = (usize::try_from(limit).unwrap(), usize::try_from(skip).unwrap());
            let taken: Vec<_> = left.iter().copied().skip(skip).take(limit).collect();
            if taken.iter().any(|row| at_fault.contains(row)) {
                return ready(Err(store::Error::Unreadable { what: "row" }));
            }
            left.retain(|row| !taken.contains(row));
            ready(Ok(taken.len() as u64))
        };
        let drained = drain(batch).await;
        let left = left.into_inner().unwrap();
        assert_eq!(drained.done, (before - left.len()) as u64);
        (left, drained)
    }

    #[tokio::test]
    async fn a_row_at_fault_is_left_out_and_the_others_are_dealt_with() {
        for at_fault in [&[][..], &[0], &[999], &[0, 1, 2, 3], &[255, 256, 257, 511, 999], &[1, 500]] {
            let (left, drained) = drained(0..1000, at_fault).await;
            assert_eq!(left, at_fault);
            assert_eq!((drained.left_out.len(), drained.fault.is_some()), (at_fault.len(), false));
        }
    }

    #[tokio::test]
    async fn a_step_ends_when_everything_is_at_fault() {
        let all: Vec<_> = (0..1000).collect();
        let (left, drained) = drained(0..1000, &all).await;
        assert_eq!((left, drained.fault.is_some()), (all, true));
    }
}
