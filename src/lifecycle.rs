//! Shutdown in two stages: first no new work is begun; when the patience ends, running work is dropped.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// How long running work may take to end after the first signal.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Spawns tasks, tells them to stop, and waits until they have. Clones share one state.
#[derive(Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
}

impl Lifecycle {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that the shutdown waits for. A task that panics shuts the whole process down: a role that died
    /// unnoticed would be worse.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let inner = self.tracker.spawn(task);
        let soft = self.soft.clone();
        self.tracker.spawn(async move {
            if let Err(fault) = inner.await
                && fault.is_panic()
            {
                error!(task = name, "a task panicked: shutting down");
                soft.cancel();
            }
        });
    }

    /// Cancelled when no new work may begin.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when running work must be dropped.
    #[must_use]
    pub fn aborting(&self) -> &CancellationToken {
        &self.hard
    }

    /// Begins the shutdown.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits for the shutdown to begin, and then for every task to end. Tasks that take longer than `patience` are told
    /// to drop their work. Returns whether all of them ended by themselves.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.soft.cancelled().await;
        self.tracker.close();
        info!(tasks = self.tracker.len(), "stopping: no new work");
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_ok() {
            return true;
        }
        warn!(tasks = self.tracker.len(), "patience is over: dropping running work");
        self.hard.cancel();
        // Dropping takes a moment, because a job is put back in the database. It must not take forever.
        if tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await.is_err() {
            error!(tasks = self.tracker.len(), "tasks did not end");
        }
        false
    }
}
