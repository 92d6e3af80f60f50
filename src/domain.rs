//! The words and rules of face comparison: synchronous, without input or output, importing nothing of ours.

pub mod evidence;
pub mod image;
