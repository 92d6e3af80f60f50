//! Measures how well a face was captured, following ISO/IEC 29794-5. Every measure is a number with a unit.
//! `visavis_domain` decides which values are bad.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::many_single_char_names,
    reason = "pixel indices and 0-255 values, clamped before each cast; coordinates"
)]

use std::ops::Range;

use super::face::Face;
use super::geometry::{Point, Transform};
use super::picture::{CHANNELS, Picture};
use super::view::View;
use visavis_domain::quality::Quality;

/// Side of the upright square chip in which colours and edges are measured.
const CHIP: usize = 112;
/// Where the eyes, the nose tip and the corners of the mouth lie in the chip. The inter-eye distance is 40 pixels, as
/// in the chips of the embedders.
const PLACES: [Point; 5] = [
    Point::new(36.0, 46.0),
    Point::new(76.0, 46.0),
    Point::new(56.0, 68.0),
    Point::new(40.0, 88.0),
    Point::new(72.0, 88.0),
];
const INTER_EYE: f64 = 40.0;

// Indices of the mesh, by its published topology. Right and left are the subject's.
const OVAL: [usize; 36] = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
];
const FOREHEAD: usize = 10;
const CHIN: usize = 152;
/// Outer and inner corner.
pub(super) const RIGHT_EYE: [usize; 2] = [33, 133];
pub(super) const LEFT_EYE: [usize; 2] = [263, 362];
/// Upper lid and the lower lid below it, at three places along the eye.
const RIGHT_LIDS: [[usize; 2]; 3] = [[160, 144], [159, 145], [158, 153]];
const LEFT_LIDS: [[usize; 2]; 3] = [[387, 373], [386, 374], [385, 380]];
/// Inner edges of the lips.
const LIPS: [usize; 2] = [13, 14];
/// Sides of the face, right and left.
const SIDES: [[usize; 2]; 3] = [[33, 263], [61, 291], [234, 454]];

/// Measures face `primary` of the `faces` in `picture`. `None` when its points do not form a face: they coincide, or a
/// measure is not finite.
#[must_use]
pub fn measure(picture: &View, faces: &[Face], primary: usize) -> Option<Quality> {
    let face = faces.get(primary)?;
    let mesh = Mesh(&face.landmarks);
    let [right_eye, left_eye] = [mesh.middle(&RIGHT_EYE)?, mesh.middle(&LEFT_EYE)?];
    let pose = mesh.pose()?;
    // In three dimensions, because the eyes of a turned head look closer together.
    let inter_eye = distance(right_eye, left_eye);
    let chip = Chip::of(picture, face, mesh)?;
    let light = chip.light();
    let height = distance(midpoint(right_eye, left_eye), mesh.at(CHIN)?);
    let mouth = distance(mesh.at(LIPS[0])?, mesh.at(LIPS[1])?);
    let quality = Quality {
        inter_eye_px: inter_eye,
        sharpness: 1.0 - chip.blur(),
        brightness: light.mean,
        dynamic_range: light.range,
        overexposed: light.over,
        underexposed: light.under,
        yaw_deg: pose[0],
        pitch_deg: pose[1],
        roll_deg: pose[2],
        eyes_open: f64::midpoint(mesh.openness(&RIGHT_EYE, &RIGHT_LIDS)?, mesh.openness(&LEFT_EYE, &LEFT_LIDS)?),
        mouth_open: mouth / height,
        eyes_darkness: chip.eyes_darkness(),
        eyes_detail: chip.eyes_detail(),
        mouth_detail: chip.mouth_detail(),
        mouth_tint: chip.mouth_tint(),
        margin: mesh.margin(picture) / inter_eye,
        dominance: dominance(picture, faces, primary),
    };
    quality.is_finite().then_some(quality)
}

/// The face's share of the prominence of itself and the next most prominent face. It is in [0.5, 1] for the most
/// prominent face.
fn dominance(picture: &View, faces: &[Face], primary: usize) -> f64 {
    let prominence = |face: &Face| face.bbox.prominence(picture.width(), picture.height());
    let own = faces.get(primary).map_or(0.0, prominence);
    let others = faces.iter().enumerate().filter(|(at, _)| *at != primary);
    let second = others.map(|(_, face)| prominence(face)).fold(0.0, f64::max);
    if own > 0.0 { own / (own + second) } else { 0.0 }
}

type Point3 = [f64; 3];

fn distance(a: Point3, b: Point3) -> f64 {
    let [x, y, z] = minus(a, b);
    (x * x + y * y + z * z).sqrt()
}

fn minus(a: Point3, b: Point3) -> Point3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn midpoint(a: Point3, b: Point3) -> Point3 {
    std::array::from_fn(|i| f64::midpoint(a[i], b[i]))
}

/// The landmarks of a face.
#[derive(Clone, Copy)]
struct Mesh<'a>(&'a [Point3]);

impl Mesh<'_> {
    fn at(self, index: usize) -> Option<Point3> {
        self.0.get(index).copied()
    }

    fn middle(self, of: &[usize; 2]) -> Option<Point3> {
        Some(midpoint(self.at(of[0])?, self.at(of[1])?))
    }

    /// Height of the gap between the lids, as a multiple of the width of the eye.
    fn openness(self, corners: &[usize; 2], lids: &[[usize; 2]; 3]) -> Option<f64> {
        let mut gap = 0.0;
        for [upper, lower] in lids {
            gap += distance(self.at(*upper)?, self.at(*lower)?) / 3.0;
        }
        Some(gap / distance(self.at(corners[0])?, self.at(corners[1])?))
    }

    /// Yaw, pitch and roll in degrees, applied in this order to an upright frontal head. Yaw is positive to the
    /// subject's left, pitch upwards, and roll clockwise on the screen.
    fn pose(self) -> Option<[f64; 3]> {
        let mut across = [0.0; 3];
        for [right, left] in SIDES {
            let side = minus(self.at(left)?, self.at(right)?);
            for (sum, value) in across.iter_mut().zip(side) {
                *sum += value;
            }
        }
        let down = minus(self.at(CHIN)?, self.at(FOREHEAD)?);
        let roll = across[1].atan2(across[0]);
        let yaw = across[2].atan2(across[0].hypot(across[1]));
        // The eyes are levelled first. Then the chin moves only in height and depth.
        let level = down[1] * roll.cos() - down[0] * roll.sin();
        let pitch = down[2].atan2(level);
        Some([yaw.to_degrees(), CHIN_RECEDES - pitch.to_degrees(), roll.to_degrees()])
    }

    /// Pixels from the mesh to the nearest edge of the picture; negative if the mesh reaches beyond it.
    fn margin(self, picture: &View) -> f64 {
        let (right, bottom) = (picture.width() as f64 - 1.0, picture.height() as f64 - 1.0);
        self.0.iter().map(|[x, y, _]| x.min(*y).min(right - x).min(bottom - y)).fold(f64::INFINITY, f64::min)
    }
}

/// The angle in degrees of the line from forehead to chin when a head looks straight ahead: the median on LFW.
const CHIN_RECEDES: f64 = 5.2;

/// The upright face, at the scale of the embedders or at its own scale if that is smaller.
struct Chip {
    picture: Picture,
    /// For each pixel, whether it lies on the face.
    on_face: Vec<bool>,
    /// Pixels of this chip for each pixel of the chip that [`PLACES`] describes.
    scale: f64,
}

struct Light {
    mean: f64,
    range: f64,
    over: f64,
    under: f64,
}

impl Chip {
    fn of(picture: &View, face: &Face, mesh: Mesh<'_>) -> Option<Self> {
        let eyes = face.five_points[0].distance(face.five_points[1]);
        let scale = (eyes / INTER_EYE).clamp(0.1, 1.0);
        let side = (CHIP as f64 * scale).ceil() as usize;
        let places = PLACES.map(|p| Point::new(p.x * scale, p.y * scale));
        let upright = Transform::umeyama(&face.five_points, &places)?;
        let mut oval = Vec::with_capacity(OVAL.len());
        for index in OVAL {
            let [x, y, _] = mesh.at(index)?;
            oval.push(upright.apply(Point::new(x, y)));
        }
        // Pixels outside the picture are black and do not belong to the face.
        let back = upright.inverse()?;
        let (width, height) = (picture.width() as f64, picture.height() as f64);
        let on_face = (0..side * side).map(|at| {
            let p = Point::new((at % side) as f64, (at / side) as f64);
            let source = back.apply(p);
            let shown = source.x >= 0.0 && source.y >= 0.0 && source.x < width - 0.5 && source.y < height - 0.5;
            shown && encloses(&oval, p)
        });
        let on_face = on_face.collect();
        Some(Self { picture: picture.warp(&upright, side), on_face, scale })
    }

    fn luminance(&self, at: usize) -> f64 {
        let p = &self.picture.pixels()[at * CHANNELS..];
        0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2])
    }

    /// The luminance on the face: its mean, the range from the 5th to the 95th percentile, and the shares of nearly
    /// white and nearly black pixels, all in [0, 1].
    fn light(&self) -> Light {
        let mut values: Vec<_> =
            (0..self.on_face.len()).filter(|at| self.on_face[*at]).map(|at| self.luminance(at)).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let quantile = |q: f64| values.get((n * q) as usize).copied().unwrap_or_default();
        Light {
            mean: values.iter().sum::<f64>() / n / 255.0,
            range: (quantile(0.95) - quantile(0.05)) / 255.0,
            over: values.iter().filter(|value| **value >= 247.0).count() as f64 / n,
            under: values.iter().filter(|value| **value <= 25.0).count() as f64 / n,
        }
    }

    /// How little a further blur changes the face, in [0, 1], in the worse of both directions (F. Crete et al., "The
    /// blur effect: perception and estimation with a new no-reference perceptual blur metric", 2007).
    fn blur(&self) -> f64 {
        let side = self.picture.width();
        let luminance: Vec<_> = (0..side * side).map(|at| self.luminance(at)).collect();
        let along = |step: usize| {
            let (mut sharp, mut lost) = (0.0, 0.0);
            let blurred = |at: usize| (0..=2 * BLUR).map(|i| luminance[at + i * step - BLUR * step]).sum::<f64>();
            for y in BLUR + 1..side.saturating_sub(BLUR) {
                for x in BLUR + 1..side.saturating_sub(BLUR) {
                    let at = y * side + x;
                    if self.on_face[at] {
                        let here = (luminance[at] - luminance[at - step]).abs();
                        let there = (blurred(at) - blurred(at - step)).abs() / (2 * BLUR + 1) as f64;
                        sharp += here;
                        lost += (here - there).max(0.0);
                    }
                }
            }
            if sharp > 0.0 { (sharp - lost) / sharp } else { 1.0 }
        };
        along(1).max(along(side))
    }

    /// The means on a disc around a place of the chip.
    fn patch(&self, (x, y): (f64, f64), radius: f64) -> Patch {
        let side = self.picture.width();
        let (x, y, radius) = (x * self.scale, y * self.scale, (radius * self.scale).max(1.0));
        let (mut patch, mut n) = (Patch::default(), 0.0);
        let span = |c: f64| (c - radius).max(0.0) as usize..=((c + radius) as usize).min(side - 1);
        for py in span(y) {
            for px in span(x) {
                if (px as f64 - x).hypot(py as f64 - y) <= radius {
                    let at = py * side + px;
                    let p = &self.picture.pixels()[at * CHANNELS..];
                    let light = self.luminance(at);
                    patch.light += light;
                    patch.blue += (f64::from(p[2]) - light) * 0.564;
                    patch.red += (f64::from(p[0]) - light) * 0.713;
                    n += 1.0;
                }
            }
        }
        Patch { light: patch.light / n, blue: patch.blue / n, red: patch.red / n }
    }

    /// How much darker the eyes are than the cheeks. The lighter eye and the lighter cheek are compared, because the
    /// others may be in the shade or behind the nose.
    fn eyes_darkness(&self) -> f64 {
        let lighter = |places: [(f64, f64); 2], radius| {
            let [a, b] = places.map(|place| self.patch(place, radius).light);
            a.max(b)
        };
        let (eyes, cheeks) = (lighter([(36.0, 46.0), (76.0, 46.0)], 8.0), lighter([(34.0, 66.0), (78.0, 66.0)], 5.0));
        (1.0 - eyes / cheeks.max(1.0)).max(0.0)
    }

    /// The difference in colour between the upper and the lower half of the face.
    fn mouth_tint(&self) -> f64 {
        let mean = |places: [(f64, f64); 4], value: fn(&Patch) -> f64| {
            places.iter().map(|place| value(&self.patch(*place, 4.0))).sum::<f64>() / 4.0
        };
        let upper = [(56.0, 30.0), (56.0, 50.0), (34.0, 62.0), (78.0, 62.0)];
        let lower = [(56.0, 78.0), (36.0, 84.0), (76.0, 84.0), (56.0, 100.0)];
        let apart = |value: fn(&Patch) -> f64| mean(upper, value) - mean(lower, value);
        apart(|patch| patch.blue).hypot(apart(|patch| patch.red))
    }

    /// The mean difference in luminance between neighbouring pixels in a box of the chip.
    fn detail(&self, across: Range<f64>, down: Range<f64>) -> f64 {
        let side = self.picture.width();
        let span = |range: &Range<f64>| {
            ((range.start * self.scale) as usize).max(1)..((range.end * self.scale) as usize).min(side)
        };
        let (mut sum, mut n) = (0.0, 0.0);
        for y in span(&down) {
            for x in span(&across) {
                let at = y * side + x;
                let here = self.luminance(at);
                sum += (here - self.luminance(at - side)).abs() + (here - self.luminance(at - 1)).abs();
                n += 1.0;
            }
        }
        if n > 0.0 { sum / n } else { 0.0 }
    }

    fn eyes_detail(&self) -> f64 {
        let (right, left) = (self.detail(26.0..46.0, 38.0..54.0), self.detail(66.0..86.0, 38.0..54.0));
        (right.min(left) / self.detail(42.0..70.0, 78.0..98.0).max(FAINT)).min(DETAIL_END)
    }

    fn mouth_detail(&self) -> f64 {
        (self.detail(42.0..70.0, 78.0..98.0) / self.detail(22.0..90.0, 36.0..56.0).max(FAINT)).min(DETAIL_END)
    }
}

/// The blur averages over this many pixels on each side.
const BLUR: usize = 2;
/// The least detail (0-255) that others are divided by. Below it, a region has no edges to compare with.
const FAINT: f64 = 0.1;
/// The largest ratio of the detail of two regions. Beyond it, one of them is covered.
const DETAIL_END: f64 = 10.0;

/// Luminance (0-255), and how much blue and red differ from it.
#[derive(Debug, Clone, Copy, Default)]
struct Patch {
    light: f64,
    blue: f64,
    red: f64,
}

/// Whether the polygon encloses `p`. Counts the sides that a ray from `p` crosses.
fn encloses(polygon: &[Point], p: Point) -> bool {
    let mut inside = false;
    for (i, a) in polygon.iter().enumerate() {
        let b = polygon[(i + 1) % polygon.len()];
        if (a.y > p.y) != (b.y > p.y) && p.x < (b.x - a.x) * (p.y - a.y) / (b.y - a.y) + a.x {
            inside = !inside;
        }
    }
    inside
}
