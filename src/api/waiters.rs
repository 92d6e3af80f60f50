//! Long polls. One query at a time asks for all jobs that anybody waits for, so that no poll holds a database
//! connection.

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

/// Between two queries while anybody waits: jobs also end in other processes.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// At least between two queries: under load, one query finds all jobs that ended in this time.
const GAP: Duration = Duration::from_millis(10);

/// Time limit of a query.
const PATIENCE: Duration = Duration::from_secs(5);

/// All polls of this process that wait for a job to end; clones share them.
#[derive(Clone)]
pub struct Waiters(Arc<WaiterState>);

struct WaiterState {
    waiting: Mutex<HashMap<JobId, watch::Sender<()>>>,
    waiter_came: Notify,
    life: Lifecycle,
}

impl Waiters {
    /// Starts the task that asks for ended jobs.
    #[must_use]
    pub fn start(store: Store, life: &Lifecycle) -> Self {
        let waiters =
            Self(Arc::new(WaiterState { waiting: Mutex::default(), waiter_came: Notify::new(), life: life.clone() }));
        life.spawn("waiters", waiters.clone().watch(store));
        waiters
    }

    /// Returns when the job has ended, when `wait` is over, or when this process stops.
    pub async fn wait(&self, id: JobId, wait: Duration) {
        let mut over = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.entry(id).or_insert_with(|| watch::channel(()).0).subscribe()
        };
        self.0.waiter_came.notify_one();
        tokio::select! {
            // Removing the entry drops its sender, which ends this.
            _ = over.changed() => {}
            () = tokio::time::sleep(wait) => {}
            () = self.0.life.stopping().cancelled() => {}
        }
    }

    async fn watch(self, store: Store) {
        loop {
            let ids = self.ids();
            if ids.is_empty() {
                tokio::select! {
                    () = self.0.waiter_came.notified() => continue,
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

    /// The jobs that a poll still waits for.
    fn ids(&self) -> Vec<JobId> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| sender.receiver_count() > 0);
        waiting.keys().copied().collect()
    }
}
