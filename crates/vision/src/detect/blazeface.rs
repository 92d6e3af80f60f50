//! `BlazeFace` (Bazarevsky et al., "`BlazeFace`: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019): offsets
//! from anchors, weighted non-maximum suppression.

use super::detection::{Detection, Selection, around, groups, small};
use crate::fault::RuntimeFault;
use crate::geometry::{Point, Rect};
use crate::logit::sigmoid;
use crate::model::Outputs;

/// Numbers in the box tensor for each anchor: centre, size, then x and y of eyes, nose, mouth and ears.
const BOX_VALUES: usize = 4 + 2 * 6;

/// A square grid of anchors over the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct Grid {
    /// Cells a side.
    #[serde(rename = "grid")]
    pub side: usize,
    /// Anchors a cell.
    pub per_cell: usize,
}

/// `boxes` and `scores` (logits), with one row for each anchor.
pub(super) fn outputs(grids: &[Grid]) -> Vec<(String, Vec<usize>)> {
    let count = anchors(grids).count();
    vec![("boxes".to_owned(), vec![count, BOX_VALUES]), ("scores".to_owned(), vec![count, 1])]
}

/// The anchors at or above the threshold as detections in pixels of the square. Those of one face become their mean.
pub(super) fn decode(
    selection: Selection,
    grids: &[Grid],
    model: &str,
    outputs: &mut Outputs,
) -> Result<Vec<Detection>, RuntimeFault> {
    let count = anchors(grids).count();
    let scores = outputs.take(model, "scores", count)?;
    let boxes = outputs.take(model, "boxes", count * BOX_VALUES)?;
    let side = small(selection.side);
    let rows = boxes.chunks_exact(BOX_VALUES).zip(scores).zip(anchors(grids));
    let found = rows.filter_map(|((row, logit), anchor)| {
        let score = sigmoid(f64::from(logit));
        if score < selection.score {
            return None;
        }
        // Centre and points are offsets from the anchor; the size is absolute. All are in pixels of the square.
        let point =
            |at: usize| Point::new(f64::from(row[at]) + anchor.x * side, f64::from(row[at + 1]) + anchor.y * side);
        let bbox = around(point(0), f64::from(row[2]), f64::from(row[3]));
        Some(Detection { bbox, score, eyes: [point(4), point(6)] })
    });
    Ok(groups(found.collect(), selection.overlap).map(|(best, others)| weighted_mean(&best, &others)).collect())
}

/// Anchor centres in [0, 1], grid by grid: row by row, column by column, all anchors of a cell.
fn anchors(grids: &[Grid]) -> impl Iterator<Item = Point> {
    grids.iter().flat_map(|&Grid { side, per_cell }| {
        (0..side * side * per_cell).map(move |i| {
            let cell = i / per_cell;
            Point::new((small(cell % side) + 0.5) / small(side), (small(cell / side) + 0.5) / small(side))
        })
    })
}

/// The score-weighted mean of a group, with the best score. This is how `MediaPipe` suppresses duplicates: the mean of
/// many anchors is steadier than the best anchor.
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
        eyes: std::array::from_fn(|k| Point::new(mean(&|d| d.eyes[k].x), mean(&|d| d.eyes[k].y))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::ArrayD;

    const SHORT_RANGE: [Grid; 2] = [Grid { side: 16, per_cell: 2 }, Grid { side: 8, per_cell: 6 }];

    /// Decodes the outputs of a short-range network whose anchors fire as `fires` says: anchor, logit, box values.
    fn decoded(fires: &[(usize, f32, [f32; BOX_VALUES])]) -> Vec<Detection> {
        let count = anchors(&SHORT_RANGE).count();
        let mut scores = vec![-100.0; count];
        let mut boxes = vec![0.0; count * BOX_VALUES];
        for (anchor, logit, values) in fires {
            scores[*anchor] = *logit;
            boxes[anchor * BOX_VALUES..(anchor + 1) * BOX_VALUES].copy_from_slice(values);
        }
        let tensor = |shape: &[usize], values| ArrayD::from_shape_vec(shape, values).unwrap();
        let boxes = ("boxes".to_owned(), tensor(&[1, count, BOX_VALUES], boxes));
        let scores = ("scores".to_owned(), tensor(&[1, count, 1], scores));
        read(vec![boxes, scores]).unwrap()
    }

    fn read(outputs: Vec<(String, ArrayD<f32>)>) -> Result<Vec<Detection>, RuntimeFault> {
        let selection = Selection { side: 128, score: 0.5, overlap: 0.3 };
        decode(selection, &SHORT_RANGE, "canned", &mut Outputs::new(outputs))
    }

    fn values(x: f32, y: f32, size: f32) -> [f32; BOX_VALUES] {
        let mut values = [0.0; BOX_VALUES];
        values[..4].copy_from_slice(&[x, y, size, size]);
        values
    }

    #[test]
    fn a_box_is_an_offset_from_its_anchor() {
        // Anchor 0 lies at pixel 4 of the square.
        let found = decoded(&[(0, 5.0, values(20.0, 60.0, 16.0))]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].bbox, Rect { left: 16.0, top: 56.0, right: 32.0, bottom: 72.0 });
        assert_eq!(found[0].eyes[0], Point::new(4.0, 4.0));
    }

    #[test]
    fn overlapping_boxes_become_their_weighted_mean_and_others_stay() {
        let found = decoded(&[
            (0, 2.0, values(20.0, 20.0, 20.0)),
            (1, 2.0, values(22.0, 20.0, 20.0)),
            (2, 1.0, values(80.0, 20.0, 20.0)),
        ]);
        assert_eq!(found.len(), 2);
        assert!((found[0].bbox.centre().x - 25.0).abs() < 1e-9, "the mean of 24 and 26");
        assert!(found[0].score > found[1].score);
    }

    #[test]
    fn an_anchor_at_the_threshold_counts_and_below_it_does_not() {
        let fires = [(0, 0.0, values(20.0, 20.0, 20.0)), (700, -0.01, values(0.0, 0.0, 20.0))];
        assert_eq!(decoded(&fires).len(), 1);
    }

    #[test]
    fn outputs_of_another_shape_are_a_fault() {
        let tensor = ArrayD::from_shape_vec(vec![1, 2, 1], vec![0.0, 0.0]).unwrap();
        assert!(matches!(read(vec![("scores".to_owned(), tensor)]), Err(RuntimeFault::Interface { .. })));
    }

    #[test]
    fn anchors_lie_row_by_row_and_grid_by_grid() {
        let found: Vec<_> = anchors(&SHORT_RANGE).collect();
        assert_eq!(found.len(), 896);
        assert_eq!((found[0], found[1], found[2].x), (Point::new(1.0 / 32.0, 1.0 / 32.0), found[0], 3.0 / 32.0));
        assert_eq!(found[32], Point::new(1.0 / 32.0, 3.0 / 32.0));
        assert_eq!(found[895], Point::new(15.0 / 16.0, 15.0 / 16.0));
    }
}
