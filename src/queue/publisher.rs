//! Publishing with confirms, on a connection of its own: the broker may block publishers, and acks must not wait for
//! that.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation};

use super::connection::{Broker, Link};
use super::message::Outgoing;
use super::{Error, topology, within};
use crate::domain::work_queue::WorkQueue;

/// Publishes and waits for the broker's confirms. Connects at the first use, and again after any fault.
pub struct Publisher {
    broker: Broker,
    name: &'static str,
    declare: bool,
    open: Option<(Link, Channel)>,
}

impl Publisher {
    /// A publisher that declares the topology when it connects.
    #[must_use]
    pub fn new(broker: Broker, name: &'static str) -> Self {
        Self { broker, name, declare: true, open: None }
    }

    /// A publisher for a producer, who may publish but not declare.
    #[must_use]
    pub fn for_producer(broker: Broker, name: &'static str) -> Self {
        Self { broker, name, declare: false, open: None }
    }

    /// Publishes all messages at once and waits for every confirm. Returns for each whether the broker has it.
    ///
    /// # Errors
    /// When the connection failed. The broker may have some of the messages. Sending them again is harmless.
    pub async fn publish_all(&mut self, messages: &[Outgoing]) -> Result<Vec<bool>, Error> {
        let result = self.try_publish_all(messages).await;
        if result.is_err() {
            self.open = None;
        }
        result
    }

    /// Connects if there is no connection.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn connect(&mut self) -> Result<(), Error> {
        self.channel().await.map(drop)
    }

    /// Whether the broker takes messages: it gets one that no queue wants, and confirms it.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&mut self) -> Result<(), Error> {
        match self.publish_all(&[Outgoing::probe()]).await?.as_slice() {
            [true] => Ok(()),
            _ => Err(Error::Nack),
        }
    }

    /// How many messages wait in a work queue.
    ///
    /// # Errors
    /// When the connection failed or the queue is gone.
    pub async fn depth(&mut self, queue: WorkQueue) -> Result<u32, Error> {
        let result = self.try_depth(queue).await;
        if result.is_err() {
            self.open = None;
        }
        result
    }

    /// Closes the connection properly.
    pub async fn close(self) {
        if let Some((link, _)) = self.open {
            link.close().await;
        }
    }

    async fn try_publish_all(&mut self, messages: &[Outgoing]) -> Result<Vec<bool>, Error> {
        let channel = self.channel().await?;
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let publish = channel.basic_publish(
                message.exchange.into(),
                message.routing_key.as_str().into(),
                BasicPublishOptions::default(),
                &message.body,
                message.properties.clone(),
            );
            confirms.push(within("basic.publish", publish).await?);
        }
        let mut published = Vec::with_capacity(confirms.len());
        for confirm in confirms {
            published.push(matches!(within("a confirm", confirm).await?, Confirmation::Ack(None)));
        }
        Ok(published)
    }

    async fn try_depth(&mut self, queue: WorkQueue) -> Result<u32, Error> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declare = channel.queue_declare(topology::work_queue(queue).into(), options, FieldTable::default());
        Ok(within("queue.declare", declare).await?.message_count())
    }

    async fn channel(&mut self) -> Result<Channel, Error> {
        if let Some((_, channel)) = &self.open
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        self.open = None;
        let link = if self.declare {
            self.broker.connect_declared(self.name).await?
        } else {
            self.broker.connect(self.name).await?
        };
        let channel = link.channel().await?;
        within("confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        self.open = Some((link, channel.clone()));
        Ok(channel)
    }
}
