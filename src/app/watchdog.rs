//! Watches what a process cannot see in any single call: connections with the database that serve nobody, and foreign
//! transactions that hold the event streams back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::lifecycle::Lifecycle;
use crate::store::Store;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Nobody got a connection for this time, although somebody waited. It is longer than any statement may take.
pub(crate) const STUCK: Duration = Duration::from_secs(30);
/// Time for the pool to serve somebody after a connection beside it was made.
const LAST_CHANCE: Duration = Duration::from_secs(5);
/// Readers of events that lag behind by this much are worth a line in the log.
const HELD_BACK: Duration = Duration::from_mins(1);
/// Looks between two such lines.
const LOOKS_A_LINE: u32 = 12;

/// Starts the watchdog. If the pool serves nobody while Postgres accepts new connections, the process must end: the
/// token says so, and the shutdown has begun. With `watches_events`, also warns of transactions that stay open.
pub(super) fn start(store: &Store, life: &Lifecycle, watches_events: bool) -> CancellationToken {
    let stuck = CancellationToken::new();
    let (store, watched, token) = (store.clone(), life.clone(), stuck.clone());
    life.spawn("watchdog", async move {
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                () = watched.stopping().cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            if is_stuck(&store).await {
                error!("the connections with the database serve nobody, but new ones work: ending this process");
                token.cancel();
                watched.stop();
                return;
            }
            if watches_events && looks.is_multiple_of(LOOKS_A_LINE) {
                warn_of_holds(&store).await;
            }
            looks = looks.wrapping_add(1);
        }
    });
    stuck
}

async fn is_stuck(store: &Store) -> bool {
    if store.unserved_for() < STUCK || store.check_connecting().await.is_err() {
        return false;
    }
    // The database may have come back just now.
    tokio::time::sleep(LAST_CHANCE).await;
    store.unserved_for() >= STUCK
}

async fn warn_of_holds(store: &Store) {
    match store.find_event_hold(HELD_BACK).await {
        Ok(Some(hold)) => warn!(
            pid = hold.pid,
            application = hold.application,
            open_s = hold.open_for.map(|time| time.as_secs()),
            events_wait_s = hold.events_wait.as_secs(),
            "an open transaction holds back event streams and the results exchange: end it"
        ),
        Ok(None) => {}
        Err(error) => warn!(%error, "it is not known whether a transaction holds events back"),
    }
}
