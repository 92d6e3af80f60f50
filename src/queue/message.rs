//! Messages that we send: doorbells to workers, replies to producers, events to subscribers.

use lapin::BasicProperties;
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
    /// dropped.
    #[must_use]
    pub fn reply(
        message_id: uuid::Uuid,
        kind: &str,
        reply_to: &str,
        correlation_id: Option<&str>,
        payload: &serde_json::Value,
    ) -> Self {
        let mut properties = persistent().with_message_id(message_id.to_string().into()).with_type(kind.into());
        if let Some(correlation_id) = correlation_id {
            properties = properties.with_correlation_id(correlation_id.into());
        }
        Self { exchange: "", routing_key: reply_to.to_owned(), properties, body: payload.to_string().into_bytes() }
    }

    /// An event, for every queue that is bound to its routing key. `message_id` is the event's.
    #[must_use]
    pub fn result(message_id: uuid::Uuid, kind: &str, routing_key: String, body: String) -> Self {
        let properties = persistent().with_message_id(message_id.to_string().into()).with_type(kind.into());
        Self { exchange: topology::RESULTS, routing_key, properties, body: body.into_bytes() }
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

fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
