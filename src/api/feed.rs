//! Streams of events: however many listen, one query at a time reads for all of them, and no connection is held.
//!
//! Events are read in the order that misses none, see `store::events`. A listener is told from which place on it hears
//! everything; what came before it reads for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use crate::domain::ids::JobId;
use crate::domain::tenant::Account;
use crate::domain::webhook::{TEST, envelope};
use crate::lifecycle::Lifecycle;
use crate::store::events::{Cursor, StoredEvent};
use crate::store::signals::Signal;
use crate::store::{self, Store};

/// Between two looks at the database, while anybody listens: events are written by other processes too.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Between two looks at least: under load, one look finds what came in this time.
const GAP: Duration = Duration::from_millis(10);
/// For an answer of the database.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events of one look.
const PAGE: i64 = 256;
/// Events that wait for a client which reads slowly. One that falls further behind is cut off, and resumes.
const BEHIND: usize = 256;
/// Streams of this process: each costs a connection and the memory for what waits in it.
const MOST: usize = 1000;
/// Of them, those of one account.
const MOST_OF_ONE: usize = 100;

/// Everybody who listens; clones share it.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    store: Store,
    life: Lifecycle,
    state: Mutex<State>,
    somebody: Notify,
}

#[derive(Default)]
struct State {
    /// How far was read; none while nobody listens.
    read_to: Option<Cursor>,
    listeners: HashMap<Uuid, Entry>,
}

struct Entry {
    account: Account,
    job: Option<JobId>,
    sender: mpsc::Sender<Arc<Told>>,
}

/// An event as listeners are told it.
pub(super) struct Told {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) body: String,
}

/// One who listens; dropping it ends that.
pub(super) struct Listener {
    feed: Feed,
    id: Uuid,
    /// Ends when the listener reads too slowly, and when this process stops.
    pub(super) events: mpsc::Receiver<Arc<Told>>,
    /// Every event behind this place is heard.
    pub(super) from: Cursor,
}

/// Why nobody more may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Process,
    Account,
}

impl Feed {
    /// Starts the task that looks.
    #[must_use]
    pub fn start(store: Store, life: &Lifecycle) -> Self {
        let shared = Shared { store, life: life.clone(), state: Mutex::default(), somebody: Notify::new() };
        let feed = Self(Arc::new(shared));
        life.spawn("feed of streams", feed.clone().look());
        feed
    }

    /// Listens to the account's events, or to one job's.
    pub(super) async fn listen(
        &self,
        account: Account,
        job: Option<JobId>,
    ) -> Result<Result<Listener, Full>, store::Error> {
        loop {
            let last = if self.state().read_to.is_none() { Some(self.0.store.find_last_cursor().await?) } else { None };
            let mut state = self.state();
            // Between the two, the last listener may have gone.
            let Some(from) = state.read_to.or(last) else { continue };
            if state.listeners.len() >= MOST {
                return Ok(Err(Full::Process));
            }
            if state.listeners.values().filter(|it| it.account == account).count() >= MOST_OF_ONE {
                return Ok(Err(Full::Account));
            }
            state.read_to = Some(from);
            let (id, (sender, events)) = (Uuid::now_v7(), mpsc::channel(BEHIND));
            if !self.0.life.stopping().is_cancelled() {
                state.listeners.insert(id, Entry { account, job, sender });
            }
            self.0.somebody.notify_one();
            return Ok(Ok(Listener { feed: self.clone(), id, events, from }));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(self) {
        let (store, stopping) = (&self.0.store, self.0.life.stopping());
        while !stopping.is_cancelled() {
            let from = {
                let mut state = self.state();
                if state.listeners.is_empty() {
                    state.read_to = None;
                }
                state.read_to
            };
            let Some(from) = from else {
                tokio::select! {
                    () = self.0.somebody.notified() => {}
                    () = stopping.cancelled() => {}
                }
                continue;
            };
            let since = Instant::now();
            match tokio::time::timeout(PATIENCE, store.list_events(from, PAGE)).await {
                Ok(Ok(events)) => {
                    let is_full = i64::try_from(events.len()).is_ok_and(|it| it == PAGE);
                    self.state().tell(events);
                    if is_full {
                        continue;
                    }
                }
                Ok(Err(error)) => warn!(%error, "streams: the database does not answer"),
                Err(_) => warn!("streams: the database does not answer"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = store.signalled(Signal::Stream) => tokio::time::sleep_until(since + GAP).await,
                () = stopping.cancelled() => {}
            }
        }
        // Ends every stream: a server that stops would wait for them.
        self.state().listeners.clear();
    }
}

impl State {
    fn tell(&mut self, events: Vec<StoredEvent>) {
        for event in events {
            self.read_to = Some(event.cursor);
            if event.kind == TEST {
                continue;
            }
            let (account, job) = (event.account, event.job_id);
            let told = Arc::new(Told::of(event));
            self.listeners.retain(|_, it| {
                let hears = it.account == account && (it.job.is_none() || it.job == job);
                !hears || it.sender.try_send(Arc::clone(&told)).is_ok()
            });
        }
    }
}

impl Told {
    pub(super) fn of(event: StoredEvent) -> Self {
        let body = envelope(&event.kind, event.created_at, &event.data);
        Self { id: event.id, kind: event.kind, body }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.state().listeners.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::TenantId;

    fn event(account: Account, job: JobId, kind: &str) -> StoredEvent {
        let (id, created_at) = (Uuid::now_v7(), chrono::DateTime::UNIX_EPOCH);
        StoredEvent {
            id,
            account,
            job_id: Some(job),
            kind: kind.to_owned(),
            data: json!({}),
            created_at,
            cursor: Cursor::START,
        }
    }

    #[test]
    fn each_listener_hears_its_own_and_one_that_reads_too_slowly_is_cut_off() {
        let (account, job) = (Account::live(TenantId::new()), JobId::new());
        let mut state = State::default();
        let mut listen = |account, job| {
            let (sender, events) = mpsc::channel(1);
            state.listeners.insert(Uuid::now_v7(), Entry { account, job, sender });
            events
        };
        let mut all = listen(account, None);
        let mut one = listen(account, Some(job));
        let mut sandbox = listen(Account { sandbox: true, ..account }, None);
        state.tell(vec![event(account, job, "job.completed"), event(account, job, TEST)]);
        assert!(
            all.try_recv().is_ok() && all.try_recv().is_err() && one.try_recv().is_ok() && sandbox.try_recv().is_err()
        );

        state.tell(vec![event(account, JobId::new(), "job.failed"), event(account, job, "image.erased")]);
        assert_eq!(one.try_recv().unwrap().kind, "image.erased");
        assert_eq!(all.try_recv().unwrap().kind, "job.failed");
        assert!(matches!(all.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)), "its second found no room");
        assert_eq!(state.listeners.len(), 2);
    }
}
