//! Long polls: however many wait, one query at a time asks for all of them, and no connection is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::warn;

use crate::domain::ids::JobId;
use crate::lifecycle::Lifecycle;
use crate::store::Store;
use crate::store::signals::Signal;

/// Between two looks at the database, while anybody waits: jobs end in other processes too.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// Between two looks at least: under load, one look finds what ended in this time.
const GAP: Duration = Duration::from_millis(10);

/// For an answer of the database.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everybody who waits for a job to end; clones share it.
#[derive(Clone)]
pub struct Waiters(Arc<Shared>);

struct Shared {
    waiting: Mutex<HashMap<JobId, watch::Sender<()>>>,
    somebody: Notify,
    life: Lifecycle,
}

impl Waiters {
    /// Starts the task that looks.
    #[must_use]
    pub fn start(store: Store, life: &Lifecycle) -> Self {
        let waiters = Self(Arc::new(Shared { waiting: Mutex::default(), somebody: Notify::new(), life: life.clone() }));
        life.spawn("waiters", waiters.clone().look(store));
        waiters
    }

    /// Returns when the job is over, when `wait` is, or when this process stops.
    pub async fn wait(&self, id: JobId, wait: Duration) {
        let mut over = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.entry(id).or_insert_with(|| watch::channel(()).0).subscribe()
        };
        self.0.somebody.notify_one();
        tokio::select! {
            // Ends when the entry, and with it the sender, is removed.
            _ = over.changed() => {}
            () = tokio::time::sleep(wait) => {}
            () = self.0.life.stopping().cancelled() => {}
        }
    }

    async fn look(self, store: Store) {
        loop {
            let ids = self.ids();
            if ids.is_empty() {
                tokio::select! {
                    () = self.0.somebody.notified() => continue,
                    () = self.0.life.stopping().cancelled() => return,
                }
            }
            let since = Instant::now();
            match tokio::time::timeout(PATIENCE, store.list_terminal(&ids)).await {
                Ok(Ok(over)) => {
                    let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    for id in over {
                        waiting.remove(&id);
                    }
                }
                Ok(Err(error)) => warn!(%error, "long polls: the database does not answer"),
                Err(_) => warn!("long polls: the database does not answer"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = store.signalled(Signal::Ending) => tokio::time::sleep_until(since + GAP).await,
                () = self.0.life.stopping().cancelled() => return,
            }
        }
    }

    /// The jobs that somebody still waits for.
    fn ids(&self) -> Vec<JobId> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| sender.receiver_count() > 0);
        waiting.keys().copied().collect()
    }
}
