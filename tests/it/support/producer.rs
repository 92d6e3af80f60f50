//! A producer of an organisation, with no more rights than a producer needs. It sends messages, well-formed or not,
//! and collects the answers.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use reqwest::Url;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use visavis::queue::topology;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const END_MARK: &str = "end mark";

pub struct Producer {
    pub user: String,
    pub reply_to: String,
    pub channel: Channel,
    administrator: Channel,
    answers: Consumer,
    received: Vec<Reply>,
    _connections: [Connection; 2],
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The property `type`.
    pub kind: String,
    pub correlation_id: String,
    pub body: Value,
}

impl Producer {
    /// Connects as the user that `url` names; the administrator only marks the end of the answers.
    pub async fn connect(url: &Url, administrator: &Url) -> Self {
        let (connection, channel) = connect(url).await;
        let (other, administrator) = connect(administrator).await;
        let user = url.username().to_owned();
        let reply_to = format!("{user}.replies.{}", uuid::Uuid::now_v7());
        let exclusive = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(reply_to.as_str().into(), exclusive, FieldTable::default()).await;
        declared.expect("a producer may declare its own queue");
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let answers = channel.basic_consume(reply_to.as_str().into(), "".into(), options, FieldTable::default()).await;
        let answers = answers.expect("a producer may read its own queue");
        let received = Vec::new();
        Self { user, reply_to, channel, administrator, answers, received, _connections: [connection, other] }
    }

    /// The properties of a good submission.
    pub fn properties(&self, message_id: &str) -> BasicProperties {
        BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(message_id.into())
            .with_correlation_id(message_id.into())
            .with_user_id(self.user.as_str().into())
            .with_reply_to(self.reply_to.as_str().into())
    }

    /// Submits a good request; its answers come under `message_id`.
    pub async fn submit(&self, message_id: &str, request: &Value) {
        self.publish(request.to_string().as_bytes(), self.properties(message_id)).await;
    }

    /// Submits any message; the broker must take it.
    pub async fn publish(&self, body: &[u8], properties: BasicProperties) {
        let confirmation = self.try_publish(body, properties).await.expect("the broker takes the message");
        assert!(matches!(confirmation, Confirmation::Ack(None)), "{confirmation:?}");
    }

    /// Submits any message.
    ///
    /// # Errors
    /// When the broker closes the channel because of it.
    pub async fn try_publish(&self, body: &[u8], properties: BasicProperties) -> lapin::Result<Confirmation> {
        publish(&self.channel, topology::SUBMISSIONS, "", body, properties).await
    }

    /// The answer of that kind (`accepted`, `rejected`, `completed`, `failed`) to that message.
    pub async fn reply(&mut self, correlation_id: &str, kind: &str) -> Reply {
        let wanted = |it: &Reply| it.correlation_id == correlation_id && it.kind == kind;
        if let Some(reply) = self.received.iter().find(|reply| wanted(reply)) {
            return reply.clone();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let reply = timeout_at(until, self.next()).await;
            let reply = reply.unwrap_or_else(|_| panic!("no {kind} for {correlation_id}; got {:?}", self.received));
            if wanted(&reply) {
                return reply;
            }
        }
    }

    /// Every answer that has arrived by now, including those returned before.
    pub async fn replies(&mut self) -> &[Reply] {
        let mark = BasicProperties::default().with_type(END_MARK.into());
        let marked = publish(&self.administrator, "", &self.reply_to, b"null", mark).await;
        marked.expect("the administrator may publish anywhere");
        let until = Instant::now() + PATIENCE;
        while timeout_at(until, self.next()).await.expect("the mark comes back").kind != END_MARK {}
        self.received.retain(|reply| reply.kind != END_MARK);
        &self.received
    }

    async fn next(&mut self) -> Reply {
        let delivery = self.answers.next().await.expect("the consumer stands").expect("the consumer stands");
        let text = |it: &Option<lapin::types::ShortString>| it.as_ref().map(ToString::to_string).unwrap_or_default();
        let properties = &delivery.properties;
        let reply = Reply {
            kind: text(properties.kind()),
            correlation_id: text(properties.correlation_id()),
            body: serde_json::from_slice(&delivery.data).expect("an answer is JSON"),
        };
        self.received.push(reply.clone());
        reply
    }
}

async fn connect(url: &Url) -> (Connection, Channel) {
    let connection = Connection::connect(url.as_str(), ConnectionProperties::default()).await;
    let connection = connection.expect("the broker lets a test in");
    let channel = connection.create_channel().await.expect("a channel opens");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("the broker confirms");
    (connection, channel)
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> lapin::Result<Confirmation> {
    channel.basic_publish(exchange.into(), key.into(), BasicPublishOptions::default(), body, properties).await?.await
}
