//! `YuNet` (Wu, Peng, Yu, "`YuNet`: A Tiny Millisecond-level Face Detector", 2023): offsets from the cells of three
//! grids, plain non-maximum suppression.

use super::detection::{Detection, Selection, around, groups, small};
use crate::fault::RuntimeFault;
use crate::geometry::Point;
use crate::model::Outputs;

/// Numbers of a box: the centre's offset and the logarithms of the sides, all in cells.
const BOX_VALUES: usize = 4;
/// Numbers of the points: x and y of eyes, nose and corners of the mouth, as offsets from the cell, in cells.
const POINT_VALUES: usize = 2 * 5;

/// `cls_`, `obj_`, `bbox_` and `kps_` for each stride, with the stride appended. They have one row for each cell.
pub(super) fn outputs(strides: &[usize], side: usize) -> Vec<(String, Vec<usize>)> {
    let of = |stride: &usize| {
        let cells = (side / stride).pow(2);
        [("cls", 1), ("obj", 1), ("bbox", BOX_VALUES), ("kps", POINT_VALUES)]
            .map(|(name, values)| (format!("{name}_{stride}"), vec![cells, values]))
    };
    strides.iter().flat_map(of).collect()
}

/// The cells at or above the threshold as detections in pixels of the square. Only the best of each face is kept. A
/// cell's score is the geometric mean of two probabilities: that it shows a face, and that it shows any object.
pub(super) fn decode(
    selection: Selection,
    strides: &[usize],
    shifts: [f64; 4],
    model: &str,
    outputs: &mut Outputs,
) -> Result<Vec<Detection>, RuntimeFault> {
    let mut found = Vec::new();
    for &stride in strides {
        let across = selection.side / stride;
        let cells = across * across;
        let mut take = |name: &str, values: usize| outputs.take(model, &format!("{name}_{stride}"), cells * values);
        let (classes, objects) = (take("cls", 1)?, take("obj", 1)?);
        let (boxes, points) = (take("bbox", BOX_VALUES)?, take("kps", POINT_VALUES)?);
        let rows = boxes.chunks_exact(BOX_VALUES).zip(points.chunks_exact(POINT_VALUES));
        for (cell, ((class, object), (bbox, points))) in classes.iter().zip(&objects).zip(rows).enumerate() {
            let probability = |value: &f32| f64::from(*value).clamp(0.0, 1.0);
            let score = (probability(class) * probability(object)).sqrt();
            if score < selection.score {
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
    Ok(groups(found, selection.overlap).map(|(best, _)| shifted(best)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use ndarray::ArrayD;

    /// A cell that fires: stride, index, class, object, box, eyes.
    type Fires = (usize, usize, f32, f32, [f32; 4], [f32; 4]);

    /// Decodes the outputs of a network of 64 pixels a side with grids of 8 x 8 and 4 x 4 cells.
    fn decoded(fires: &[Fires]) -> Vec<Detection> {
        shifted([0.0; 4], fires)
    }

    fn shifted(shifts: [f64; 4], fires: &[Fires]) -> Vec<Detection> {
        let mut tensors: Vec<(String, ArrayD<f32>)> = outputs(&[8, 16], 64)
            .into_iter()
            .map(|(name, shape)| (name, ArrayD::zeros([&[1], shape.as_slice()].concat())))
            .collect();
        for (stride, cell, class, object, bbox, eyes) in fires {
            for (name, values) in [("cls", &[*class][..]), ("obj", &[*object]), ("bbox", bbox), ("kps", eyes)] {
                let name = format!("{name}_{stride}");
                let (_, tensor) = tensors.iter_mut().find(|(other, _)| *other == name).unwrap();
                for (i, value) in values.iter().enumerate() {
                    tensor[[0, *cell, i]] = *value;
                }
            }
        }
        read(shifts, tensors).unwrap()
    }

    fn read(shifts: [f64; 4], tensors: Vec<(String, ArrayD<f32>)>) -> Result<Vec<Detection>, RuntimeFault> {
        let selection = Selection { side: 64, score: 0.6, overlap: 0.3 };
        decode(selection, &[8, 16], shifts, "canned", &mut Outputs::new(tensors))
    }

    #[test]
    fn a_box_and_its_points_are_offsets_from_a_cell_in_cells() {
        // Cell 10 of 8 x 8 is column 2, row 1.
        let fires = (8, 10, 1.0, 1.0, [0.5, 1.0, 2.0_f32.ln(), 4.0_f32.ln()], [0.0, 1.5, 1.0, 1.5]);
        let found = decoded(&[fires]);
        assert_eq!(found.len(), 1);
        let Rect { left, top, right, bottom } = found[0].bbox;
        for (found, expected) in [(left, 12.0), (right, 28.0), (top, 0.0), (bottom, 32.0)] {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
        assert_eq!(found[0].eyes, [Point::new(16.0, 20.0), Point::new(24.0, 20.0)]);
    }

    #[test]
    fn a_score_is_the_geometric_mean_and_counts_from_the_threshold_on() {
        let score = |class, object| {
            decoded(&[(16, 5, class, object, [0.0; 4], [0.0; 4])]).first().map(|detection| detection.score)
        };
        assert!((score(0.8, 0.5).unwrap() - 0.4_f64.sqrt()).abs() < 1e-6);
        assert_eq!(score(0.7, 0.5), None);
        assert!((score(1.5, 0.81).unwrap() - 0.9).abs() < 1e-6, "a probability is at most 1");
    }

    #[test]
    fn the_best_cell_of_a_face_is_kept_whichever_grid_it_belongs_to() {
        // Two have 32 pixels around (24, 24); one is far away.
        let fires = [
            (16, 5, 0.81, 1.0, [0.5, 0.5, 2.0_f32.ln(), 2.0_f32.ln()], [0.0; 4]),
            (8, 27, 0.64, 1.0, [0.25, 0.0, 4.0_f32.ln(), 4.0_f32.ln()], [0.0; 4]),
            (8, 63, 0.49, 1.0, [0.5, 0.5, 0.0, 0.0], [0.0; 4]),
        ];
        let found = decoded(&fires);
        let scores: Vec<_> = found.iter().map(|detection| (detection.score * 100.0).round()).collect();
        assert_eq!(scores, [90.0, 70.0]);
        assert!((found[0].bbox.centre().x - 24.0).abs() < 1e-6);
    }

    #[test]
    fn a_tight_box_is_shifted_to_the_box_that_later_stages_expect() {
        let fires = (8, 27, 1.0, 1.0, [0.0, 0.0, 2.0_f32.ln(), 4.0_f32.ln()], [0.0; 4]);
        let found = shifted([-0.5, 0.25, 0.5, 0.0], &[fires]);
        let Rect { left, top, right, bottom } = found[0].bbox;
        for (found, expected) in [(left, 8.0), (right, 40.0), (top, 16.0), (bottom, 40.0)] {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }

    #[test]
    fn outputs_of_another_size_are_a_fault() {
        let tensors = vec![("cls_8".to_owned(), ArrayD::zeros(vec![1, 63, 1]))];
        assert!(matches!(read([0.0; 4], tensors), Err(RuntimeFault::Interface { .. })));
    }
}
