//! One connection to the broker, with the topology declared on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use rand::RngExt as _;

use super::{Error, topology, within};

/// Seconds between heartbeats. A dead network is noticed after two of them.
const HEARTBEAT: u16 = 10;

/// The broker's address. Has no `Debug`: the URL holds a password.
#[derive(Clone)]
pub struct Broker {
    uri: AMQPUri,
    links: Arc<AtomicUsize>,
}

/// An open connection; dropping it closes the socket.
pub struct Link {
    connection: Connection,
    links: Arc<AtomicUsize>,
}

impl Broker {
    /// Reads an `amqp://` or `amqps://` URL.
    ///
    /// # Errors
    /// When it is not such a URL. The message does not quote it.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let mut uri: AMQPUri = url.parse().map_err(|_| Error::Url("not an amqp:// or amqps:// URL".to_owned()))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(Self { uri, links: Arc::default() })
    }

    /// The user that the URL names.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// Whether any connection made through this value or a clone of it is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.links.load(Ordering::Relaxed) > 0
    }

    /// Connects under a name that the operator of the broker sees.
    ///
    /// # Errors
    /// When nobody answers in time, or the broker refuses.
    pub async fn connect(&self, name: &str) -> Result<Link, Error> {
        let properties = ConnectionProperties::default().with_connection_name(format!("visavis {name}").into());
        let connection = within("connect", Connection::connect_uri(self.uri.clone(), properties)).await?;
        self.links.fetch_add(1, Ordering::Relaxed);
        Ok(Link { connection, links: Arc::clone(&self.links) })
    }

    /// Connects and declares the topology.
    ///
    /// # Errors
    /// As [`Broker::connect`], or when a queue exists with other arguments.
    pub async fn connect_declared(&self, name: &str) -> Result<Link, Error> {
        let link = self.connect(name).await?;
        topology::declare(&link.channel().await?).await?;
        Ok(link)
    }
}

impl Link {
    /// # Errors
    /// When the connection is lost.
    pub async fn channel(&self) -> Result<Channel, Error> {
        within("channel.open", self.connection.create_channel()).await
    }

    /// Closes the connection properly, or gives up after a moment.
    pub async fn close(self) {
        if let Err(error) = within("close", self.connection.close(200, "bye".into())).await {
            tracing::debug!(%error, "the connection was not closed in good order");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.links.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits between attempts to reconnect: 0.2 s at first, 30 s at most, with jitter.
#[derive(Debug)]
pub struct Reconnect {
    next: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

impl Reconnect {
    /// The next wait. Each is about twice the last.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// The connection was established: start again with short waits.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_start_over() {
        let mut reconnect = Reconnect::default();
        let waits: Vec<_> = (0..20).map(|_| reconnect.next_wait()).collect();
        assert!(waits[0] <= FIRST && waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[19] >= LONGEST / 2);
        reconnect.reset();
        assert!(reconnect.next_wait() <= FIRST);
    }

    #[test]
    fn a_bad_url_is_refused_without_quoting_its_password() {
        let error = Broker::parse("http://user:secret@host").err().unwrap().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
