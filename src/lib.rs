//! visavis compares faces as a job queue. `ARCHITECTURE.md` explains how the rooms fit together.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod desk;
pub mod docs;
pub mod eval;
pub mod identity;
pub mod images;
pub mod intake;
pub mod janitor;
pub mod jobs;
pub mod keys;
pub mod lifecycle;
pub mod media;
pub mod net;
pub mod queue;
pub mod relay;
pub mod telemetry;
pub mod video;
pub mod webhooks;
pub mod worker;

pub use visavis_domain as domain;
pub use visavis_store as store;
pub use visavis_vision as vision;
