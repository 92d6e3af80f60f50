//! From Postgres to the broker: doorbells in fair order, replies, events for the results exchange. Also the sweeper,
//! which repairs what crashes left.

use std::time::Duration;

use futures_util::TryFutureExt as _;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::domain::webhook::{envelope, routing_key};
use crate::domain::work_queue::WorkQueue;
use crate::lifecycle::Lifecycle;
use crate::queue::connection::{Broker, Reconnect};
use crate::queue::message::Outgoing;
use crate::queue::publisher::Publisher;
use crate::store::event_tails::OrganisationEvent;
use crate::store::events::{Cursor, StoredEvent};
use crate::store::outbox::OutgoingReply;
use crate::store::parked::WorkLoop;
use crate::store::signals::Signal;
use crate::store::{self, Store};

/// How the relay paces itself.
#[derive(Debug, Clone, Copy)]
pub struct RelaySettings {
    /// Doorbells that may wait in a work queue. The rest of the backlog stays in Postgres, where it is shared fairly.
    /// The number is about four times what all workers prefetch.
    pub lane_depth: u32,
    /// After this time, ring again for a queued job that nobody claimed.
    pub patience: Duration,
    /// Time between sweeps.
    pub sweep_every: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { lane_depth: 48, patience: Duration::from_mins(2), sweep_every: Duration::from_secs(5) }
    }
}

/// How long an idle relay waits before it looks again, unless this process signals. A look costs one index scan.
const IDLE: Duration = Duration::from_millis(25);
/// The least time between the starts of two rounds, if the first found nothing. Under load, one round then takes
/// everything that came in this time.
const GAP: Duration = Duration::from_millis(10);
/// A round that takes longer hangs on a dead connection.
const ROUND: Duration = Duration::from_mins(1);
/// After an outage of the database the sweeper waits for this time. It is twice the longest pause between two tries of
/// a worker.
const GRACE: Duration = Duration::from_secs(10);
/// Replies published in one batch.
const REPLIES: i64 = 64;
/// Events published in one batch.
const RESULTS: i64 = 128;
/// The tail that holds how far the results exchange has come.
const TAIL: &str = "results";
/// Attempts for a reply, over about half an hour, before it is listed among the dead letters.
const REPLY_ATTEMPTS: i32 = 8;

/// What went wrong. The relay waits and continues.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Queue(#[from] crate::queue::Error),
    #[error("a round took too long")]
    Timeout,
}

impl Error {
    /// Whether our own database is at fault.
    fn is_outage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_outage(),
            Self::Queue(_) => false,
            Self::Timeout => true,
        }
    }
}

/// Starts the relay and the sweeper. Replies go to queues that producers made, so they have a connection of their own:
/// a producer's queue must not delay anybody's work.
pub fn start(store: &Store, broker: &Broker, settings: RelaySettings, life: &Lifecycle) {
    let (doorbells, replies, results) = (store.clone(), store.clone(), store.clone());
    life.spawn("relay of doorbells", {
        let publisher = Publisher::new(broker.clone(), "doorbells");
        let news = store.clone();
        let news = async move || news.signalled(Signal::Doorbell).await;
        rounds(life.clone(), publisher, news, async move |publisher: &mut Publisher| {
            ring_due(&doorbells, publisher, settings.lane_depth).await
        })
    });
    life.spawn("relay of replies", {
        let publisher = Publisher::new(broker.clone(), "replies");
        let news = store.clone();
        let news = async move || news.signalled(Signal::Reply).await;
        rounds(life.clone(), publisher, news, async move |publisher: &mut Publisher| {
            reply_due(&replies, publisher).await
        })
    });
    life.spawn("relay of results", {
        let publisher = Publisher::new(broker.clone(), "results");
        let (news, holder) = (store.clone(), Uuid::now_v7());
        let news = async move || news.signalled(Signal::Result).await;
        rounds(life.clone(), publisher, news, async move |publisher: &mut Publisher| {
            relay_results(&results, holder, publisher).await
        })
    });
    life.spawn("sweeper", sweeper(store.clone(), settings, life.clone()));
}

/// Runs rounds without a break while there is work, until the shutdown begins.
async fn rounds(
    life: Lifecycle,
    mut publisher: Publisher,
    news: impl AsyncFn(),
    round: impl AsyncFn(&mut Publisher) -> Result<usize, Error>,
) {
    let mut reconnect = Reconnect::default();
    while !life.stopping().is_cancelled() {
        let since = Instant::now();
        let result = tokio::select! {
            result = tokio::time::timeout(ROUND, connected(&mut publisher, &round)) => {
                result.unwrap_or(Err(Error::Timeout))
            }
            () = life.aborting().cancelled() => return,
        };
        let wait = match result {
            Ok(0) => {
                tokio::select! {
                    () = life.stopping().cancelled() => {}
                    () = news() => tokio::time::sleep_until(since + GAP).await,
                    () = tokio::time::sleep(IDLE) => {}
                }
                continue;
            }
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

/// Runs a round. It connects even if there is no work, because readiness is reported by whether we are connected.
async fn connected(
    publisher: &mut Publisher,
    round: &impl AsyncFn(&mut Publisher) -> Result<usize, Error>,
) -> Result<usize, Error> {
    publisher.connect().await?;
    round(publisher).await
}

/// Rings what is due, as far as the queues have room. Returns how many doorbells the broker took.
async fn ring_due(store: &Store, publisher: &mut Publisher, lane_depth: u32) -> Result<usize, Error> {
    let (mut rung, mut is_refused) = (0, false);
    for &queue in WorkQueue::ALL {
        if !store.has_due_doorbells(queue).await? {
            continue;
        }
        let room = lane_depth.saturating_sub(publisher.depth(queue).await?);
        if room == 0 {
            continue;
        }
        let doorbells = store.claim_doorbells(queue, i64::from(room)).await?;
        let ids: Vec<_> = doorbells.iter().map(|doorbell| doorbell.id).collect();
        let messages: Vec<_> =
            doorbells.iter().map(|doorbell| Outgoing::doorbell(doorbell.id, queue, doorbell.job_id)).collect();
        match publisher.publish_all(&messages).await {
            Ok(answers) => {
                let (confirmed, refused) = split(&ids, &answers);
                store.mark_published(&confirmed).await?;
                store.unclaim_doorbells(&refused).await?;
                is_refused |= !refused.is_empty();
                rung += confirmed.len();
            }
            Err(error) => {
                store.unclaim_doorbells(&ids).await?;
                return Err(error.into());
            }
        }
    }
    // A queue that refuses its doorbells keeps no other queue from getting its own.
    if is_refused { Err(crate::queue::Error::Nack.into()) } else { Ok(rung) }
}

/// Publishes the replies that are due. Returns how many the broker took.
async fn reply_due(store: &Store, publisher: &mut Publisher) -> Result<usize, Error> {
    let mut replies = store.claim_replies(REPLIES).await?;
    let (worn_out, due): (Vec<_>, Vec<_>) = replies.drain(..).partition(|reply| reply.attempt > REPLY_ATTEMPTS);
    for reply in worn_out {
        match store.bury_reply(&reply).await {
            Err(error) if error.is_of_item() => park_reply(store, &reply, &error.reason()).await?,
            buried => buried?,
        }
    }
    let (mut ids, mut messages) = (Vec::with_capacity(due.len()), Vec::with_capacity(due.len()));
    for reply in due {
        match message(&reply) {
            Some(message) => {
                ids.push(reply.id);
                messages.push(message);
            }
            None => park_reply(store, &reply, "it is too long for a message").await?,
        }
    }
    if ids.is_empty() {
        return Ok(0);
    }
    if let Err(error) = publisher.connect().await {
        store.unclaim_replies(&ids).await?;
        return Err(error.into());
    }
    let confirmed = match publisher.publish_all(&messages).await {
        Ok(answers) => split(&ids, &answers).0,
        // One of them broke the connection. Sent alone, it breaks only its own. Refused ones wait for their next
        // attempt.
        Err(error) => {
            warn!(%error, "a batch of replies failed: publishing them one by one");
            let mut confirmed = Vec::new();
            for (at, (id, message)) in ids.iter().zip(&messages).enumerate() {
                match publish_alone(publisher, message).await {
                    Ok(Alone::Taken) => confirmed.push(*id),
                    Ok(Alone::Refused | Alone::Broken(_)) => {}
                    Err(error) => {
                        store.delete_replies(&confirmed).await?;
                        store.unclaim_replies(&ids[at..]).await?;
                        return Err(error);
                    }
                }
            }
            confirmed
        }
    };
    store.delete_replies(&confirmed).await?;
    Ok(confirmed.len())
}

async fn park_reply(store: &Store, reply: &OutgoingReply, reason: &str) -> Result<(), Error> {
    let tenant = reply.job.map(|(tenant, _)| tenant);
    Ok(store.park(WorkLoop::Replies, &reply.id.to_string(), tenant, reason).await?)
}

/// Publishes the events that came since the last round. Returns how many were read. An event may be published twice,
/// under the same id, but none is skipped.
async fn relay_results(store: &Store, holder: Uuid, publisher: &mut Publisher) -> Result<usize, Error> {
    let Some(from) = store.claim_tail(TAIL, holder).await? else { return Ok(0) };
    let outcome = publish_results(store, from, publisher).await;
    let reached = outcome.as_ref().map_or(from, |(_, reached)| *reached);
    store.release_tail(TAIL, holder, reached).await?;
    outcome.map(|(count, _)| count)
}

async fn publish_results(store: &Store, from: Cursor, publisher: &mut Publisher) -> Result<(usize, Cursor), Error> {
    let events = store.list_events(from, RESULTS).await?;
    let (count, reached) = (events.len(), events.last().map_or(from, |event| event.cursor));
    let results = store.name_organisations(events).await?;
    let mut messages = Vec::with_capacity(results.len());
    for result in &results {
        match result_message(result) {
            Some(message) => messages.push((&result.event, message)),
            None => pass_over(store, &result.event, "it cannot be read, or is too long for a message").await?,
        }
    }
    let refused = match publish(publisher, &messages).await {
        Ok(refused) => refused,
        // One of them broke the connection. Sent alone, it breaks only its own.
        Err(error) => {
            warn!(%error, "a batch of results failed: publishing them one by one");
            let mut refused = Vec::new();
            for (event, message) in messages {
                match publish_alone(publisher, &message).await? {
                    Alone::Taken => {}
                    Alone::Refused => refused.push((event, message)),
                    Alone::Broken(error) => {
                        let reason = format!("the broker works for others, but not for it: {error}");
                        pass_over(store, event, &reason).await?;
                    }
                }
            }
            refused
        }
    };
    if !refused.is_empty() {
        // A bound queue is full and refuses more. That must not stop everybody's results.
        let lost = publish(publisher, &refused).await?.len();
        if lost > 0 {
            warn!(lost, "results that a bound queue does not take were passed over");
        }
    }
    Ok((count, reached))
}

/// Publishes messages about events. Returns those that the broker refused.
async fn publish<'a>(
    publisher: &mut Publisher,
    messages: &[(&'a StoredEvent, Outgoing)],
) -> Result<Vec<(&'a StoredEvent, Outgoing)>, Error> {
    let bare: Vec<_> = messages.iter().map(|(_, message)| message.clone()).collect();
    let answers = publisher.publish_all(&bare).await?;
    Ok(messages.iter().zip(answers).filter(|(_, taken)| !taken).map(|(message, _)| message.clone()).collect())
}

/// What the broker did with a message that was sent alone.
enum Alone {
    Taken,
    Refused,
    /// It breaks the connection each time, and the broker works for other messages.
    Broken(crate::queue::Error),
}

/// Publishes one message, twice if need be.
///
/// # Errors
/// When the broker takes no other message either.
async fn publish_alone(publisher: &mut Publisher, message: &Outgoing) -> Result<Alone, Error> {
    for is_last in [false, true] {
        match publisher.publish_all(std::slice::from_ref(message)).await {
            Ok(answers) if answers == [true] => return Ok(Alone::Taken),
            Ok(_) => return Ok(Alone::Refused),
            Err(error) => {
                publisher.check().await?;
                if is_last {
                    return Ok(Alone::Broken(error));
                }
            }
        }
    }
    Ok(Alone::Refused)
}

async fn pass_over(store: &Store, event: &StoredEvent, reason: &str) -> Result<(), Error> {
    Ok(store.park(WorkLoop::Results, &event.id.to_string(), Some(event.account.tenant_id), reason).await?)
}

/// `None` if this version cannot read the event, or no message can hold it.
fn result_message(result: &OrganisationEvent) -> Option<Outgoing> {
    let event = &result.event;
    let data = event.data.as_ref()?;
    let key = routing_key(&result.organisation, &event.kind, data);
    Outgoing::result(event.id, &event.kind, &key, envelope(&event.kind, event.created_at, data))
}

fn message(reply: &OutgoingReply) -> Option<Outgoing> {
    let address = &reply.address;
    Outgoing::reply(reply.id, &reply.reply_type, &address.reply_to, address.correlation_id.as_deref(), &reply.payload)
}

/// Splits ids into those that the broker took and the others.
fn split(ids: &[Uuid], answers: &[bool]) -> (Vec<Uuid>, Vec<Uuid>) {
    let of = |wanted: bool| ids.iter().zip(answers).filter(|(_, taken)| **taken == wanted).map(|(id, _)| *id).collect();
    (of(true), of(false))
}

async fn sweeper(store: Store, settings: RelaySettings, life: Lifecycle) {
    let mut ticks = tokio::time::interval(settings.sweep_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_out = false;
    loop {
        tokio::select! {
            () = life.stopping().cancelled() => return,
            _ = ticks.tick() => {}
        }
        if is_out {
            if store.find_last_cursor().await.is_err() {
                continue;
            }
            // No worker could renew its lease either. They first record what they have, so no attempt is charged.
            tokio::select! {
                () = life.stopping().cancelled() => return,
                () = tokio::time::sleep(GRACE) => is_out = false,
            }
        }
        let sweep = tokio::time::timeout(ROUND, store.sweep(settings.patience).map_err(Error::from));
        let swept = tokio::select! {
            swept = sweep => swept.unwrap_or(Err(Error::Timeout)),
            () = life.aborting().cancelled() => return,
        };
        match swept {
            Ok(swept) if swept == store::sweep::Swept::default() => debug!("nothing to sweep"),
            Ok(swept) => info!(revived = swept.revived, failed = swept.failed, rung = swept.rung, "swept"),
            Err(error) => {
                is_out = error.is_outage();
                warn!(%error, "sweep failed");
            }
        }
    }
}
