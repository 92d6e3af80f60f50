//! What changes while a page is open, as server-sent events: who has which case, and where it stands.

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
use super::session::{Glance, Session};
use crate::domain::review::{Reviewer, ReviewerId};
use crate::lifecycle::Lifecycle;
use crate::store::cases::CaseChange;
use crate::store::events::Cursor;
use crate::store::signals::Signal;
use crate::store::{self, Store};

/// Between looks for what other processes did.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks, at least.
const GAP: Duration = Duration::from_millis(25);
/// For the database.
const PATIENCE: Duration = Duration::from_secs(5);
/// Changes that are read at once.
const PAGE: i64 = 500;
/// Changes that a slow page may lie behind; then its stream ends, and it begins anew.
const BEHIND: usize = 1024;
/// Pages that listen to one process.
const MOST: usize = 1000;
/// Pages of one reviewer among them.
const MOST_OF_ONE: usize = 16;
/// Between looks whether the reviewer is still signed in.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// Between two signs of life: well below what proxies take for an end.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends by then and the page asks anew: so that nobody listens longer than their session lives.
const LIFETIME: Duration = Duration::from_mins(5);

/// Everybody's changes, for whoever listens.
#[derive(Clone)]
pub(super) struct Live {
    changes: broadcast::Sender<Arc<CaseChange>>,
    places: Arc<Semaphore>,
    pages: Arc<Mutex<HashMap<ReviewerId, usize>>>,
    stopping: CancellationToken,
}

/// A page's place among those of its reviewer; dropping it gives it up.
struct OwnPlace(Arc<Mutex<HashMap<ReviewerId, usize>>>, ReviewerId);

impl OwnPlace {
    fn take(pages: &Arc<Mutex<HashMap<ReviewerId, usize>>>, who: ReviewerId) -> Option<Self> {
        let mut counts = pages.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(who).or_default();
        (*count < MOST_OF_ONE).then(|| {
            *count += 1;
            Self(Arc::clone(pages), who)
        })
    }
}

impl Drop for OwnPlace {
    fn drop(&mut self) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

impl Live {
    pub(super) fn start(store: Store, life: &Lifecycle) -> Self {
        let (changes, places, pages) = (broadcast::channel(BEHIND).0, Arc::new(Semaphore::new(MOST)), Arc::default());
        let updates = Self { changes, places, pages, stopping: life.stopping().clone() };
        life.spawn("desk's live updates", updates.clone().look(store));
        updates
    }

    async fn look(self, store: Store) {
        let mut from = None;
        loop {
            let since = Instant::now();
            let heard = self.changes.receiver_count() > 0;
            match tokio::time::timeout(PATIENCE, self.read(&store, from.filter(|_| heard))).await {
                Ok(Ok(read_to)) => from = Some(read_to),
                Ok(Err(error)) => warn!(%error, "the desk's live updates: the database does not answer"),
                Err(_) => warn!("the desk's live updates: the database does not answer"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = store.signalled(Signal::Case) => tokio::time::sleep_until(since + GAP).await,
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Tells what changed behind that place; without one, begins behind all that there is.
    async fn read(&self, store: &Store, from: Option<Cursor>) -> Result<Cursor, store::Error> {
        let Some(mut from) = from else { return store.find_last_cursor().await };
        loop {
            let changes = store.list_case_changes(from, PAGE).await?;
            let is_full = i64::try_from(changes.len()).is_ok_and(|it| it == PAGE);
            for change in changes {
                from = change.cursor;
                // Nobody may listen any more.
                let _ = self.changes.send(Arc::new(change));
            }
            if !is_full {
                return Ok(from);
            }
        }
    }
}

struct Listening {
    changes: broadcast::Receiver<Arc<CaseChange>>,
    until: Instant,
    check_at: Instant,
    desk: Desk,
    session: Session,
    _places: (OwnedSemaphorePermit, OwnPlace),
}

pub(super) async fn listen(
    State(desk): State<Desk>,
    Glance(session): Glance,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, DeskError> {
    let live = &desk.0.updates;
    let place = Arc::clone(&live.places).try_acquire_owned().map_err(|_| DeskError::Busy)?;
    let own = OwnPlace::take(&live.pages, session.reviewer().id).ok_or(DeskError::Busy)?;
    let (changes, now) = (live.changes.subscribe(), Instant::now());
    let (until, check_at, desk) = (now + LIFETIME, now + CHECK_EVERY, desk.clone());
    let listening = Listening { changes, until, check_at, desk, session, _places: (place, own) };
    let hello = stream::iter([Ok(Event::default().event("hello").data("{}").retry(Duration::from_secs(2)))]);
    let events = stream::unfold(listening, |mut it| async { it.next().await.map(|event| (Ok(event), it)) });
    Ok(Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

impl Listening {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change.ok()?,
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep_until(self.check_at) => {
                    self.desk.0.store.find_session(&self.session.hmac(), false).await.ok()??;
                    self.check_at = Instant::now() + CHECK_EVERY;
                    continue;
                }
                () = self.desk.0.updates.stopping.cancelled() => return None,
            };
            if change.account == self.session.reviewer().account {
                return Some(told(&change, self.session.reviewer()));
            }
        }
    }
}

fn told(change: &CaseChange, reader: &Reviewer) -> Event {
    let data = json!({
        "id": change.job_id,
        "state": change.state.name(),
        "state_words": change.state.words(),
        "holder": change.holder.as_ref().map(|(_, name)| name),
        "mine": change.holder.as_ref().is_some_and(|(id, _)| *id == reader.id),
    });
    Event::default().event("case").data(data.to_string())
}
