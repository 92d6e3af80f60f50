//! The numbers by which pictures are analysed, each with its reason.

use super::decode::{DecodeParams, FIRST_SIDE};
use super::face::Face;
use super::view::View;

/// The numbers that do not come with the models; those that do are in the pack's manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Limits on the file.
    pub decode: DecodeParams,
    /// Pixels of the longer side with which a large JPEG is decoded at first, at least.
    pub first_side: u32,
    /// Pixels of what was decoded between the eyes of the face that is compared, at least; where there are fewer, and the
    /// file has more, it is decoded again.
    pub least_eyes: f64,
    /// At most so many detections of a picture are looked at, the most prominent first.
    pub max_faces: usize,
    /// A face is small when its box has fewer pixels than this across, as the first detector sees the picture; it is looked at
    /// again from nearby.
    pub small_face: f64,
    /// Pixels of the longer side with which the parts of a picture are looked at that seems to show no face, at most.
    pub parts_side: usize,
}

/// Sides: 640 pixels are more than three times what the detectors see of a picture, and more than is turned. Eyes: the
/// embedders' chips have 53 and 63 pixels between them; with fewer, pixels would be made up that the file has. What 64 cost
/// in accuracy is in `docs/understand/quality.md`: nothing that 324 pairs show.
///
/// Each detection costs a run of the landmark network, 7 ms on one core: 16 bound the time that a group photo takes, and
/// the most prominent face, which is the one compared, is among them.
///
/// Small faces: LFW's, a third to a sixth of their picture's width, are recognised no better after another look; portraits on
/// cards, a twelfth to a twentieth of it, are (`models/README.md`).
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
    /// Pixels of the longer side with which the picture must be decoded again for the sake of its most prominent face;
    /// `None` when what was decoded suffices, or is all there is.
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
        // One pixel more is another scale: whatever the rounding, no scale is tried twice.
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
    fn there_is_no_more_than_all_of_a_picture() {
        let all = View::from(Picture::black(64, 64));
        assert_eq!(Params::default().side_needed(&all, Some(&face(5.0))), None);
        assert_eq!(Params::default().side_needed(&all, None), None);
    }

    proptest! {
        #[test]
        fn what_is_needed_is_always_more_than_there_is(eyes in 0.0..256.0_f64) {
            prop_assert!(Params::default().side_needed(&quarter(), Some(&face(eyes))).unwrap() > 1_000);
        }
    }
}
