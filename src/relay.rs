//! From the outbox to the broker: doorbells in fair order, replies, and the sweeper that mends what crashes left.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::domain::job::Lane;
use crate::lifecycle::Lifecycle;
use crate::queue::connection::{Broker, Reconnect};
use crate::queue::message::Outgoing;
use crate::queue::publisher::Publisher;
use crate::store::{self, Store};

/// How the relay paces itself.
#[derive(Debug, Clone, Copy)]
pub struct RelaySettings {
    /// Doorbells that may wait in a lane's queue; the rest of the backlog stays in Postgres, where it is shared fairly.
    /// About four times what all workers prefetch.
    pub lane_depth: u32,
    /// Ring again for a queued job that nobody claimed in this time.
    pub patience: Duration,
    /// Between sweeps.
    pub sweep_every: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { lane_depth: 48, patience: Duration::from_mins(2), sweep_every: Duration::from_secs(5) }
    }
}

/// How long an idle relay waits before it looks again. NOTIFY would serialise every commit; a look costs an index scan.
const IDLE: Duration = Duration::from_millis(25);
/// Replies published at once.
const REPLIES: i64 = 256;

/// What went wrong; the relay waits and goes on.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Queue(#[from] crate::queue::Error),
}

/// Starts the relay and the sweeper.
pub fn start(store: &Store, broker: &Broker, settings: RelaySettings, life: &Lifecycle) {
    life.spawn("relay", relay(store.clone(), broker.clone(), settings, life.clone()));
    life.spawn("sweeper", sweeper(store.clone(), settings, life.clone()));
}

async fn relay(store: Store, broker: Broker, settings: RelaySettings, life: Lifecycle) {
    let mut publisher = Publisher::new(broker, "relay");
    let mut reconnect = Reconnect::default();
    while !life.stopping().is_cancelled() {
        let wait = match publish_due(&store, &mut publisher, settings.lane_depth).await {
            Ok(0) => IDLE,
            Ok(_) => {
                reconnect.reset();
                continue;
            }
            Err(error) => {
                let wait = reconnect.next_wait();
                warn!(%error, wait_ms = wait.as_millis(), "relay: not published yet");
                wait
            }
        };
        tokio::select! {
            () = life.stopping().cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    publisher.close().await;
}

/// One round; says how many messages the broker took.
async fn publish_due(store: &Store, publisher: &mut Publisher, lane_depth: u32) -> Result<usize, Error> {
    let replies = store.claim_replies(REPLIES).await?;
    let messages: Vec<_> = replies
        .iter()
        .map(|reply| {
            let kind = reply_type(&reply.kind, &reply.payload);
            let address = &reply.address;
            let correlation_id = address.correlation_id.as_deref();
            Outgoing::reply(reply.id, kind, &address.reply_to, correlation_id, &reply.payload)
        })
        .collect();
    let ids: Vec<_> = replies.iter().map(|reply| reply.id).collect();
    let confirmed = publish(store, publisher, &ids, &messages).await?;
    store.delete_replies(&confirmed).await?;
    let mut sent = confirmed.len();

    for lane in Lane::ALL {
        if !store.has_due_doorbells(lane).await? {
            continue;
        }
        let room = lane_depth.saturating_sub(publisher.depth(lane).await?);
        let doorbells = store.claim_doorbells(lane, i64::from(room)).await?;
        let messages: Vec<_> =
            doorbells.iter().map(|doorbell| Outgoing::doorbell(doorbell.id, lane, doorbell.job_id)).collect();
        let ids: Vec<_> = doorbells.iter().map(|doorbell| doorbell.id).collect();
        let confirmed = publish(store, publisher, &ids, &messages).await?;
        store.mark_published(&confirmed).await?;
        sent += confirmed.len();
    }
    Ok(sent)
}

/// Publishes and says which of `ids` the broker has; the others are due again at once.
async fn publish(
    store: &Store,
    publisher: &mut Publisher,
    ids: &[uuid::Uuid],
    messages: &[Outgoing],
) -> Result<Vec<uuid::Uuid>, Error> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let answers = match publisher.publish_all(messages).await {
        Ok(answers) => answers,
        Err(error) => {
            store.unclaim(ids).await?;
            return Err(error.into());
        }
    };
    let split = |wanted: bool| -> Vec<_> {
        ids.iter().zip(&answers).filter(|(_, answer)| **answer == wanted).map(|(id, _)| *id).collect()
    };
    let (confirmed, refused) = (split(true), split(false));
    if !refused.is_empty() {
        store.unclaim(&refused).await?;
        return if confirmed.is_empty() { Err(crate::queue::Error::Nack.into()) } else { Ok(confirmed) };
    }
    Ok(confirmed)
}

/// The `type` property that a producer sees.
fn reply_type(kind: &str, payload: &serde_json::Value) -> &'static str {
    match kind {
        "reply_accepted" => "accepted",
        "reply_rejected" => "rejected",
        _ if payload["state"] == "failed" => "failed",
        _ => "completed",
    }
}

async fn sweeper(store: Store, settings: RelaySettings, life: Lifecycle) {
    let mut ticks = tokio::time::interval(settings.sweep_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = life.stopping().cancelled() => return,
            _ = ticks.tick() => {}
        }
        match store.sweep(settings.patience).await {
            Ok(swept) if swept == store::sweep::Swept::default() => debug!("nothing to sweep"),
            Ok(swept) => info!(revived = swept.revived, failed = swept.failed, rung = swept.rung, "swept"),
            Err(error) => warn!(%error, "sweep failed"),
        }
    }
}
