//! Renders frames of a face in front of a camera from one photo: a three-dimensional head that turns, closes its eyes
//! and opens its mouth; or the photo itself as a sheet of paper that is moved, tilted, bent and brought closer.

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use visavis::vision::Pipeline;

use super::spoilt::Shot;

mod canvas;
pub mod performance;
mod pose;
mod subject;

pub use performance::{Attack, MANNER, Manner, performed};
pub use pose::Pose;
pub use subject::Subject;

/// The same photo with this many pixels between the eyes, saved and analysed again; `None` if no face is found in it
/// any more.
pub fn resized(pipeline: &mut Pipeline, shot: &Shot, inter_eye: f64) -> Option<Shot> {
    Shot::of(pipeline, &jpeg(&shot.scaled_to(inter_eye)))
}

/// A JPEG as a phone sends it.
pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 90).encode_image(picture).expect("a picture of ours can be encoded");
    file
}
