//! Feeds all event streams of this process. One query at a time reads for all listeners, so that none of them holds a
//! database connection.
//!
//! Events are read in an order in which none is skipped, see `store::events`. A listener learns from which place on it
//! gets everything; it reads what came before by itself.

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

/// Between two queries while anybody listens: other processes write events too.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// At least between two queries: under load, one query finds all events of this time.
const GAP: Duration = Duration::from_millis(10);
/// Time limit of a query.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events that one query reads.
const PAGE: i64 = 256;
/// Events that may wait for a slow client. A client that falls further behind is cut off and must resume.
const BEHIND: usize = 256;
/// Streams of this process. Each costs a connection, and memory for the events that wait in it.
const MOST: usize = 1000;
/// Streams of one account.
const MOST_OF_ONE: usize = 100;

/// All listeners of this process; clones share them.
#[derive(Clone)]
pub struct Feed(Arc<FeedShared>);

struct FeedShared {
    store: Store,
    life: Lifecycle,
    state: Mutex<FeedState>,
    listener_came: Notify,
}

#[derive(Default)]
struct FeedState {
    /// How far events were read; none while nobody listens.
    read_to: Option<Cursor>,
    listeners: HashMap<Uuid, ListenerEntry>,
}

struct ListenerEntry {
    account: Account,
    job: Option<JobId>,
    sender: mpsc::Sender<Arc<StreamEvent>>,
}

/// An event as a stream sends it.
pub(super) struct StreamEvent {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) body: String,
}

/// A listener; dropping it removes it from the feed.
pub(super) struct Listener {
    feed: Feed,
    id: Uuid,
    /// Ends when the listener reads too slowly or this process stops.
    pub(super) events: mpsc::Receiver<Arc<StreamEvent>>,
    /// The listener gets every event after this place.
    pub(super) from: Cursor,
}

/// Which limit a further listener would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Process,
    Account,
}

impl Feed {
    /// Starts the task that reads events.
    #[must_use]
    pub fn start(store: Store, life: &Lifecycle) -> Self {
        let shared = FeedShared { store, life: life.clone(), state: Mutex::default(), listener_came: Notify::new() };
        let feed = Self(Arc::new(shared));
        life.spawn("feed of streams", feed.clone().read_events());
        feed
    }

    /// Listens to the events of an account, or of one of its jobs.
    pub(super) async fn listen(
        &self,
        account: Account,
        job: Option<JobId>,
    ) -> Result<Result<Listener, Full>, store::Error> {
        loop {
            let last = if self.state().read_to.is_none() { Some(self.0.store.find_last_cursor().await?) } else { None };
            let mut state = self.state();
            // The last listener may have left since, and with it the place.
            let Some(from) = state.read_to.or(last) else { continue };
            if state.listeners.len() >= MOST {
                return Ok(Err(Full::Process));
            }
            if state.listeners.values().filter(|listener| listener.account == account).count() >= MOST_OF_ONE {
                return Ok(Err(Full::Account));
            }
            state.read_to = Some(from);
            let (id, (sender, events)) = (Uuid::now_v7(), mpsc::channel(BEHIND));
            if !self.0.life.stopping().is_cancelled() {
                state.listeners.insert(id, ListenerEntry { account, job, sender });
            }
            self.0.listener_came.notify_one();
            return Ok(Ok(Listener { feed: self.clone(), id, events, from }));
        }
    }

    fn state(&self) -> MutexGuard<'_, FeedState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_events(self) {
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
                    () = self.0.listener_came.notified() => {}
                    () = stopping.cancelled() => {}
                }
                continue;
            };
            let since = Instant::now();
            match tokio::time::timeout(PATIENCE, store.list_events(from, PAGE)).await {
                Ok(Ok(events)) => {
                    let is_full = i64::try_from(events.len()).is_ok_and(|count| count == PAGE);
                    self.state().send(events);
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

impl FeedState {
    fn send(&mut self, events: Vec<StoredEvent>) {
        for event in events {
            self.read_to = Some(event.cursor);
            if event.kind == TEST {
                continue;
            }
            let (account, job) = (event.account, event.job_id);
            let Some(sent) = StreamEvent::of(event).map(Arc::new) else { continue };
            self.listeners.retain(|_, listener| {
                let wants = listener.account == account && (listener.job.is_none() || listener.job == job);
                !wants || listener.sender.try_send(Arc::clone(&sent)).is_ok()
            });
        }
    }
}

impl StreamEvent {
    /// `None` if this version cannot read the event.
    pub(super) fn of(event: StoredEvent) -> Option<Self> {
        let body = envelope(&event.kind, event.created_at, event.data.as_ref()?);
        Some(Self { id: event.id, kind: event.kind, body })
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
            data: Some(json!({})),
            created_at,
            cursor: Cursor::START,
        }
    }

    #[test]
    fn each_listener_gets_its_own_events_and_a_slow_one_is_cut_off() {
        let (account, job) = (Account::live(TenantId::new()), JobId::new());
        let mut state = FeedState::default();
        let mut listen = |account, job| {
            let (sender, events) = mpsc::channel(1);
            state.listeners.insert(Uuid::now_v7(), ListenerEntry { account, job, sender });
            events
        };
        let mut all = listen(account, None);
        let mut one = listen(account, Some(job));
        let mut sandbox = listen(Account { sandbox: true, ..account }, None);
        let unreadable = StoredEvent { data: None, ..event(account, job, "job.completed") };
        state.send(vec![unreadable, event(account, job, "job.completed"), event(account, job, TEST)]);
        assert!(
            all.try_recv().is_ok() && all.try_recv().is_err() && one.try_recv().is_ok() && sandbox.try_recv().is_err()
        );

        state.send(vec![event(account, JobId::new(), "job.failed"), event(account, job, "image.erased")]);
        assert_eq!(one.try_recv().unwrap().kind, "image.erased");
        assert_eq!(all.try_recv().unwrap().kind, "job.failed");
        assert!(
            matches!(all.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)),
            "its second event found no room"
        );
        assert_eq!(state.listeners.len(), 2);
    }
}
