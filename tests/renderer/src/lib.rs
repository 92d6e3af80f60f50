//! Renders frames of a face in front of a camera from one photo: a three-dimensional head that turns, closes its eyes
//! and opens its mouth; or the photo itself as a sheet of paper that is moved, tilted, bent and brought closer.

mod canvas;
mod performance;
mod pose;
mod subject;

pub use performance::{Attack, MANNER, Manner, Noise, performed};
pub use pose::Pose;
pub use subject::Subject;
