//! Webhooks after the Standard Webhooks specification: endpoints and their secrets, signatures, and the dispatcher. It
//! delivers every event at least once to every endpoint that subscribed to it.

mod attempt;
pub mod dispatcher;
pub mod endpoints;
mod pace;
pub mod signature;

pub use dispatcher::{Dispatcher, DispatcherSettings};
pub use endpoints::{EndpointAndSecret, Endpoints};

use crate::{keys, store};

/// A fault on our side.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error("a stored webhook secret is malformed")]
    Malformed,
}
