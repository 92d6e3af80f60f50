//! All integration tests in one binary: it links once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on shall stop")]

mod architecture;
mod vision_compare;
mod vision_engine;
mod vision_golden;
mod vision_images;
mod vision_pack;
mod vision_support;
