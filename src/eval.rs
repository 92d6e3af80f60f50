//! How good the verdicts are: labelled pictures through the product's own pipeline, and the error rates that follow.
//!
//! A list names the pictures ([`list`]); each is analysed once ([`analyses`]), its template kept until the report is
//! written; the scores of all pairs ([`scores`]) give the error rates ([`statistics`]), a report ([`report`]) and, when
//! asked, a calibration ([`fit`]). Pictures labelled as live or as attacks are [`liveness`]'s.

pub mod analyses;
pub mod fit;
pub mod list;
pub mod liveness;
pub mod plot;
pub mod report;
pub mod scores;
pub mod statistics;
