//! Where a job waits for a worker: one queue for each lane of live jobs, and one for all sandbox jobs.

use strum::{IntoStaticStr, VariantArray};

use super::job::Lane;

/// A queue of the broker. Live jobs and sandbox jobs never wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum WorkQueue {
    Interactive,
    Bulk,
    /// Jobs of test keys, whatever lane they name: they need no models, and live load must not delay them.
    Sandbox,
}

impl WorkQueue {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The queue of a job in that lane.
    #[must_use]
    pub fn of(lane: Lane, is_sandbox: bool) -> Self {
        match lane {
            _ if is_sandbox => Self::Sandbox,
            Lane::Interactive => Self::Interactive,
            Lane::Bulk => Self::Bulk,
        }
    }

    /// The routing key, and the name in the outbox.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}
