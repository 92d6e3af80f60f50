//! The photos that the renderer starts from, and the files that its frames become.

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use visavis::vision::Pipeline;

use super::spoilt::Shot;

pub use renderer::{Attack, MANNER, Manner, Pose, Subject, performed};

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
