//! Messages that we send: doorbells to workers, replies to producers, events to subscribers.

use lapin::BasicProperties;
use lapin::types::ShortString;
use serde::{Deserialize, Serialize};

use super::topology;
use crate::domain::ids::JobId;
use crate::domain::work_queue::WorkQueue;

/// A message about to be published. Has no `Debug`: the body of a submission is biometric.
#[derive(Clone)]
pub struct Outgoing {
    pub(super) exchange: &'static str,
    pub(super) routing_key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct DoorbellBody {
    v: u8,
    job_id: JobId,
}

impl Outgoing {
    /// "There is work". `message_id` is that of the outbox row.
    #[must_use]
    pub fn doorbell(message_id: uuid::Uuid, queue: WorkQueue, job_id: JobId) -> Self {
        let body = serde_json::to_vec(&DoorbellBody { v: 1, job_id }).unwrap_or_default();
        Self {
            exchange: topology::JOBS,
            routing_key: queue.name().to_owned(),
            properties: persistent().with_message_id(message_id.to_string().into()),
            body,
        }
    }

    /// A reply to a producer, straight to its queue. If that queue is gone, so is the producer, and the reply is
    /// dropped. `None` if a property is longer than AMQP allows.
    #[must_use]
    pub fn reply(
        message_id: uuid::Uuid,
        kind: &str,
        reply_to: &str,
        correlation_id: Option<&str>,
        payload: &serde_json::Value,
    ) -> Option<Self> {
        let mut properties = persistent().with_message_id(message_id.to_string().into()).with_type(short(kind)?);
        if let Some(correlation_id) = correlation_id {
            properties = properties.with_correlation_id(short(correlation_id)?);
        }
        let routing_key = fits(reply_to)?.to_owned();
        Some(Self { exchange: "", routing_key, properties, body: payload.to_string().into_bytes() })
    }

    /// An event, for every queue that is bound to its routing key. `message_id` is the event's. `None` if the key or a
    /// property is longer than AMQP allows.
    #[must_use]
    pub fn result(message_id: uuid::Uuid, kind: &str, routing_key: &str, body: String) -> Option<Self> {
        let properties = persistent().with_message_id(message_id.to_string().into()).with_type(short(kind)?);
        let routing_key = fits(routing_key)?.to_owned();
        Some(Self { exchange: topology::RESULTS, routing_key, properties, body: body.into_bytes() })
    }

    /// A message that shows whether the broker takes messages. No queue has that name, so it is dropped.
    pub(super) fn probe() -> Self {
        let routing_key = format!("{}.nowhere", topology::OUR_NAME);
        Self { exchange: "", routing_key, properties: BasicProperties::default(), body: Vec::new() }
    }

    /// A producer's submission, as `visavis submit` sends it. `user` is what the broker will validate.
    #[must_use]
    pub fn submission(user: &str, message_id: &str, reply_to: &str, body: Vec<u8>) -> Self {
        let properties = persistent()
            .with_message_id(message_id.into())
            .with_correlation_id(message_id.into())
            .with_user_id(user.into())
            .with_reply_to(reply_to.into());
        Self { exchange: topology::SUBMISSIONS, routing_key: String::new(), properties, body }
    }
}

/// The job that a doorbell is about. `None` if the body is not a doorbell of a version that we know.
#[must_use]
pub fn read_doorbell(body: &[u8]) -> Option<JobId> {
    let doorbell: DoorbellBody = serde_json::from_slice(body).ok()?;
    (doorbell.v == 1).then_some(doorbell.job_id)
}

/// The text, if it fits into a short string of AMQP: 255 bytes. lapin panics at a longer one.
fn fits(text: &str) -> Option<&str> {
    u8::try_from(text.len()).is_ok().then_some(text)
}

fn short(text: &str) -> Option<ShortString> {
    fits(text).map(ShortString::from)
}

fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_a_property_makes_no_message() {
        let id = uuid::Uuid::now_v7();
        for (length, fits) in [(255, true), (256, false)] {
            let (long, payload) = ("x".repeat(length), serde_json::Value::Null);
            assert_eq!(Outgoing::result(id, "job.completed", &long, String::new()).is_some(), fits);
            assert_eq!(Outgoing::result(id, &long, "acme", String::new()).is_some(), fits);
            assert_eq!(Outgoing::reply(id, &long, "acme", None, &payload).is_some(), fits);
            assert_eq!(Outgoing::reply(id, "completed", &long, None, &payload).is_some(), fits);
            assert_eq!(Outgoing::reply(id, "completed", "acme", Some(&long), &payload).is_some(), fits);
        }
    }

    #[test]
    fn a_doorbell_is_read_back_and_foreign_bodies_are_not() {
        let job_id = JobId::new();
        let message = Outgoing::doorbell(uuid::Uuid::now_v7(), WorkQueue::Bulk, job_id);
        assert_eq!(read_doorbell(&message.body), Some(job_id));
        for body in ["", "{}", "{\"v\":2,\"job_id\":\"0198c0de-0000-7000-8000-000000000000\"}", "\u{0}"] {
            assert_eq!(read_doorbell(body.as_bytes()), None);
        }
    }
}
