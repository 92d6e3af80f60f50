//! A producer's side: it publishes submissions and reads the replies, as `visavis submit` does.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::connection::{Broker, Link};
use super::message::Outgoing;
use super::publisher::Publisher;
use super::{Error, within};

/// Publishes under its own user, and listens on a queue of its own that is deleted when it disconnects.
pub struct Producer {
    user: String,
    reply_to: String,
    publisher: Publisher,
    answers: Consumer,
    _link: Link,
}

/// A reply to a submission.
#[derive(Debug, Clone)]
pub struct ProducerReply {
    /// `accepted`, `rejected`, `completed` or `failed`.
    pub kind: String,
    /// The message id of the submission.
    pub correlation_id: String,
    pub payload: serde_json::Value,
}

impl Producer {
    /// Connects and declares the queue for replies, named `<user>.replies.<id>`.
    ///
    /// # Errors
    /// When the broker does not answer, or this user may not do so.
    pub async fn connect(broker: Broker) -> Result<Self, Error> {
        let user = broker.user().to_owned();
        let reply_to = format!("{user}.replies.{}", uuid::Uuid::now_v7());
        let link = broker.connect("producer").await?;
        let channel = link.channel().await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declare = channel.queue_declare(reply_to.as_str().into(), options, FieldTable::default());
        within("queue.declare", declare).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consume = channel.basic_consume(reply_to.as_str().into(), "".into(), options, FieldTable::default());
        let answers = within("basic.consume", consume).await?;
        Ok(Self { user, reply_to, publisher: Publisher::for_producer(broker, "producer"), answers, _link: link })
    }

    /// Publishes submissions, each a message id and a body. Waits until the broker has all of them.
    ///
    /// # Errors
    /// When the broker refuses one or the connection fails.
    pub async fn submit(&mut self, submissions: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), Error> {
        let messages: Vec<_> = submissions
            .into_iter()
            .map(|(message_id, body)| Outgoing::submission(&self.user, &message_id, &self.reply_to, body))
            .collect();
        let confirmed = self.publisher.publish_all(&messages).await?;
        if confirmed.iter().all(|taken| *taken) { Ok(()) } else { Err(Error::Nack) }
    }

    /// The next reply.
    ///
    /// # Errors
    /// When none comes within `patience`, or the connection fails.
    pub async fn next_answer(&mut self, patience: Duration) -> Result<ProducerReply, Error> {
        let next = tokio::time::timeout(patience, self.answers.next()).await;
        let delivery = next.map_err(|_| Error::Timeout { what: "with an answer" })?.ok_or(Error::Cancelled)??;
        let text =
            |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(ProducerReply {
            kind: text(delivery.properties.kind()),
            correlation_id: text(delivery.properties.correlation_id()),
            payload: serde_json::from_slice(&delivery.data).unwrap_or_default(),
        })
    }
}
