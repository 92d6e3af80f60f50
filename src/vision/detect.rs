//! Faces in a picture by `BlazeFace` (Bazarevsky et al., "`BlazeFace`: Sub-millisecond Neural Face Detection on Mobile
//! GPUs", 2019): letterbox, anchors, decoding, weighted non-maximum suppression.

use super::geometry::{Point, Rect};
use super::model::{InputSpec, Model, RuntimeFault};
use super::picture::{CHANNELS, Picture};
use super::resample;

/// Eyes, nose, mouth and ears: see [`Detection::keypoints`].
pub const KEYPOINTS: usize = 6;
/// Numbers that the box tensor has for each anchor: centre, size, then x and y of each keypoint.
pub const BOX_VALUES: usize = 4 + 2 * KEYPOINTS;
/// Beyond this a logit's sigmoid is 0 or 1 anyway, and `exp` overflows.
const LOGIT_LIMIT: f64 = 80.0;

/// A `BlazeFace` variety and its operating point.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorSpec {
    /// How the letterboxed picture is fed.
    pub input: InputSpec,
    /// The anchors, in the order of the outputs' rows.
    pub grids: Vec<Grid>,
    /// Least score of an anchor, in [0, 1].
    pub score: f64,
    /// Boxes that overlap the best one by more than this (intersection over union) are averaged into it.
    pub overlap: f64,
}

/// A square grid of anchors over the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct Grid {
    /// Cells a side.
    #[serde(rename = "grid")]
    pub side: usize,
    /// Anchors a cell.
    pub per_cell: usize,
}

impl DetectorSpec {
    /// How many anchors there are, and so rows in the outputs.
    #[must_use]
    pub fn anchors(&self) -> usize {
        self.grids.iter().map(|g| g.side * g.side * g.per_cell).sum()
    }
}

/// A face that a detector found, in pixels of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// From forehead to chin, about; it may reach beyond the picture.
    pub bbox: Rect,
    /// The detector's certainty in [0, 1].
    pub score: f64,
    /// Right eye, left eye (the subject's), nose, mouth, right ear, left ear.
    pub keypoints: [Point; KEYPOINTS],
}

impl Detection {
    /// With every point moved by `map`, a turn, shift or scaling that keeps right angles to the axes.
    #[must_use]
    pub fn mapped(&self, map: impl Fn(Point) -> Point) -> Self {
        let (a, b) =
            (map(Point::new(self.bbox.left, self.bbox.top)), map(Point::new(self.bbox.right, self.bbox.bottom)));
        let bbox = Rect { left: a.x.min(b.x), top: a.y.min(b.y), right: a.x.max(b.x), bottom: a.y.max(b.y) };
        Self { bbox, score: self.score, keypoints: self.keypoints.map(map) }
    }
}

/// One `BlazeFace` network with its anchors.
pub struct Detector {
    model: Box<dyn Model>,
    spec: DetectorSpec,
    anchors: Vec<Point>,
}

impl Detector {
    /// `model`: outputs `boxes` [1, anchors, 16] and `scores` [1, anchors, 1] (logits).
    #[must_use]
    pub fn new(model: Box<dyn Model>, spec: DetectorSpec) -> Self {
        Self { model, anchors: anchors(&spec.grids), spec }
    }

    /// The faces of `picture`, the most certain first.
    ///
    /// # Errors
    /// When the network fails or its outputs have other shapes.
    pub fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>, RuntimeFault> {
        let (square, letterbox) = letterbox(picture, self.spec.input.side);
        let mut outputs = self.spec.input.run(self.model.as_mut(), &square)?;
        let name = self.model.name();
        let scores = outputs.take(name, "scores", self.anchors.len())?;
        let boxes = outputs.take(name, "boxes", self.anchors.len() * BOX_VALUES)?;
        let found = self.decode(&boxes, &scores);
        Ok(weighted_nms(found, self.spec.overlap).iter().map(|d| letterbox.undo(d)).collect())
    }

    /// Anchors at or above the threshold, as detections in pixels of the square.
    fn decode(&self, boxes: &[f32], scores: &[f32]) -> Vec<Detection> {
        let side = small(self.spec.input.side);
        let rows = boxes.chunks_exact(BOX_VALUES).zip(scores).zip(&self.anchors);
        rows.filter_map(|((row, &logit), anchor)| {
            let score = sigmoid(f64::from(logit));
            if score < self.spec.score {
                return None;
            }
            // Centre and keypoints are offsets from the anchor; the size stands alone. All in pixels of the square.
            let point =
                |at: usize| Point::new(f64::from(row[at]) + anchor.x * side, f64::from(row[at + 1]) + anchor.y * side);
            let (centre, width, height) = (point(0), f64::from(row[2]), f64::from(row[3]));
            let bbox = Rect {
                left: centre.x - width / 2.0,
                top: centre.y - height / 2.0,
                right: centre.x + width / 2.0,
                bottom: centre.y + height / 2.0,
            };
            let keypoints = std::array::from_fn(|k| point(4 + 2 * k));
            Some(Detection { bbox, score, keypoints })
        })
        .collect()
    }
}

/// The logistic function.
#[must_use]
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)).exp())
}

/// Where [`letterbox`] put the picture: `square = picture * scale + (left, top)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    scale: f64,
    left: f64,
    top: f64,
}

/// `picture` fitted into the middle of a black square.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a side scaled to at most the square's side"
)]
pub fn letterbox(picture: &Picture, side: usize) -> (Picture, Letterbox) {
    let scale = small(side) / small(picture.width().max(picture.height()));
    let inner = |v: usize| ((small(v) * scale + 0.5).floor() as usize).clamp(1, side);
    let (width, height) = (inner(picture.width()), inner(picture.height()));
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let resized = resample::resize(picture, width, height);
    let mut square = Picture::black(side, side);
    let rows = square.pixels_mut().chunks_exact_mut(side * CHANNELS).skip(top);
    for (row, source) in rows.zip(resized.pixels().chunks_exact(width * CHANNELS)) {
        row[left * CHANNELS..(left + width) * CHANNELS].copy_from_slice(source);
    }
    (square, Letterbox { scale, left: small(left), top: small(top) })
}

impl Letterbox {
    fn undo(&self, found: &Detection) -> Detection {
        found.mapped(|p| Point::new((p.x - self.left) / self.scale, (p.y - self.top) / self.scale))
    }
}

/// Anchor centres in [0, 1]: each grid by row, column, then the anchors of a cell.
fn anchors(grids: &[Grid]) -> Vec<Point> {
    let mut centres = Vec::new();
    for &Grid { side, per_cell } in grids {
        for row in 0..side {
            for column in 0..side {
                let centre = Point::new((small(column) + 0.5) / small(side), (small(row) + 0.5) / small(side));
                centres.extend(std::iter::repeat_n(centre, per_cell));
            }
        }
    }
    centres
}

/// The best detection becomes the score-weighted mean of itself and all that overlap it, keeping its score; then the
/// best of the rest, and so on (`MediaPipe`'s variant: a mean of many anchors lies steadier than the best alone).
fn weighted_nms(mut found: Vec<Detection>, overlap: f64) -> Vec<Detection> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept = Vec::new();
    while !found.is_empty() {
        let best = found.remove(0);
        let (group, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|d| d.bbox.iou(&best.bbox) > overlap);
        found = rest;
        kept.push(weighted_mean(&best, &group));
    }
    kept
}

fn weighted_mean(best: &Detection, others: &[Detection]) -> Detection {
    let total: f64 = best.score + others.iter().map(|d| d.score).sum::<f64>();
    let mean = |value: &dyn Fn(&Detection) -> f64| {
        std::iter::once(best).chain(others).map(|d| d.score / total * value(d)).sum::<f64>()
    };
    Detection {
        bbox: Rect {
            left: mean(&|d| d.bbox.left),
            top: mean(&|d| d.bbox.top),
            right: mean(&|d| d.bbox.right),
            bottom: mean(&|d| d.bbox.bottom),
        },
        score: best.score,
        keypoints: std::array::from_fn(|k| Point::new(mean(&|d| d.keypoints[k].x), mean(&|d| d.keypoints[k].y))),
    }
}

#[expect(clippy::cast_precision_loss, reason = "picture sides and anchor indices, far below 2^52")]
fn small(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::model::{Colour, Outputs};
    use ndarray::{ArrayD, ArrayView4};

    /// Answers with the same tensors whatever it sees.
    struct Canned(Outputs);

    impl Model for Canned {
        fn name(&self) -> &'static str {
            "canned"
        }
        fn run(&mut self, _: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault> {
            Ok(self.0.clone())
        }
    }

    fn short_range() -> DetectorSpec {
        DetectorSpec {
            input: InputSpec { side: 128, colour: Colour::Rgb, mean: [127.5; 3], std: [127.5; 3] },
            grids: vec![Grid { side: 16, per_cell: 2 }, Grid { side: 8, per_cell: 6 }],
            score: 0.5,
            overlap: 0.3,
        }
    }

    /// A short-range network whose anchors fire as `fires` says: anchor, logit, box values.
    fn detector(fires: &[(usize, f32, [f32; BOX_VALUES])]) -> Detector {
        let count = short_range().anchors();
        let mut scores = vec![-100.0; count];
        let mut boxes = vec![0.0; count * BOX_VALUES];
        for (anchor, logit, values) in fires {
            scores[*anchor] = *logit;
            boxes[anchor * BOX_VALUES..(anchor + 1) * BOX_VALUES].copy_from_slice(values);
        }
        let tensor = |shape: &[usize], values| ArrayD::from_shape_vec(shape, values).unwrap();
        let outputs = Outputs::new(vec![
            ("boxes".to_owned(), tensor(&[1, count, BOX_VALUES], boxes)),
            ("scores".to_owned(), tensor(&[1, count, 1], scores)),
        ]);
        Detector::new(Box::new(Canned(outputs)), short_range())
    }

    fn values(x: f32, y: f32, size: f32) -> [f32; BOX_VALUES] {
        let mut values = [0.0; BOX_VALUES];
        values[..4].copy_from_slice(&[x, y, size, size]);
        values
    }

    #[test]
    fn a_box_is_an_offset_from_its_anchor_and_the_letterbox_is_undone() {
        // Anchor 0 sits at pixel 4 of the square; 256 x 128 fits at scale 0.5 with 32 rows of black above.
        let found = detector(&[(0, 5.0, values(20.0, 60.0, 16.0))]).detect(&Picture::black(256, 128)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].bbox, Rect { left: 32.0, top: 48.0, right: 64.0, bottom: 80.0 });
        assert_eq!(found[0].keypoints[0], Point::new(8.0, -56.0));
    }

    #[test]
    fn overlapping_boxes_become_their_weighted_mean_and_others_stay() {
        let fires = [
            (0, 2.0, values(20.0, 20.0, 20.0)),
            (1, 2.0, values(22.0, 20.0, 20.0)),
            (2, 1.0, values(80.0, 20.0, 20.0)),
        ];
        let found = detector(&fires).detect(&Picture::black(128, 128)).unwrap();
        assert_eq!(found.len(), 2);
        assert!((found[0].bbox.centre().x - 25.0).abs() < 1e-9, "the mean of 24 and 26");
        assert!(found[0].score > found[1].score);
    }

    #[test]
    fn an_anchor_at_the_threshold_counts_and_below_it_does_not() {
        let found = detector(&[(0, 0.0, values(20.0, 20.0, 20.0)), (700, -0.01, values(0.0, 0.0, 20.0))]);
        let mut found = found;
        assert_eq!(found.detect(&Picture::black(64, 64)).unwrap().len(), 1);
    }

    #[test]
    fn outputs_of_another_shape_are_a_fault() {
        let tensor = ArrayD::from_shape_vec(vec![1, 2, 1], vec![0.0, 0.0]).unwrap();
        let outputs = Outputs::new(vec![("scores".to_owned(), tensor)]);
        let mut detector = Detector::new(Box::new(Canned(outputs)), short_range());
        assert!(matches!(detector.detect(&Picture::black(8, 8)), Err(RuntimeFault::Interface { .. })));
    }

    #[test]
    fn anchors_lie_row_by_row_and_grid_by_grid() {
        let found = anchors(&short_range().grids);
        assert_eq!((found.len(), short_range().anchors()), (896, 896));
        assert_eq!((found[0], found[1], found[2].x), (Point::new(1.0 / 32.0, 1.0 / 32.0), found[0], 3.0 / 32.0));
        assert_eq!(found[895], Point::new(15.0 / 16.0, 15.0 / 16.0));
    }
}
