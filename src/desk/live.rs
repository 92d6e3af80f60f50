//! Live updates of open pages, as server-sent events: each case's holder and state when they change.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Desk;
use super::error::DeskError;
use super::session::{BackgroundSession, Session};
use crate::domain::review::{Reviewer, ReviewerId};
use crate::lifecycle::Lifecycle;
use crate::store::cases::CaseChange;
use crate::store::events::Cursor;
use crate::store::signals::Signal;
use crate::store::{self, Store};

/// Time between two reads of the database, which show what other processes changed.
const READ_EVERY: Duration = Duration::from_millis(500);
/// Time between two reads at least, when changes of this process trigger them.
const READ_GAP: Duration = Duration::from_millis(25);
/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Changes in one read.
const READ_CHANGES: i64 = 500;
/// Changes that a slow page may lag behind. Beyond that its stream ends, and the page connects again.
const MAX_LAG: usize = 1024;
/// Pages that may listen to one process.
const MAX_PAGES: usize = 1000;
/// Pages among them that one reviewer may have open.
const MAX_PAGES_PER_REVIEWER: usize = 16;
/// Time between two checks whether the reviewer is still signed in.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// Time between two keep-alive comments. Proxies close connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A stream ends after this time and the page connects again, so that no stream outlives its session for long.
const STREAM_LIFETIME: Duration = Duration::from_mins(5);

type PageCounts = Arc<Mutex<HashMap<ReviewerId, usize>>>;

/// All changes of cases, for every page that listens.
#[derive(Clone)]
pub(super) struct LiveUpdates {
    changes: broadcast::Sender<Arc<CaseChange>>,
    slots: Arc<Semaphore>,
    pages: PageCounts,
    stopping: CancellationToken,
}

/// One of the pages that a reviewer may have open. Dropping it frees the slot.
struct PageSlot {
    pages: PageCounts,
    reviewer: ReviewerId,
}

impl PageSlot {
    fn take(pages: &PageCounts, reviewer: ReviewerId) -> Option<Self> {
        let mut counts = pages.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(reviewer).or_default();
        (*count < MAX_PAGES_PER_REVIEWER).then(|| {
            *count += 1;
            Self { pages: Arc::clone(pages), reviewer }
        })
    }
}

impl Drop for PageSlot {
    fn drop(&mut self) {
        let mut counts = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.reviewer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.reviewer);
            }
        }
    }
}

impl LiveUpdates {
    pub(super) fn start(store: Store, life: &Lifecycle) -> Self {
        let (changes, slots) = (broadcast::channel(MAX_LAG).0, Arc::new(Semaphore::new(MAX_PAGES)));
        let updates = Self { changes, slots, pages: PageCounts::default(), stopping: life.stopping().clone() };
        life.spawn("desk's live updates", updates.clone().run(store));
        updates
    }

    async fn run(self, store: Store) {
        let mut from = None;
        loop {
            let since = Instant::now();
            let has_listeners = self.changes.receiver_count() > 0;
            match tokio::time::timeout(READ_TIMEOUT, self.read(&store, from.filter(|_| has_listeners))).await {
                Ok(Ok(read_to)) => from = Some(read_to),
                Ok(Err(error)) => warn!(%error, "the database did not answer the desk's live updates"),
                Err(_) => warn!("the database did not answer the desk's live updates in time"),
            }
            tokio::select! {
                () = tokio::time::sleep(READ_EVERY) => {}
                () = store.signalled(Signal::Case) => tokio::time::sleep_until(since + READ_GAP).await,
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Sends on every change after the cursor. Without a cursor it starts after the latest change.
    async fn read(&self, store: &Store, from: Option<Cursor>) -> Result<Cursor, store::Error> {
        let Some(mut from) = from else { return store.find_last_cursor().await };
        loop {
            let changes = store.list_case_changes(from, READ_CHANGES).await?;
            let is_full = i64::try_from(changes.len()).is_ok_and(|read| read == READ_CHANGES);
            for change in changes {
                from = change.cursor;
                // An error only means that no page listens any more.
                let _ = self.changes.send(Arc::new(change));
            }
            if !is_full {
                return Ok(from);
            }
        }
    }
}

/// One page's stream.
struct PageListener {
    changes: broadcast::Receiver<Arc<CaseChange>>,
    ends_at: Instant,
    check_at: Instant,
    desk: Desk,
    session: Session,
    _slots: (OwnedSemaphorePermit, PageSlot),
}

pub(super) async fn listen(
    State(desk): State<Desk>,
    BackgroundSession(session): BackgroundSession,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, DeskError> {
    let live = &desk.0.live;
    let slot = Arc::clone(&live.slots).try_acquire_owned().map_err(|_| DeskError::Busy)?;
    let own_slot = PageSlot::take(&live.pages, session.reviewer().id).ok_or(DeskError::Busy)?;
    let (changes, now) = (live.changes.subscribe(), Instant::now());
    let (ends_at, check_at, desk) = (now + STREAM_LIFETIME, now + CHECK_EVERY, desk.clone());
    let listener = PageListener { changes, ends_at, check_at, desk, session, _slots: (slot, own_slot) };
    let hello = stream::iter([Ok(Event::default().event("hello").data("{}").retry(Duration::from_secs(2)))]);
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Ok(Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl PageListener {
    /// The next change that the reviewer may see; `None` when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change.ok()?,
                () = tokio::time::sleep_until(self.ends_at) => return None,
                () = tokio::time::sleep_until(self.check_at) => {
                    self.desk.0.store.find_session(&self.session.hmac(), false).await.ok()??;
                    self.check_at = Instant::now() + CHECK_EVERY;
                    continue;
                }
                () = self.desk.0.live.stopping.cancelled() => return None,
            };
            if change.account == self.session.reviewer().account {
                return Some(case_event(&change, self.session.reviewer()));
            }
        }
    }
}

fn case_event(change: &CaseChange, reader: &Reviewer) -> Event {
    let data = json!({
        "id": change.job_id,
        "state": change.state.name(),
        "state_words": change.state.words(),
        "holder": change.holder.as_ref().map(|(_, name)| name),
        "mine": change.holder.as_ref().is_some_and(|(id, _)| *id == reader.id),
    });
    Event::default().event("case").data(data.to_string())
}
