//! Faces in pictures: bytes go in, faces, templates and calibrated scores come out. No network, no database, no clock but
//! the deadline that the caller hands in.

pub mod best_frame;
pub mod colour;
pub mod compare;
pub mod decode;
pub mod detect;
pub mod embed;
pub mod engine;
pub mod face;
pub mod finder;
pub mod geometry;
pub mod homography;
pub mod landmarks;
pub mod liveness;
pub mod model;
pub mod motion;
pub mod network;
pub mod pack;
pub mod params;
pub mod picture;
pub mod pipeline;
pub mod provider;
pub mod quality;
pub mod rendition;
pub mod resample;
pub mod scene;
pub mod session;
pub mod template;
pub mod timings;
pub mod view;

pub use compare::FaceComparison;
pub use decode::{DecodeParams, ImageFault};
pub use engine::{Engine, EngineSettings};
pub use face::Face;
pub use model::RuntimeFault;
pub use pack::registry::PackRegistry;
pub use pack::{Pack, PackFault};
pub use params::Params;
pub use pipeline::{Analysis, Pipeline};
pub use provider::Provider;
pub use session::Runtime;
pub use template::Template;
pub use timings::Timings;

/// Why a picture was not analysed. A picture without a face is no error: see [`Analysis::primary`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The fault lies in the bytes that were sent; sending them again will not help.
    #[error(transparent)]
    Image(#[from] ImageFault),
    /// The fault lies in this machine: a model, the ONNX Runtime, a panic. Another attempt may do better.
    #[error(transparent)]
    Runtime(#[from] RuntimeFault),
    /// The caller's deadline passed first.
    #[error("the deadline passed before the picture was analysed")]
    Deadline,
    /// The engine was shut down, or the caller went away.
    #[error("the vision engine has been shut down")]
    Closed,
}
