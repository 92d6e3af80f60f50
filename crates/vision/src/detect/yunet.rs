//! `YuNet` (Wu, Peng, Yu, "`YuNet`: A Tiny Millisecond-level Face Detector", 2023): offsets from the cells of three grids, plain
//! non-maximum suppression.

use super::{Detection, DetectorSpec, around, groups, small};
use crate::geometry::Point;
use crate::model::{Outputs, RuntimeFault};

/// Numbers of a box: offset of the centre, logarithms of the sides, all in cells.
const BOX_VALUES: usize = 4;
/// x and y of eyes, nose and corners of the mouth, as offsets from the cell, in cells.
const POINT_VALUES: usize = 2 * 5;

/// For each stride `cls_`, `obj_`, `bbox_` and `kps_` with the stride appended: a row a cell.
pub(super) fn outputs(strides: &[usize], side: usize) -> Vec<(String, Vec<usize>)> {
    let of = |stride: &usize| {
        let cells = (side / stride).pow(2);
        [("cls", 1), ("obj", 1), ("bbox", BOX_VALUES), ("kps", POINT_VALUES)]
            .map(|(name, values)| (format!("{name}_{stride}"), vec![cells, values]))
    };
    strides.iter().flat_map(of).collect()
}

/// Cells at or above the threshold, as detections in pixels of the square, the best of each face. A cell's score is the
/// geometric mean of its probabilities to be a face's and to hold an object at all.
pub(super) fn decode(
    spec: &DetectorSpec,
    strides: &[usize],
    shifts: [f64; 4],
    model: &str,
    outputs: &mut Outputs,
) -> Result<Vec<Detection>, RuntimeFault> {
    let mut found = Vec::new();
    for &stride in strides {
        let across = spec.input.side / stride;
        let cells = across * across;
        let mut take = |name: &str, values: usize| outputs.take(model, &format!("{name}_{stride}"), cells * values);
        let (classes, objects) = (take("cls", 1)?, take("obj", 1)?);
        let (boxes, points) = (take("bbox", BOX_VALUES)?, take("kps", POINT_VALUES)?);
        let rows = boxes.chunks_exact(BOX_VALUES).zip(points.chunks_exact(POINT_VALUES));
        for (cell, ((class, object), (bbox, points))) in classes.iter().zip(&objects).zip(rows).enumerate() {
            let probability = |value: &f32| f64::from(*value).clamp(0.0, 1.0);
            let score = (probability(class) * probability(object)).sqrt();
            if score < spec.score {
                continue;
            }
            let (column, row, stride) = (small(cell % across), small(cell / across), small(stride));
            let place = |x: f32, y: f32| Point::new((column + f64::from(x)) * stride, (row + f64::from(y)) * stride);
            let side = |logarithm: f32| f64::from(logarithm).exp() * stride;
            let bbox = around(place(bbox[0], bbox[1]), side(bbox[2]), side(bbox[3]));
            found.push(Detection { bbox, score, eyes: [place(points[0], points[1]), place(points[2], points[3])] });
        }
    }
    let shifted = |best: Detection| Detection { bbox: best.bbox.shifted(shifts), ..best };
    Ok(groups(found, spec.overlap).map(|(best, _)| shifted(best)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{canned, input};
    use super::super::{Decoding, Detector};
    use super::*;
    use crate::geometry::Rect;
    use crate::picture::Picture;
    use ndarray::ArrayD;

    /// A cell that fires: stride, index, class, object, box, eyes.
    type Fires = (usize, usize, f32, f32, [f32; 4], [f32; 4]);

    /// A network of 64 pixels a side with grids of 8 x 8 and 4 x 4 cells.
    fn detector(fires: &[Fires]) -> Detector {
        shifting([0.0; 4], fires)
    }

    fn shifting(shifts: [f64; 4], fires: &[Fires]) -> Detector {
        let spec = DetectorSpec {
            input: input(64),
            decoding: Decoding::YuNet { strides: vec![8, 16], shifts },
            score: 0.6,
            overlap: 0.3,
        };
        let mut tensors: Vec<(String, ArrayD<f32>)> = outputs(&[8, 16], 64)
            .into_iter()
            .map(|(name, shape)| (name, ArrayD::zeros([&[1], shape.as_slice()].concat())))
            .collect();
        for (stride, cell, class, object, bbox, eyes) in fires {
            for (name, values) in [("cls", &[*class][..]), ("obj", &[*object]), ("bbox", bbox), ("kps", eyes)] {
                let name = format!("{name}_{stride}");
                let (_, tensor) = tensors.iter_mut().find(|(it, _)| *it == name).unwrap();
                for (i, value) in values.iter().enumerate() {
                    tensor[[0, *cell, i]] = *value;
                }
            }
        }
        canned(spec, tensors)
    }

    #[test]
    fn a_box_and_its_points_are_offsets_from_a_cell_in_cells() {
        // Cell 10 of 8 x 8 is column 2, row 1; 128 x 64 fits at scale 0.5 with 16 rows of black above.
        let fires = (8, 10, 1.0, 1.0, [0.5, 1.0, 2.0_f32.ln(), 4.0_f32.ln()], [0.0, 1.5, 1.0, 1.5]);
        let found = detector(&[fires]).detect(&Picture::black(128, 64)).unwrap();
        assert_eq!(found.len(), 1);
        let Rect { left, top, right, bottom } = found[0].bbox;
        for (found, expected) in [(left, 24.0), (right, 56.0), (top, -32.0), (bottom, 32.0)] {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
        assert_eq!(found[0].eyes, [Point::new(32.0, 8.0), Point::new(48.0, 8.0)]);
    }

    #[test]
    fn a_score_is_the_geometric_mean_and_counts_from_the_threshold_on() {
        let at = |class, object| detector(&[(16, 5, class, object, [0.0; 4], [0.0; 4])]);
        let score = |class, object| {
            let found = at(class, object).detect(&Picture::black(64, 64)).unwrap();
            found.first().map(|it| it.score)
        };
        assert!((score(0.8, 0.5).unwrap() - 0.4_f64.sqrt()).abs() < 1e-6);
        assert_eq!(score(0.7, 0.5), None);
        assert!((score(1.5, 0.81).unwrap() - 0.9).abs() < 1e-6, "a probability is at most 1");
    }

    #[test]
    fn of_one_face_the_best_cell_stays_as_it_is_whatever_its_grid() {
        // Both of 32 pixels about (24, 24), and one far away.
        let fires = [
            (16, 5, 0.81, 1.0, [0.5, 0.5, 2.0_f32.ln(), 2.0_f32.ln()], [0.0; 4]),
            (8, 27, 0.64, 1.0, [0.25, 0.0, 4.0_f32.ln(), 4.0_f32.ln()], [0.0; 4]),
            (8, 63, 0.49, 1.0, [0.5, 0.5, 0.0, 0.0], [0.0; 4]),
        ];
        let found = detector(&fires).detect(&Picture::black(64, 64)).unwrap();
        let scores: Vec<_> = found.iter().map(|it| (it.score * 100.0).round()).collect();
        assert_eq!(scores, [90.0, 70.0]);
        assert!((found[0].bbox.centre().x - 24.0).abs() < 1e-6);
    }

    #[test]
    fn a_tight_box_becomes_one_as_later_stages_expect_it() {
        let fires = (8, 27, 1.0, 1.0, [0.0, 0.0, 2.0_f32.ln(), 4.0_f32.ln()], [0.0; 4]);
        let found = shifting([-0.5, 0.25, 0.5, 0.0], &[fires]).detect(&Picture::black(64, 64)).unwrap();
        let Rect { left, top, right, bottom } = found[0].bbox;
        for (found, expected) in [(left, 8.0), (right, 40.0), (top, 16.0), (bottom, 40.0)] {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }

    #[test]
    fn outputs_of_another_size_are_a_fault() {
        let mut detector = canned(detector(&[]).spec, vec![("cls_8".to_owned(), ArrayD::zeros(vec![1, 63, 1]))]);
        assert!(matches!(detector.detect(&Picture::black(8, 8)), Err(RuntimeFault::Interface { .. })));
    }
}
