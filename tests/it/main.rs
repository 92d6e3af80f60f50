//! The one integration-test binary: real Postgres, real `RabbitMQ`, the real executable. `./dev test` brings them up.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod amqp_round_trip;
mod architecture;
mod billing;
mod fairness;
mod http_api;
mod identity_http;
mod identity_import;
mod identity_registry;
mod identity_settings;
mod net_guard;
mod promise_broker_wiped;
mod promise_dead_worker;
mod promise_idempotent_submit;
mod promise_network;
mod promise_poison;
mod promise_shutdown;
mod store_walk;
mod submissions;
mod support;
mod unreadable_message;
mod vision_compare;
mod vision_engine;
mod vision_golden;
mod vision_images;
mod vision_pack;
mod vision_support;
