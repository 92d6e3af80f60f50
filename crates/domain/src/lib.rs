//! The words and rules of face comparison. Everything here is synchronous, does no input or output, and imports no
//! other crate of ours.

pub mod action;
pub mod api_key;
pub mod backoff;
pub mod blob;
pub mod calibration;
pub mod capture_os;
pub mod challenge;
pub mod delivery;
pub mod evidence;
pub mod fair_limit;
pub mod frames;
pub mod frequency;
pub mod identity;
pub mod ids;
pub mod image;
pub mod job;
pub mod money;
pub mod motion;
pub mod notice;
pub mod outcome;
pub mod pepper;
pub mod perceptual_hash;
pub mod policy;
pub mod provenance;
pub mod quality;
pub mod rates;
pub mod request;
pub mod review;
pub mod sandbox;
pub mod suggestion;
pub mod tenant;
pub mod time;
pub mod warning;
pub mod webhook;
pub mod work_queue;
