//! The words and rules of face comparison: synchronous, without input or output, importing nothing of ours.

pub mod backoff;
pub mod evidence;
pub mod ids;
pub mod image;
pub mod job;
pub mod outcome;
pub mod policy;
pub mod request;
pub mod warning;
