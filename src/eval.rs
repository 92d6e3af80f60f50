//! Measures how good the verdicts are: labelled pictures go through the product's own pipeline, and error rates follow.
//!
//! A list names the pictures ([`list`]). Each is analysed once ([`analyses`]) and compared with others ([`scores`]).
//! The scores give error rates ([`statistics`]), a report with plots ([`report`], [`plot`]) and, on request, a
//! calibration ([`fit`]). Lists of live and attack pictures are the subject of [`liveness`].

pub mod analyses;
pub mod fit;
pub mod list;
pub mod liveness;
pub mod plot;
pub mod report;
pub mod scores;
pub mod statistics;
