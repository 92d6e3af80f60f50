//! The exchanges and queues. Every connection declares them, so a broker that was wiped is complete again after a
//! reconnect.
//!
//! Names carry a version, because the arguments of an existing queue cannot change.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::{Error, within};
use crate::domain::work_queue::WorkQueue;

/// Where producers publish.
pub const SUBMISSIONS: &str = "visavis.submissions";
/// Where submissions wait for intake.
pub const SUBMISSIONS_QUEUE: &str = "visavis.submissions.v1";
/// Where the relay rings; the routing key is the name of a [`WorkQueue`].
pub const JOBS: &str = "visavis.jobs";
/// Where events go, under `<organisation>.<kind>.<status>`, for consumers that prefer AMQP to webhooks.
pub const RESULTS: &str = "visavis.results";
/// Messages that no binding matched. Raise an alarm if there are any.
pub const UNROUTED: &str = "visavis.unrouted";
pub const UNROUTED_QUEUE: &str = "visavis.unrouted.v1";
/// Messages that the broker gave up on.
pub const DEAD: &str = "visavis.dead";
pub const DEAD_QUEUE: &str = "visavis.dead.v1";

/// Names of our queues start with this and a dot. No producer may have replies sent to such a queue.
pub const OUR_NAME: &str = "visavis";

/// A work queue's name at the broker. Each lane has a queue of its own because quorum queues know no priorities.
#[must_use]
pub fn work_queue(queue: WorkQueue) -> &'static str {
    match queue {
        WorkQueue::Interactive => "visavis.work.interactive.v1",
        WorkQueue::Bulk => "visavis.work.bulk.v1",
        WorkQueue::Sandbox => "visavis.work.sandbox.v1",
    }
}

/// Declares everything. Harmless if it exists.
pub(super) async fn declare(channel: &Channel) -> Result<(), Error> {
    exchange(channel, UNROUTED, ExchangeKind::Fanout, None).await?;
    exchange(channel, DEAD, ExchangeKind::Fanout, None).await?;
    // A fanout exchange: a submission arrives whatever routing key its producer chose.
    exchange(channel, SUBMISSIONS, ExchangeKind::Fanout, Some(UNROUTED)).await?;
    exchange(channel, JOBS, ExchangeKind::Direct, Some(UNROUTED)).await?;
    // No alternate exchange: an event for which nobody bound a queue may be dropped.
    exchange(channel, RESULTS, ExchangeKind::Topic, None).await?;

    queue(channel, UNROUTED_QUEUE, UNROUTED, "", true).await?;
    queue(channel, DEAD_QUEUE, DEAD, "", false).await?;
    queue(channel, SUBMISSIONS_QUEUE, SUBMISSIONS, "", true).await?;
    for &work in WorkQueue::ALL {
        queue(channel, work_queue(work), JOBS, work.name(), true).await?;
    }
    Ok(())
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind, alternate: Option<&str>) -> Result<(), Error> {
    let mut arguments = FieldTable::default();
    if let Some(alternate) = alternate {
        // A returned message can be reported with the wrong confirm. An alternate exchange avoids returns.
        arguments.insert("alternate-exchange".into(), text(alternate));
    }
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    within("exchange.declare", channel.exchange_declare(name.into(), kind, options, arguments)).await
}

async fn queue(channel: &Channel, name: &str, exchange: &str, key: &str, dead_letters: bool) -> Result<(), Error> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    // Bounds how often a message that kills its consumer can do so. After that it is a dead letter. If even the reader
    // of dead letters cannot read it so many times (a property that is not UTF-8), it is dropped.
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
    if dead_letters {
        arguments.insert("x-dead-letter-exchange".into(), text(DEAD));
        // The strategy "at most once" loses letters. "At least once" needs the overflow policy below, and no length
        // limit.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    within("queue.declare", channel.queue_declare(name.into(), options, arguments)).await?;
    let bind = channel.queue_bind(
        name.into(),
        exchange.into(),
        key.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    within("queue.bind", bind).await
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
