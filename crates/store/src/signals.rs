//! What a commit tells the rest of its own process, so that nobody there waits for the next look at the database.
//!
//! A hint and no more: it does not reach other processes, and what it saves is waiting. Whoever listens looks regularly
//! all the same. `NOTIFY` would reach further, but takes a lock that all commits share.

use std::sync::Arc;

use tokio::sync::Notify;

/// Something that may now be found in the database.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// A doorbell to publish.
    Doorbell,
    /// A reply to publish.
    Reply,
    /// A job that is over.
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

/// One listener for each signal; clones share them.
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
