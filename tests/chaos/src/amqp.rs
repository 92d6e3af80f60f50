//! Producers over AMQP, one for each organisation. They send again what was not answered, and read their replies and
//! their organisation's results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use reqwest::Url;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::photos::Photos;
use crate::plan::{Door, Plan};
use crate::witness::{EventSeen, ReplySeen, Witness};

const SUBMISSIONS: &str = "visavis.submissions";
const RESULTS: &str = "visavis.results";
/// A message that was not answered by then is sent again.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// No call of the broker takes longer.
const CALL: Duration = Duration::from_secs(15);

/// The producer of one organisation.
pub struct AmqpProducer {
    pub plan: Arc<Plan>,
    pub photos: Arc<Photos>,
    pub witness: Arc<Witness>,
    pub organisation: Uuid,
    /// The organisation's name and its place in the plan.
    pub name: &'static str,
    pub place: usize,
    pub broker: Url,
    is_bound: AtomicBool,
}

/// A message that is due or was sent.
struct Sending {
    due: Instant,
    number: usize,
}

impl AmqpProducer {
    #[must_use]
    pub fn new(
        (plan, photos, witness): (Arc<Plan>, Arc<Photos>, Arc<Witness>),
        (name, place): (&'static str, usize),
        (organisation, broker): (Uuid, Url),
    ) -> Self {
        Self { plan, photos, witness, organisation, name, place, broker, is_bound: AtomicBool::new(false) }
    }

    /// Whether replies and results reach it by now.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.is_bound.load(Ordering::Relaxed)
    }

    /// Submits the organisation's jobs, each at its time after `start`, and reads answers until it is dropped.
    pub async fn run(&self, start: Instant) {
        let mine = self.plan.jobs.iter().filter(|job| job.door == Door::Amqp && job.organisation == self.place);
        // Repetitions follow in the order of their times, like messages that were not answered.
        let mut sendings: Vec<_> = mine
            .flat_map(|job| {
                let due = move |turn: u32| start + job.at + Duration::from_millis(700) * turn;
                (0..=job.repeats).map(move |turn| Sending { due: due(turn), number: job.number })
            })
            .collect();
        loop {
            if let Err(error) = self.session(&mut sendings).await {
                eprintln!("producer {}: {error:#}", self.name);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// One connection, until it breaks.
    async fn session(&self, sendings: &mut Vec<Sending>) -> Result<()> {
        let connection = Connection::connect(self.broker.as_str(), ConnectionProperties::default());
        let connection = timeout(CALL, connection).await??;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let mut replies = self.consume(&channel, "replies", None).await?;
        let mut results = self.consume(&channel, "results", Some(&format!("{}.#", self.name))).await?;
        self.is_bound.store(true, Ordering::Relaxed);
        // When each was last sent by this session; answers are looked up in what the witness saw.
        let mut sent: BTreeMap<usize, Instant> = BTreeMap::new();
        let mut next_look = Instant::now() + LOOK_EVERY;
        loop {
            sendings.sort_by_key(|sending| sending.due);
            let due = sendings.first().map_or(next_look, |sending| sending.due.min(next_look));
            tokio::select! {
                reply = replies.next() => self.take_reply(&reply.context("the replies ended")??).await?,
                result = results.next() => self.take_result(&result.context("the results ended")??).await?,
                () = sleep_until(due) => {
                    let now = Instant::now();
                    let ready: Vec<_> = sendings.extract_if(.., |sending| sending.due <= now).take(64).collect();
                    for (at, sending) in ready.iter().enumerate() {
                        let published = self.publish(&channel, sending.number).await;
                        if published.is_err() {
                            // What was not confirmed is sent again by the next session.
                            let rest = ready[at..].iter().map(|sending| sending.number);
                            sendings.extend(rest.map(|number| Sending { due: now, number }));
                            sendings.extend(sent.into_keys().map(|number| Sending { due: now + PATIENCE, number }));
                            return published;
                        }
                        sent.insert(sending.number, now);
                    }
                    if now >= next_look {
                        next_look = now + LOOK_EVERY;
                        self.send_again(&mut sent, sendings);
                    }
                }
            }
        }
    }

    /// Forgets what was answered, and sends again what was not for too long.
    fn send_again(&self, sent: &mut BTreeMap<usize, Instant>, sendings: &mut Vec<Sending>) {
        let now = Instant::now();
        {
            let sight = self.witness.sight();
            sent.retain(|number, _| sight.submissions[*number].accepted.is_empty());
        }
        let late: Vec<_> = sent.extract_if(.., |_, at| *at + PATIENCE < now).map(|(number, _)| number).collect();
        sendings.extend(late.into_iter().map(|number| Sending { due: now, number }));
    }

    async fn publish(&self, channel: &Channel, number: usize) -> Result<()> {
        let label = self.witness.sight().submissions[number].label.clone();
        let request = self.plan.jobs[number].content.request(&self.photos, &label);
        let id = format!("key-{number}");
        let user = self.broker.username();
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(id.as_str().into())
            .with_correlation_id(id.as_str().into())
            .with_user_id(user.into())
            .with_reply_to(format!("{user}.replies").into());
        self.witness.note(number, |submission| submission.tries += 1);
        let body = request.to_string();
        let options = BasicPublishOptions::default();
        let publish = channel.basic_publish(SUBMISSIONS.into(), "".into(), options, body.as_bytes(), properties);
        let confirmation = timeout(CALL, async { publish.await?.await }).await??;
        ensure!(matches!(confirmation, Confirmation::Ack(_)), "the broker does not take a message");
        Ok(())
    }

    /// A queue of the producer's own, which outlives connections.
    async fn consume(&self, channel: &Channel, name: &str, results: Option<&str>) -> Result<Consumer> {
        let queue = format!("{}.{name}", self.broker.username());
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), durable, FieldTable::default()).await?;
        if let Some(key) = results {
            let options = QueueBindOptions::default();
            let bind =
                channel.queue_bind(queue.as_str().into(), RESULTS.into(), key.into(), options, FieldTable::default());
            bind.await?;
        }
        let options = BasicConsumeOptions::default();
        Ok(channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default()).await?)
    }

    async fn take_reply(&self, delivery: &Delivery) -> Result<()> {
        let kind = text(delivery.properties.kind().as_ref());
        let number = text(delivery.properties.correlation_id().as_ref());
        let number = number.strip_prefix("key-").and_then(|number| number.parse().ok());
        let body: Value = serde_json::from_slice(&delivery.data).unwrap_or_default();
        if let Some(number) = number {
            let id = body["id"].as_str().and_then(|id| id.parse().ok());
            self.witness.note(number, |submission| match (kind.as_str(), id) {
                ("accepted", Some(id)) => drop(submission.accepted.insert(id)),
                ("rejected", _) => submission.refused.push(body.to_string()),
                _ => {}
            });
        }
        self.witness.sight().replies.push(ReplySeen { number, kind, body });
        Ok(delivery.ack(BasicAckOptions::default()).await.map(drop)?)
    }

    async fn take_result(&self, delivery: &Delivery) -> Result<()> {
        let id = text(delivery.properties.message_id().as_ref());
        let body = serde_json::from_slice(&delivery.data).unwrap_or_default();
        let seen = EventSeen { organisation: self.organisation, sandbox: false, id, body };
        self.witness.sight().results.push(seen);
        Ok(delivery.ack(BasicAckOptions::default()).await.map(drop)?)
    }
}

fn text(property: Option<&ShortString>) -> String {
    property.map(ToString::to_string).unwrap_or_default()
}

/// Publishes one message as this user, and does not wait for an answer.
///
/// # Errors
/// When the broker does not take it.
pub async fn publish_once(broker: &Url, body: &Value) -> Result<()> {
    let connection = timeout(CALL, Connection::connect(broker.as_str(), ConnectionProperties::default())).await??;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id(Uuid::now_v7().to_string().into())
        .with_user_id(broker.username().into());
    let body = body.to_string();
    let publish = channel.basic_publish(
        SUBMISSIONS.into(),
        "".into(),
        BasicPublishOptions::default(),
        body.as_bytes(),
        properties,
    );
    timeout(CALL, async { publish.await?.await }).await??;
    connection.close(200, "done".into()).await?;
    Ok(())
}
