//! The parameters of the analysis, each with its reason.

use super::decode::{DecodeParams, FIRST_SIDE};
use super::face::Face;
use super::view::View;

/// The parameters that do not belong to a model. Those that do are in the pack's manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Limits on the file.
    pub decode: DecodeParams,
    /// A large JPEG is first decoded with at least this many pixels on its longer side.
    pub first_side: u32,
    /// The compared face must have at least this many decoded pixels between its eyes. If it has fewer and the file has
    /// more, the file is decoded again.
    pub least_eyes: f64,
    /// At most this many detections of a picture are measured, the most prominent first.
    pub max_faces: usize,
    /// A face is small if its box is narrower than this many pixels of the first detector's input. It is then measured
    /// again in a close-up.
    pub small_face: f64,
    /// If a picture seems to show no face, its parts are searched with at most this many pixels on the picture's longer
    /// side.
    pub parts_side: usize,
}

/// `first_side`: 640 pixels are more than three times what the detectors see, and more than the pictures that are
/// turned.
///
/// `least_eyes`: the embedders' chips have 53 and 63 pixels between the eyes. With fewer decoded pixels, detail in the
/// file would be lost. 324 pairs show no loss of accuracy with 64 pixels (`docs/understand/quality.md`).
///
/// `max_faces`: each detection costs one run of the landmark network, 7 ms on one core. 16 of them limit the time for a
/// group photo. The most prominent face, which is compared, is among them.
///
/// `small_face`: a close-up does not help with LFW's faces, which have a third to a sixth of their picture's width. It
/// helps with portraits on cards, which have a twelfth to a twentieth (`models/README.md`).
impl Default for Params {
    fn default() -> Self {
        Self {
            decode: DecodeParams::default(),
            first_side: FIRST_SIDE,
            least_eyes: 64.0,
            max_faces: 16,
            small_face: 20.0,
            parts_side: 1_024,
        }
    }
}

impl Params {
    /// The number of pixels on the longer side with which the picture must be decoded again for its most prominent
    /// face; `None` when the decoded pixels suffice, or the file has no more.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a side of a picture, or all of it")]
    #[expect(clippy::cast_precision_loss, reason = "a side of a picture")]
    pub(super) fn side_needed(&self, picture: &View, face: Option<&Face>) -> Option<u32> {
        if picture.reduction() <= 1.0 {
            return None;
        }
        let held = picture.held().width().max(picture.held().height());
        let Some(face) = face else {
            return (held < self.parts_side).then_some(self.parts_side as u32);
        };
        let (held, eyes) = (held as f64, face.five_points[0].distance(face.five_points[1]) / picture.reduction());
        // At least one pixel more, so that rounding never repeats a scale.
        (eyes < self.least_eyes).then(|| (held * self.least_eyes / eyes).ceil().max(held + 1.0) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Point, Rect};
    use crate::picture::Picture;
    use proptest::prelude::*;

    fn face(eyes: f64) -> Face {
        let mut five_points = [Point::default(); 5];
        five_points[1] = Point::new(eyes, 0.0);
        Face {
            bbox: Rect::default(),
            score: 1.0,
            presence: 1.0,
            landmarks: Vec::new(),
            five_points,
            decoded_side: 1_000,
        }
    }

    /// A quarter of a picture of 4,000 x 3,000 pixels.
    fn quarter() -> View {
        View::reduced(Picture::black(1_000, 750), 4, Point::default(), (4_000, 3_000))
    }

    #[test]
    fn more_is_decoded_for_eyes_too_close_together_and_for_no_face() {
        let params = Params::default();
        for (eyes, needed) in
            [(400.0, None), (256.0, None), (255.0, Some(1_004)), (128.0, Some(2_000)), (0.0, Some(u32::MAX))]
        {
            assert_eq!(params.side_needed(&quarter(), Some(&face(eyes))), needed, "{eyes} pixels");
        }
        assert_eq!(params.side_needed(&quarter(), None), Some(1_024));
        let half = View::reduced(Picture::black(2_000, 1_500), 2, Point::default(), (4_000, 3_000));
        assert_eq!(params.side_needed(&half, None), None);
    }

    #[test]
    fn a_picture_that_was_decoded_in_full_is_not_decoded_again() {
        let all = View::from(Picture::black(64, 64));
        assert_eq!(Params::default().side_needed(&all, Some(&face(5.0))), None);
        assert_eq!(Params::default().side_needed(&all, None), None);
    }

    proptest! {
        #[test]
        fn the_needed_side_is_always_larger_than_the_decoded_one(eyes in 0.0..256.0_f64) {
            prop_assert!(Params::default().side_needed(&quarter(), Some(&face(eyes))).unwrap() > 1_000);
        }
    }
}
