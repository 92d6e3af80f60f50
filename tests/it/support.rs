//! What tests stand on: a world of its own for each, processes to start and kill, a network to break.

pub mod api;
pub mod axe;
pub mod blobs;
pub mod broker;
pub mod browser;
pub mod deliveries;
pub mod desk;
pub mod endings;
pub mod environment;
pub mod network;
pub mod outcomes;
pub mod photos;
pub mod poll;
pub mod process;
pub mod producer;
pub mod property;
pub mod receiver;
pub mod renderer;
pub mod s3;
pub mod search;
pub mod seat;
pub mod signatures;
pub mod spoilt;
pub mod stream;
pub mod template;
pub mod videos;
pub mod window;
pub mod world;

pub use api::Api;
pub use browser::Browser;
pub use poll::{eventually, obtain};
pub use producer::Producer;
pub use world::World;
