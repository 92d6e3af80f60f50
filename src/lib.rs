//! visavis compares faces as a job queue. `ARCHITECTURE.md` tells how the rooms fit together.

pub mod domain;
pub mod intake;
pub mod lifecycle;
pub mod media;
pub mod queue;
pub mod store;
