//! The one integration-test binary: real Postgres, real `RabbitMQ`, the real executable. `./dev test` brings them up.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod amqp_round_trip;
mod architecture;
mod blob_stores;
mod contract_compare_with_liveness;
mod contract_face_match;
mod contract_id_match;
mod contract_jobs;
mod contract_likeness_check;
mod contract_sync;
mod contract_table;
mod documents;
mod edges;
mod erasure;
mod fairness;
mod http_api;
mod media_urls;
mod organisations;
mod promise_broker_wiped;
mod promise_dead_worker;
mod promise_idempotent_submit;
mod promise_network;
mod promise_poison;
mod promise_shutdown;
mod sandbox;
mod store_walk;
mod submissions;
mod support;
mod unreadable_message;
mod uploads;
mod vision_compare;
mod vision_engine;
mod vision_golden;
mod vision_images;
mod vision_pack;
mod vision_support;
