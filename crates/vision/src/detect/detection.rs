//! A detection, and how those of one face are put together.

use crate::geometry::{Point, Rect};

/// A face that a detector found, in pixels of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// About from forehead to chin. It may reach beyond the picture.
    pub bbox: Rect,
    /// The detector's certainty in [0, 1].
    pub score: f64,
    /// The subject's right eye and left eye.
    pub eyes: [Point; 2],
}

impl Detection {
    /// The detection with every point moved by `map`: a turn by quarters, a shift or a scaling.
    #[must_use]
    pub fn mapped(&self, map: impl Fn(Point) -> Point) -> Self {
        let (a, b) =
            (map(Point::new(self.bbox.left, self.bbox.top)), map(Point::new(self.bbox.right, self.bbox.bottom)));
        let bbox = Rect { left: a.x.min(b.x), top: a.y.min(b.y), right: a.x.max(b.x), bottom: a.y.max(b.y) };
        Self { bbox, score: self.score, eyes: self.eyes.map(map) }
    }
}

/// Which outputs of a network become detections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Selection {
    /// Pixels of the network's square input, a side.
    pub side: usize,
    /// The lowest score of a detection, in [0, 1].
    pub score: f64,
    /// Boxes that overlap a better one by more than this (intersection over union) belong to the same face.
    pub overlap: f64,
}

/// Non-maximum suppression: the best detection with all that overlap it by more than `overlap`, then the best of the
/// rest with its own, and so on.
pub fn groups(mut found: Vec<Detection>, overlap: f64) -> impl Iterator<Item = (Detection, Vec<Detection>)> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    std::iter::from_fn(move || {
        let mut rest = std::mem::take(&mut found).into_iter();
        let best = rest.next()?;
        let (others, apart) = rest.partition(|other| other.bbox.iou(&best.bbox) > overlap);
        found = apart;
        Some((best, others))
    })
}

/// The box of this size around `centre`.
pub(super) fn around(centre: Point, width: f64, height: f64) -> Rect {
    Rect {
        left: centre.x - width / 2.0,
        top: centre.y - height / 2.0,
        right: centre.x + width / 2.0,
        bottom: centre.y + height / 2.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "picture sides and indices of anchors and cells, far below 2^52")]
pub(super) fn small(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, score: f64) -> Detection {
        Detection { bbox: around(Point::new(x, 50.0), 20.0, 20.0), score, eyes: [Point::default(); 2] }
    }

    #[test]
    fn a_group_is_the_best_and_what_overlaps_it() {
        let found = vec![at(50.0, 0.7), at(10.0, 0.8), at(12.0, 0.9), at(13.0, 0.6)];
        let groups: Vec<_> = groups(found, 0.3).map(|(best, others)| (best.score, others.len())).collect();
        assert_eq!(groups, [(0.9, 2), (0.7, 0)]);
    }
}
