//! A face as the detector and the landmark network describe it; what every later stage works on.

use super::geometry::{Point, Rect};

/// A face, in pixels of the upright picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    /// About from forehead to chin; it may reach beyond the picture.
    pub bbox: Rect,
    /// The detector's certainty in [0, 1].
    pub score: f64,
    /// The landmark network's certainty in [0, 1].
    pub presence: f64,
    /// The mesh, 468 points: x, y, and a relative depth z on the same scale.
    pub landmarks: Vec<[f64; 3]>,
    /// From the mesh: right eye, left eye, nose tip, right and left corner of the mouth.
    pub five_points: [Point; 5],
    /// Pixels of the longer side with which the file was decoded for these measures; see
    /// [`decode_reduced`](super::decode::decode_reduced). Whatever else is judged must be judged by the same pixels: files can
    /// be made that show another face at another scale.
    pub decoded_side: u32,
}
