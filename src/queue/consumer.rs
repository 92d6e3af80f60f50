//! Consuming under a supervisor: whatever breaks, connection, channel and consumer are built again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::connection::{Broker, Reconnect};
use super::{Error, within};
use crate::lifecycle::Lifecycle;

/// What a queue's message says, as its handler sees it.
pub struct Incoming {
    pub body: Bytes,
    /// The user that published it, as validated by the broker.
    pub user_id: Option<String>,
    pub message_id: Option<String>,
    pub reply_to: Option<String>,
    pub correlation_id: Option<String>,
    /// The exchange it was published to last.
    pub exchange: String,
    /// For a dead letter: the queue that gave up on it first, and why.
    pub first_death: Option<(String, String)>,
    /// Cancelled when the session that brought the message is lost: the broker will deliver it again.
    pub lost: CancellationToken,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Dealt with.
    Ack,
    /// Not dealt with: somebody else shall.
    Requeue,
}

/// Consumes `queue` until the shutdown begins, at most `prefetch` messages in hand, and returns when all of those are
/// settled. A handler that panics settles its message all the same: the state is in Postgres, not in the queue.
pub async fn consume<H, F>(broker: Broker, queue: &'static str, prefetch: u16, life: Lifecycle, handler: H)
where
    H: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Settle> + Send + 'static,
{
    let mut reconnect = Reconnect::default();
    let mut careful = false;
    while !life.stopping().is_cancelled() {
        let settled = Arc::new(AtomicUsize::new(0));
        let in_hand = if careful { 1 } else { prefetch };
        let lost = CancellationToken::new();
        let session =
            session(&broker, queue, in_hand, careful, &life, handler.clone(), &settled, &lost, &mut reconnect);
        let ended = session.await;
        lost.cancel();
        match ended {
            Ok(SessionEnd::Stopping) => return,
            Ok(SessionEnd::Careful) => careful = false,
            Err(error) => {
                // Perhaps a message that no client can read (a property that is not UTF-8) cut the connection. One at a
                // time, only that message uses up its deliveries, and not its neighbours.
                careful = settled.load(Ordering::Relaxed) == 0;
                let wait = reconnect.next_wait();
                warn!(queue, %error, wait_ms = wait.as_millis(), "consumer lost: rebuilding");
                tokio::select! {
                    () = life.stopping().cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Why a session ended in good order.
enum SessionEnd {
    Stopping,
    /// Enough messages went well, one at a time: time for a session at full speed.
    Careful,
}

/// Messages that must go well, one at a time, after a session in which none did.
const CAREFUL_MESSAGES: usize = 16;

#[expect(clippy::too_many_arguments, reason = "a loop's body with a name, called once")]
async fn session<H, F>(
    broker: &Broker,
    queue: &'static str,
    prefetch: u16,
    careful: bool,
    life: &Lifecycle,
    handler: H,
    settled: &Arc<AtomicUsize>,
    lost: &CancellationToken,
    reconnect: &mut Reconnect,
) -> Result<SessionEnd, Error>
where
    H: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Settle> + Send + 'static,
{
    let link = broker.connect_declared(queue).await?;
    let channel = link.channel().await?;
    within("basic.qos", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    let tag = format!("{queue}-{}", uuid::Uuid::now_v7());
    let consume =
        channel.basic_consume(queue.into(), tag.as_str().into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = within("basic.consume", consume).await?;
    info!(queue, prefetch, "consuming");
    reconnect.reset();

    let permits = Arc::new(Semaphore::new(usize::from(prefetch)));
    let ended = loop {
        if careful && settled.load(Ordering::Relaxed) >= CAREFUL_MESSAGES {
            break SessionEnd::Careful;
        }
        let delivery = tokio::select! {
            biased;
            () = life.stopping().cancelled() => break SessionEnd::Stopping,
            delivery = consumer.next() => delivery,
        };
        let delivery = delivery.ok_or(Error::Cancelled)??;
        // The broker never has more than `prefetch` unsettled, so this does not wait for long.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break SessionEnd::Stopping };
        let (handler, settled, lost) = (handler.clone(), Arc::clone(settled), lost.clone());
        life.spawn("message", async move {
            let (incoming, settler) = split(delivery, lost);
            let settle = AssertUnwindSafe(handler(incoming)).catch_unwind().await.unwrap_or_else(|_| {
                error!(queue, "a handler panicked; its lease will run out");
                Settle::Ack
            });
            settler.settle(settle).await;
            settled.fetch_add(1, Ordering::Relaxed);
            drop(permit);
        });
    };

    // No more deliveries; what came meanwhile goes back; what is in hand is finished and settled; then the socket.
    within("basic.cancel", channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default())).await?;
    while let Ok(Some(Ok(delivery))) = tokio::time::timeout(super::CALL_TIMEOUT, consumer.next()).await {
        split(delivery, lost.clone()).1.settle(Settle::Requeue).await;
    }
    tokio::select! {
        _ = permits.acquire_many(u32::from(prefetch)) => {}
        // Handlers drop their work on this signal; give them the moment to say so.
        () = async { life.aborting().cancelled().await; let _ = permits.acquire_many(u32::from(prefetch)).await; } => {}
    }
    link.close().await;
    Ok(ended)
}

struct Settler(Delivery);

impl Settler {
    async fn settle(self, settle: Settle) {
        let settled = match settle {
            Settle::Ack => within("basic.ack", self.0.ack(BasicAckOptions::default())).await,
            Settle::Requeue => {
                let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                within("basic.nack", self.0.nack(options)).await
            }
        };
        match settled {
            Ok(true) => {}
            Ok(false) => debug!("the channel is gone: the broker will deliver this again"),
            Err(error) => debug!(%error, "not settled: the broker will deliver this again"),
        }
    }
}

fn split(mut delivery: Delivery, lost: CancellationToken) -> (Incoming, Settler) {
    let header = |name: &str| {
        let value = delivery.properties.headers().as_ref()?.inner().get(name)?;
        Some(String::from_utf8_lossy(value.as_long_string()?.as_bytes()).into_owned())
    };
    let first_death = header("x-first-death-queue").zip(header("x-first-death-reason"));
    let properties = &delivery.properties;
    let incoming = Incoming {
        user_id: properties.user_id().as_ref().map(ToString::to_string),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        reply_to: properties.reply_to().as_ref().map(ToString::to_string),
        correlation_id: properties.correlation_id().as_ref().map(ToString::to_string),
        exchange: delivery.exchange.to_string(),
        first_death,
        body: std::mem::take(&mut delivery.data).into(),
        lost,
    };
    (incoming, Settler(delivery))
}
