//! Webhooks after the Standard Webhooks specification: endpoints and their secrets, signatures, and the dispatcher that
//! brings every event to every endpoint that wants it, at least once.

mod attempt;
pub mod dispatcher;
pub mod endpoints;
mod pace;
pub mod signature;

pub use dispatcher::{Dispatcher, DispatcherSettings};
pub use endpoints::{Endpoints, Fresh};

use crate::{keys, store};

/// What went wrong on our side.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error("a stored webhook secret is malformed")]
    Malformed,
}
