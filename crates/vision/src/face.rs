//! A face as the detector and the landmark network describe it. All later stages use it.

use super::geometry::{Point, Rect};

/// A face, in pixels of the upright picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    /// About from forehead to chin. It may reach beyond the picture.
    pub bbox: Rect,
    /// The detector's certainty in [0, 1].
    pub score: f64,
    /// The landmark network's certainty in [0, 1].
    pub presence: f64,
    /// The mesh of 468 points: x, y, and a relative depth z on the same scale.
    pub landmarks: Vec<[f64; 3]>,
    /// The subject's right eye, left eye, nose tip, right and left corner of the mouth, computed from the mesh.
    pub five_points: [Point; 5],
    /// Pixels of the longer side with which `decode_reduced` decoded the file for these measures. Liveness must see the
    /// same pixels, because files can be crafted that show another face at another scale.
    pub decoded_side: u32,
}
