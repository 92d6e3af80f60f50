//! The dispatcher: claims what is due in fair order, makes attempts side by side, and records them together.
//!
//! Whoever is slow or dead holds few places: an endpoint has a pace of its own, and all to which nothing arrives share a
//! quarter of the places.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::attempt::attempt;
use super::endpoints;
use super::pace::{FIRST, Pace};
use super::signature::Keys;
use crate::domain::ids::EndpointId;
use crate::keys::Keyring;
use crate::lifecycle::Lifecycle;
use crate::net::Client;
use crate::store::deliveries::{AfterAttempt, Attempt, ClaimLimits, DueDelivery};
use crate::store::signals::Signal;
use crate::store::{self, Store};

/// How the dispatcher works.
#[derive(Debug, Clone, Copy)]
pub struct DispatcherSettings {
    /// Attempts at once.
    pub places: NonZeroU32,
    /// For one attempt, from the name's look-up to the answer's end.
    pub timeout: Duration,
}

impl Default for DispatcherSettings {
    fn default() -> Self {
        let places = NonZeroU32::MIN.saturating_add(255);
        Self { places, timeout: Duration::from_secs(15) }
    }
}

/// Between two looks, when nothing is in hand: deliveries are written by other processes too.
const IDLE: Duration = Duration::from_millis(50);
/// Between the starts of two rounds, when a commit of this process is heard of: one round takes what came in this time.
const GAP: Duration = Duration::from_millis(10);
/// After a round that the database failed.
const TROUBLE: Duration = Duration::from_secs(1);
/// An answer of the database.
const PATIENCE: Duration = Duration::from_secs(35);
/// Beyond an attempt's own time, until another dispatcher may make it.
const LEASE_MARGIN: Duration = Duration::from_secs(45);
/// Deliveries to disabled endpoints that one round gives up.
const GIVEN_UP: i64 = 1000;
/// An answer that takes longer makes an endpoint no faster, whatever it says.
const SLOW: Duration = Duration::from_secs(5);
/// What is known of an endpoint that nobody calls is forgotten.
const FORGET: Duration = Duration::from_mins(10);

/// An attempt that ended, and whether it took a place of those that fail.
struct Ended {
    attempt: Attempt,
    failing: bool,
}

/// Brings deliveries out.
pub struct Dispatcher {
    store: Store,
    keyring: Arc<Keyring>,
    client: Client,
    settings: DispatcherSettings,
    paces: HashMap<EndpointId, Pace>,
    running: JoinSet<Ended>,
    /// Of those running.
    failing: u32,
    /// Ended, and not recorded yet.
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

    /// Works until the shutdown begins, and then ends what was begun.
    pub fn start(self, life: &Lifecycle) {
        let aborting = life.aborting().clone();
        let work = self.work(life.clone());
        life.spawn("dispatcher of webhooks", async move {
            tokio::select! {
                () = work => {}
                // What is in flight comes back when its lease runs out.
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

    /// Records what ended and begins what is due.
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
            // Something is due, and may be of an endpoint that is disabled.
            self.store.give_up_disabled(GIVEN_UP).await?;
        }
        self.begin(due).await
    }

    async fn begin(&mut self, due: Vec<DueDelivery>) -> Result<(), store::Error> {
        if due.is_empty() {
            return Ok(());
        }
        let mut endpoints: Vec<_> = due.iter().map(|it| it.endpoint_id).collect();
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
                Err(error) => error!(%error, %endpoint, "a webhook secret cannot be used"),
            }
        }
        let keys: HashMap<EndpointId, Arc<[Keys]>> = opened.into_iter().map(|(id, keys)| (id, keys.into())).collect();
        let now = Instant::now();
        for due in due {
            let rate = due.rate_limit.and_then(|it| u32::try_from(it).ok());
            let pace = self.paces.entry(due.endpoint_id).or_insert_with(|| Pace::new(due.failing, rate, now));
            pace.begin(rate, now);
            let failing = due.failing;
            self.failing += u32::from(failing);
            let (client, timeout) = (self.client.clone(), self.settings.timeout);
            let keys = keys.get(&due.endpoint_id).cloned().unwrap_or_default();
            self.running.spawn(async move { Ended { attempt: attempt(&client, due, &keys, timeout).await, failing } });
        }
        Ok(())
    }

    fn end(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended { attempt, failing } = match ended {
            Ok(ended) => ended,
            // Nobody aborts any. A panic is the dispatcher's own: the process stops in good order.
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
        for it in self.ended.drain(..).filter(|it| it.next == AfterAttempt::Gone || it.next == AfterAttempt::Failed) {
            info!(event = %it.event_id, endpoint = %it.endpoint_id, "a delivery was given up");
        }
        Ok(())
    }
}
