//! The words and rules of face comparison: synchronous, without input or output, importing nothing of ours.

pub mod api_key;
pub mod backoff;
pub mod capture_os;
pub mod challenge;
pub mod delivery;
pub mod evidence;
pub mod frames;
pub mod identity;
pub mod ids;
pub mod image;
pub mod image_print;
pub mod job;
pub mod money;
pub mod motion;
pub mod notice;
pub mod outcome;
pub mod pepper;
pub mod policy;
pub mod provenance;
pub mod quality;
pub mod rates;
pub mod request;
pub mod sandbox;
pub mod tenant;
pub mod warning;
pub mod webhook;
