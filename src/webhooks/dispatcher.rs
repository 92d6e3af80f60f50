//! The dispatcher: claims due deliveries in fair order, attempts many at the same time, and records the results
//! together.
//!
//! Slow or dead endpoints hold only a few places. Each endpoint has its own pace, and all endpoints that fail share a
//! quarter of the places.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::attempt::attempt;
use super::endpoints;
use super::pace::{FIRST, Pace};
use super::signature::Keys;
use crate::domain::ids::EndpointId;
use crate::keys::Keyring;
use crate::lifecycle::Lifecycle;
use crate::net::Client;
use crate::store::deliveries::{AfterAttempt, Attempt, ClaimLimits, DueDelivery};
use crate::store::parked::WorkLoop;
use crate::store::signals::Signal;
use crate::store::{self, Store};

/// Settings of the dispatcher.
#[derive(Debug, Clone, Copy)]
pub struct DispatcherSettings {
    /// Attempts at the same time.
    pub places: NonZeroU32,
    /// Time limit of one attempt, from the DNS query to the end of the answer.
    pub timeout: Duration,
}

impl Default for DispatcherSettings {
    fn default() -> Self {
        let places = NonZeroU32::MIN.saturating_add(255);
        Self { places, timeout: Duration::from_secs(15) }
    }
}

/// Between two rounds when nothing is running: other processes write deliveries too.
const IDLE: Duration = Duration::from_millis(50);
/// Between the starts of two rounds when this process commits deliveries: one round takes all of this time.
const GAP: Duration = Duration::from_millis(10);
/// Pause after a round in which the database failed.
const TROUBLE: Duration = Duration::from_secs(1);
/// Time limit of a round in the database.
const PATIENCE: Duration = Duration::from_secs(35);
/// Added to the time limit of an attempt, until another dispatcher may repeat the attempt.
const LEASE_MARGIN: Duration = Duration::from_secs(45);
/// The most deliveries to disabled endpoints that one round gives up.
const GIVEN_UP: i64 = 1000;
/// An answer that takes longer does not raise the pace of its endpoint, even if it is a success.
const SLOW: Duration = Duration::from_secs(5);
/// The pace of an endpoint is forgotten after this time without an attempt.
const FORGET: Duration = Duration::from_mins(10);

/// An attempt that has ended.
struct EndedAttempt {
    attempt: Attempt,
    /// Whether it held one of the places for failing endpoints.
    failing: bool,
}

/// Delivers events to endpoints.
pub struct Dispatcher {
    store: Store,
    keyring: Arc<Keyring>,
    client: Client,
    settings: DispatcherSettings,
    paces: HashMap<EndpointId, Pace>,
    running: JoinSet<EndedAttempt>,
    /// How many of the running attempts are to failing endpoints.
    failing: u32,
    /// Attempts that have ended and are not recorded yet.
    ended: Vec<Attempt>,
}

impl Dispatcher {
    #[must_use]
    pub fn new(store: Store, keyring: Arc<Keyring>, client: Client, settings: DispatcherSettings) -> Self {
        Self {
            store,
            keyring,
            client,
            settings,
            paces: HashMap::new(),
            running: JoinSet::new(),
            failing: 0,
            ended: Vec::new(),
        }
    }

    /// Works until the shutdown begins, then finishes the running attempts.
    pub fn start(self, life: &Lifecycle) {
        let aborting = life.aborting().clone();
        let work = self.work(life.clone());
        life.spawn("dispatcher of webhooks", async move {
            tokio::select! {
                () = work => {}
                // Running attempts are repeated when their lease runs out.
                () = aborting.cancelled() => {}
            }
        });
    }

    async fn work(mut self, life: Lifecycle) {
        let store = self.store.clone();
        while !life.stopping().is_cancelled() {
            let since = tokio::time::Instant::now();
            let wait = match tokio::time::timeout(PATIENCE, self.round()).await {
                Ok(Ok(())) => IDLE,
                Ok(Err(error)) => {
                    warn!(%error, "webhooks: the database failed a round");
                    TROUBLE
                }
                Err(_) => {
                    warn!("webhooks: the database does not answer");
                    TROUBLE
                }
            };
            tokio::select! {
                () = life.stopping().cancelled() => {}
                Some(ended) = self.running.join_next() => self.end(ended),
                () = store.signalled(Signal::Delivery), if wait == IDLE => tokio::time::sleep_until(since + GAP).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
        while let Some(ended) = self.running.join_next().await {
            self.end(ended);
        }
        if let Err(error) = self.record().await {
            warn!(%error, "webhooks: the last attempts were not recorded and will be made again");
        }
    }

    /// Records attempts that have ended and starts those that are due.
    async fn round(&mut self) -> Result<(), store::Error> {
        while let Some(ended) = self.running.try_join_next() {
            self.end(ended);
        }
        self.record().await?;
        let places = self.settings.places.get();
        let free = places.saturating_sub(u32::try_from(self.running.len()).unwrap_or(u32::MAX));
        if free == 0 || !self.store.has_due_deliveries().await? {
            return Ok(());
        }
        let now = Instant::now();
        self.paces.retain(|_, pace| !pace.is_idle(now, FORGET));
        let known = self.paces.iter_mut().map(|(id, pace)| (*id, i32::try_from(pace.room(now)).unwrap_or(i32::MAX)));
        let room = ClaimLimits {
            all: i64::from(free),
            failing: i64::from((places / 4).max(1).saturating_sub(self.failing)),
            known: &known.collect::<Vec<_>>(),
            unknown: FIRST,
        };
        let due = self.store.claim_deliveries(&room, self.settings.timeout + LEASE_MARGIN).await?;
        if due.is_empty() {
            // Something is due but nothing could be claimed: it may belong to a disabled endpoint.
            self.store.give_up_disabled(GIVEN_UP).await?;
        }
        self.begin(due).await
    }

    async fn begin(&mut self, due: Vec<DueDelivery>) -> Result<(), store::Error> {
        if due.is_empty() {
            return Ok(());
        }
        let mut endpoints: Vec<_> = due.iter().map(|delivery| delivery.endpoint_id).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        let secrets = match self.store.list_secrets(&endpoints).await {
            Ok(secrets) => secrets,
            Err(error) => {
                self.store.unclaim_deliveries(&due).await?;
                return Err(error);
            }
        };
        let mut opened: HashMap<EndpointId, Vec<Keys>> = HashMap::new();
        for secret in secrets {
            let endpoint = secret.endpoint_id;
            match endpoints::open(&self.keyring, secret) {
                Ok(found) => opened.entry(endpoint).or_default().push(found),
                Err(error) => debug!(%error, %endpoint, "a webhook secret cannot be used"),
            }
        }
        let keys: HashMap<EndpointId, Arc<[Keys]>> = opened.into_iter().map(|(id, keys)| (id, keys.into())).collect();
        let (due, unsigned): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|delivery| keys.contains_key(&delivery.endpoint_id));
        // Our fault, not the receiver's: no attempt is charged, and the endpoint is not disabled for it.
        for endpoint in endpoints.iter().filter(|endpoint| !keys.contains_key(endpoint)) {
            let reason = "none of its secrets can be opened with the master keys of this process";
            self.store.park(WorkLoop::Webhooks, &endpoint.to_string(), None, reason).await?;
        }
        if !unsigned.is_empty() {
            self.store.unclaim_deliveries(&unsigned).await?;
        }
        let now = Instant::now();
        for due in due {
            let rate = due.rate_limit.and_then(|rate| u32::try_from(rate).ok());
            let pace = self.paces.entry(due.endpoint_id).or_insert_with(|| Pace::new(due.failing, rate, now));
            pace.begin(rate, now);
            let failing = due.failing;
            self.failing += u32::from(failing);
            let (client, timeout) = (self.client.clone(), self.settings.timeout);
            let keys = keys.get(&due.endpoint_id).cloned().unwrap_or_default();
            self.running
                .spawn(async move { EndedAttempt { attempt: attempt(&client, due, &keys, timeout).await, failing } });
        }
        Ok(())
    }

    fn end(&mut self, ended: Result<EndedAttempt, tokio::task::JoinError>) {
        let EndedAttempt { attempt, failing } = match ended {
            Ok(ended) => ended,
            // Attempts are never aborted, so it panicked. Panicking here too stops the process in an orderly way.
            Err(fault) => std::panic::resume_unwind(fault.into_panic()),
        };
        self.failing -= u32::from(failing);
        if let Some(pace) = self.paces.get_mut(&attempt.endpoint_id) {
            pace.end(attempt.next == AfterAttempt::Delivered && attempt.duration < SLOW);
        }
        self.ended.push(attempt);
    }

    async fn record(&mut self) -> Result<(), store::Error> {
        if self.ended.is_empty() {
            return Ok(());
        }
        self.store.record_attempts(&self.ended).await?;
        let is_final = |next| next == AfterAttempt::Gone || next == AfterAttempt::Failed;
        for attempt in self.ended.drain(..).filter(|attempt| is_final(attempt.next)) {
            info!(event = %attempt.event_id, endpoint = %attempt.endpoint_id, "a delivery was given up");
        }
        Ok(())
    }
}
