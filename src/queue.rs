//! `RabbitMQ`: the only room that speaks AMQP. Postgres is the truth; a message here is a doorbell.

pub mod connection;
pub mod consumer;
pub mod message;
pub mod producer;
pub mod publisher;
pub mod topology;

/// What went wrong with the broker. Everything here is temporary: callers reconnect and try again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("broker: {0}")]
    Amqp(#[from] lapin::Error),
    #[error("the broker did not answer {what} in time")]
    Timeout { what: &'static str },
    #[error("the broker refused a message")]
    Nack,
    #[error("the broker closed the consumer")]
    Cancelled,
    #[error("AMQP_URL: {0}")]
    Url(String),
}

/// Bounds a call to the broker: lapin's own calls can wait forever while the broker blocks publishers.
async fn within<T>(what: &'static str, call: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, Error> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| Error::Timeout { what })?.map_err(Error::from)
}

const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
