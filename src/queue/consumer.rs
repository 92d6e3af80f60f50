//! A supervised consumer: whatever breaks, connection, channel and consumer are built again.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::connection::{Broker, Reconnect};
use super::{Error, within};
use crate::lifecycle::Lifecycle;

/// A message of a queue, as its handler sees it.
pub struct Incoming {
    pub body: Bytes,
    /// The user that published it. The broker has validated it.
    pub user_id: Option<String>,
    pub message_id: Option<String>,
    pub reply_to: Option<String>,
    pub correlation_id: Option<String>,
    /// The exchange to which it was published last.
    pub exchange: String,
    /// For a dead letter: the queue that first gave up on it, and why.
    pub first_death: Option<(String, String)>,
    /// Cancelled when the session that brought the message is lost. The broker will deliver the message again.
    pub lost: CancellationToken,
    /// A handler that sends here has the message acknowledged, and another delivered, before it ends. Then what it
    /// still does must be safe in Postgres.
    pub early_ack: Option<oneshot::Sender<()>>,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// It was handled.
    Ack,
    /// It was not handled: another consumer shall get it.
    Requeue,
}

/// Consumes `queue` until the shutdown begins, with at most `prefetch` messages at once. Returns when all of those are
/// settled. A message whose handler panics is settled all the same: the state is in Postgres, not in the queue.
pub async fn consume<H, F>(broker: Broker, queue: &'static str, prefetch: u16, life: Lifecycle, handler: H)
where
    H: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Settle> + Send + 'static,
{
    let consumer = Supervised { broker, queue, life, handler };
    let mut reconnect = Reconnect::default();
    let mut careful = false;
    while !consumer.life.stopping().is_cancelled() {
        let session = Settled { count: Arc::default(), lost: CancellationToken::new() };
        let in_hand = if careful { 1 } else { prefetch };
        let ended = consumer.session(in_hand, careful, &session, &mut reconnect).await;
        session.lost.cancel();
        match ended {
            Ok(SessionEnd::Stopping) => return,
            Ok(SessionEnd::Careful) => careful = false,
            Err(error) => {
                // Perhaps the connection was cut by a message that no client can read (a property that is not UTF-8).
                // One at a time, only that message uses up its deliveries, and its neighbours do not.
                careful = session.count.load(Ordering::Relaxed) == 0;
                let wait = reconnect.next_wait();
                warn!(queue, %error, wait_ms = wait.as_millis(), "consumer lost: rebuilding");
                tokio::select! {
                    () = consumer.life.stopping().cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Why a session ended in an orderly way.
enum SessionEnd {
    Stopping,
    /// Enough messages went well, one at a time. The next session may run at full speed.
    Careful,
}

/// Messages that must go well, one at a time, after a session in which none did.
const CAREFUL_MESSAGES: usize = 16;

/// What all sessions of a consumer share.
struct Supervised<H> {
    broker: Broker,
    queue: &'static str,
    life: Lifecycle,
    handler: H,
}

/// What the handlers of one session share with it.
struct Settled {
    /// Messages that were settled.
    count: Arc<AtomicUsize>,
    /// Cancelled when the session ends.
    lost: CancellationToken,
}

impl<H, F> Supervised<H>
where
    H: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Settle> + Send + 'static,
{
    /// Connects and consumes until the shutdown begins or something breaks. A careful session ends early.
    async fn session(
        &self,
        prefetch: u16,
        careful: bool,
        session: &Settled,
        reconnect: &mut Reconnect,
    ) -> Result<SessionEnd, Error> {
        let queue = self.queue;
        let link = self.broker.connect_declared(queue).await?;
        let channel = link.channel().await?;
        within("basic.qos", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let tag = format!("{queue}-{}", uuid::Uuid::now_v7());
        let consume = channel.basic_consume(
            queue.into(),
            tag.as_str().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = within("basic.consume", consume).await?;
        info!(queue, prefetch, "consuming");
        reconnect.reset();

        let permits = Arc::new(Semaphore::new(usize::from(prefetch)));
        let ended = loop {
            if careful && session.count.load(Ordering::Relaxed) >= CAREFUL_MESSAGES {
                break SessionEnd::Careful;
            }
            let delivery = tokio::select! {
                biased;
                () = self.life.stopping().cancelled() => break SessionEnd::Stopping,
                delivery = consumer.next() => delivery,
            };
            let delivery = delivery.ok_or(Error::Cancelled)??;
            // The broker sends at most `prefetch` unsettled messages, so this does not wait for long.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break SessionEnd::Stopping };
            let (handler, settled, lost) = (self.handler.clone(), Arc::clone(&session.count), session.lost.clone());
            self.life.spawn("message", async move {
                let (mut incoming, settler) = split(delivery, lost);
                let (early_ack, acked) = oneshot::channel();
                incoming.early_ack = Some(early_ack);
                let caught = AssertUnwindSafe(handler(incoming)).catch_unwind();
                let mut work = pin!(async move {
                    caught.await.unwrap_or_else(|_| {
                        error!(queue, "a handler panicked; its lease will run out");
                        Settle::Ack
                    })
                });
                let finish = move |settle| async move {
                    settler.settle(settle).await;
                    settled.fetch_add(1, Ordering::Relaxed);
                    drop(permit);
                };
                tokio::select! {
                    biased;
                    done = &mut work => finish(done).await,
                    Ok(()) = acked => {
                        tokio::join!(finish(Settle::Ack), work);
                    }
                }
            });
        };

        // No more deliveries from here on. Those that arrived meanwhile go back, those being handled are finished and
        // settled, and then the connection is closed.
        within("basic.cancel", channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default())).await?;
        while let Ok(Some(Ok(delivery))) = tokio::time::timeout(super::CALL_TIMEOUT, consumer.next()).await {
            split(delivery, session.lost.clone()).1.settle(Settle::Requeue).await;
        }
        tokio::select! {
            _ = permits.acquire_many(u32::from(prefetch)) => {}
            // Handlers drop their work on this signal. Give them a moment to settle.
            () = async { self.life.aborting().cancelled().await; let _ = permits.acquire_many(u32::from(prefetch)).await; } => {}
        }
        link.close().await;
        Ok(ended)
    }
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
        early_ack: None,
    };
    (incoming, Settler(delivery))
}
