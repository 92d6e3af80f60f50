//! What a commit signals to its own process, so that no task there has to wait for its next look at the database.
//!
//! A signal is a hint that saves waiting: it does not reach other processes, and listeners look regularly anyway.
//! `NOTIFY` would reach further, but it takes a lock that all commits share.

use std::sync::Arc;

use tokio::sync::Notify;

/// Something new in the database.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// A doorbell to publish.
    Doorbell,
    /// A reply to publish.
    Reply,
    /// A job that has ended.
    Ending,
    /// A delivery to attempt.
    Delivery,
    /// An event, for streams.
    Stream,
    /// An event, for the results exchange.
    Result,
    /// A case that changed, for the desk.
    Case,
}

/// One listener for each signal. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Signals(Arc<[Notify; 7]>);

impl Signals {
    pub(super) fn raise(&self, signal: Signal) {
        self.0[signal as usize].notify_one();
    }

    pub(super) async fn raised(&self, signal: Signal) {
        self.0[signal as usize].notified().await;
    }
}
