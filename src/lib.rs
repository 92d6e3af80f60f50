//! visavis compares faces as a job queue. `ARCHITECTURE.md` tells how the rooms fit together.

pub mod cli;
pub mod domain;
pub mod vision;
