//! Measures how a face moves through consecutive frames, from the landmarks of each. `visavis_domain::motion` judges
//! it.

use super::analysis::Analysis;
use super::geometry::Point;
use super::homography::Homography;
use super::quality::{LEFT_EYE, RIGHT_EYE};
use visavis_domain::motion::{FrameMeasures, Parallax};

// Indices of the mesh, by its published topology. Right and left are the subject's.
/// Root of the nose. With the upper lip it gives a line that does not change when the mouth opens.
const BROW: [usize; 3] = [168, 8, 9];
const LIP: [usize; 2] = [0, 164];
const NOSE_TIP: [usize; 2] = [1, 4];
/// Points that neither speech nor a smile moves much: forehead, brow ridge, corners of the eyes, nose, cheekbones,
/// temples.
const RIGID: [usize; 66] = [
    10, 109, 338, 67, 297, 54, 284, 103, 332, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 33, 133, 263, 362, 130, 359,
    98, 327, 64, 294, 129, 358, 50, 280, 101, 330, 118, 347, 117, 346, 116, 345, 36, 266, 205, 425, 127, 356, 234, 454,
    93, 323, 21, 251, 162, 389, 151, 108, 337, 69, 299, 104, 333, 55, 285,
];

/// The measures of each frame, in the order of the frames; `None` without a face that could be measured.
#[must_use]
pub fn frame_measures(frames: &[Option<Analysis>]) -> Vec<Option<FrameMeasures>> {
    let measures = |frame: &Option<Analysis>| {
        let frame = frame.as_ref()?;
        let quality = frame.quality?;
        let Profile { aside, along, .. } = Profile::of(&frame.primary_face()?.landmarks)?;
        Some(FrameMeasures { aside, along, eyes: quality.eyes_open, mouth: quality.mouth_open })
    };
    frames.iter().map(measures).collect()
}

/// The depth that the motion between frames shows. It is measured between the two frames in which the face looks
/// furthest to either side. With more than three faces, the furthest one on each side is left out, because a single
/// frame may be mismeasured. `None` with fewer than two faces.
#[must_use]
pub fn parallax(frames: &[Option<Analysis>]) -> Option<Parallax> {
    let faces = frames.iter().flatten().filter_map(Analysis::primary_face);
    let mut seen: Vec<(Profile, &[[f64; 3]])> =
        faces.filter_map(|face| Some((Profile::of(&face.landmarks)?, face.landmarks.as_slice()))).collect();
    seen.sort_by(|a, b| a.0.aside.total_cmp(&b.0.aside));
    let spare = usize::from(seen.len() > 3);
    let (right, left) = (seen.get(spare)?, seen.get(seen.len().checked_sub(1 + spare)?)?);
    if seen.len() < 2 {
        return None;
    }
    let mut widths: Vec<f64> = seen.iter().map(|(profile, _)| profile.width).collect();
    widths.sort_by(f64::total_cmp);
    let widest = widths[widths.len() - 1 - spare];
    let foreshortening = |profile: &Profile| (1.0 - (profile.width / widest).min(1.0).powi(2)).sqrt();
    let nose_shift = left.0.aside - right.0.aside;
    let protrusion = nose_shift / (foreshortening(&left.0) + foreshortening(&right.0) + LEAST_FORESHORTENING);
    let found = Parallax { nose_shift, unexplained: unexplained(right.1, left.1)?, protrusion };
    [found.nose_shift, found.unexplained, found.protrusion].iter().all(|value| value.is_finite()).then_some(found)
}

/// Added to the foreshortening of the two frames, because the width of a face is measured only to a few per cent.
const LEAST_FORESHORTENING: f64 = 0.2;

/// The residual of the maps in both directions, in inter-eye distances of the frame that is mapped to. It is limited to
/// 1, far more than any face has: from a very oblique view, the map can grow without bounds.
fn unexplained(a: &[[f64; 3]], b: &[[f64; 3]]) -> Option<f64> {
    let points = |mesh: &[[f64; 3]]| -> Option<Vec<Point>> { RIGID.iter().map(|i| at(mesh, *i)).collect() };
    let (from, to) = (points(a)?, points(b)?);
    let one_way = |from: &[Point], to: &[Point], eyes: f64| -> Option<f64> {
        Some(Homography::between(from, to)?.residual(from, to) / eyes)
    };
    let there = one_way(&from, &to, inter_eye(b)?)?;
    let back = one_way(&to, &from, inter_eye(a)?)?;
    let residual = f64::midpoint(there.powi(2), back.powi(2)).sqrt();
    residual.is_finite().then(|| residual.min(1.0))
}

/// The nose relative to the line from brow to lip.
#[derive(Debug, Clone, Copy)]
struct Profile {
    /// See [`FrameMeasures`].
    aside: f64,
    along: f64,
    /// Inter-eye distance in lengths of the line from brow to lip.
    width: f64,
}

impl Profile {
    fn of(mesh: &[[f64; 3]]) -> Option<Self> {
        let (brow, lip, nose) = (mean(mesh, &BROW)?, mean(mesh, &LIP)?, mean(mesh, &NOSE_TIP)?);
        let length = brow.distance(lip);
        let (down, tip) = (Point::new(lip.x - brow.x, lip.y - brow.y), Point::new(nose.x - brow.x, nose.y - brow.y));
        let aside = (tip.x * down.y - tip.y * down.x) / length.powi(2);
        let along = (tip.x * down.x + tip.y * down.y) / length.powi(2);
        let width = inter_eye(mesh)? / length;
        [aside, along, width].iter().all(|value| value.is_finite()).then_some(Self { aside, along, width })
    }
}

fn inter_eye(mesh: &[[f64; 3]]) -> Option<f64> {
    Some(mean(mesh, &RIGHT_EYE)?.distance(mean(mesh, &LEFT_EYE)?))
}

fn mean(mesh: &[[f64; 3]], indices: &[usize]) -> Option<Point> {
    let points: Option<Vec<Point>> = indices.iter().map(|i| at(mesh, *i)).collect();
    points.map(|points| Point::mean(&points))
}

fn at(mesh: &[[f64; 3]], index: usize) -> Option<Point> {
    mesh.get(index).map(|p| Point::new(p[0], p[1]))
}
