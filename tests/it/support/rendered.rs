//! Frames of a face in front of a camera, rendered from one photo: a head in three dimensions that turns, closes its eyes and
//! opens its mouth; or the photo itself, as a sheet that is moved, tilted, bent and brought closer.
//!
//! The depth of a head is that of its mesh, and falls back to a wall behind it.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::many_single_char_names,
    reason = "places in pictures, clamped before each cast; coordinates"
)]

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use visavis::domain::action::Action;
use visavis::vision::{Face, Pipeline};

use super::spoilt::Shot;

type Place = [f64; 3];

/// Cells of the grid over the photo, along each side.
const CELLS: usize = 72;
/// Distance of the camera, in inter-eye distances: an arm's length.
const AWAY: f64 = 7.0;

// Points of the mesh, by its published topology.
/// Corners from left to right on the screen, lower lid.
const EYES: [[usize; 3]; 2] = [[33, 133, 145], [362, 263, 374]];
const INNER_LIPS: [usize; 18] = [191, 80, 81, 82, 13, 312, 311, 310, 415, 324, 318, 402, 317, 14, 87, 178, 88, 95];
const CHIN: usize = 152;

/// How what is in front of the camera stands: degrees and inter-eye distances.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pose {
    /// To the subject's left.
    pub yaw: f64,
    /// Up.
    pub pitch: f64,
    /// Clockwise on the screen.
    pub roll: f64,
    /// To the right and down.
    pub shift: [f64; 2],
    /// Towards the camera.
    pub closer: f64,
    /// How far the eyes are closed and the mouth is open, in [0, 1].
    pub closed: f64,
    pub open: f64,
    /// Of a sheet: how far its sides bend away from its middle, as degrees of a turn an inter-eye distance; about the upright
    /// axis and about the level one.
    pub bend: [f64; 2],
}

/// How somebody answers a challenge: how far each action goes, and how still the rest is.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Degrees of a turn.
    pub turn: f64,
    /// Degrees by which the chin goes up and down.
    pub nod: f64,
    /// Frames in which an action is held.
    pub hold: usize,
    /// Degrees and hundredths of an inter-eye distance by which the head is never quite where it was.
    pub tremor: f64,
}

/// The poses of a head that makes these actions one after the other.
pub fn performed(actions: &[Action], manner: &Manner, seed: u64) -> Vec<Pose> {
    let mut noise = Noise(seed);
    let mut poses = vec![Pose::default(); 2];
    for action in actions {
        let done = match action {
            Action::TurnLeft => Pose { yaw: manner.turn, ..Pose::default() },
            Action::TurnRight => Pose { yaw: -manner.turn, ..Pose::default() },
            Action::LookUp => Pose { pitch: manner.nod, ..Pose::default() },
            Action::LookDown => Pose { pitch: -manner.nod, ..Pose::default() },
            Action::CloseEyes => Pose { closed: 1.0, ..Pose::default() },
            Action::OpenMouth => Pose { open: 1.0, ..Pose::default() },
        };
        let half = Pose {
            yaw: done.yaw / 2.0,
            pitch: done.pitch / 2.0,
            closed: done.closed / 2.0,
            open: done.open / 2.0,
            ..done
        };
        poses.push(half);
        poses.extend(std::iter::repeat_n(done, manner.hold));
        poses.extend([half, Pose::default()]);
    }
    for pose in &mut poses {
        let mut about = |scale: f64| scale * manner.tremor * noise.next();
        pose.yaw += about(1.0);
        pose.pitch += about(1.0);
        pose.roll += about(1.0);
        pose.shift = [about(0.01), about(0.01)];
        pose.closer += about(0.02);
    }
    poses
}

/// Numbers in [-1, 1], the same ones each time.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    }
}

/// What may be done with a photo in front of a camera to answer a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    Moved,
    Tilted,
    Bent,
    Zoomed,
}

/// Somebody who takes pains.
pub const MANNER: Manner = Manner { turn: 28.0, nod: 20.0, hold: 2, tremor: 2.0 };

impl Attack {
    pub const ALL: [Self; 4] = [Self::Moved, Self::Tilted, Self::Bent, Self::Zoomed];

    /// The poses of a sheet for a turn to the left and to the right, closing eyes, opening the mouth; `force` in [0, 1].
    pub fn poses(self, actions: &[Action], force: f64, seed: u64) -> Vec<Pose> {
        let mut noise = Noise(seed);
        let mut poses = vec![Pose::default(); 2];
        for action in actions {
            let [across, down] = match action {
                Action::TurnLeft => [1.0, 0.0],
                Action::TurnRight => [-1.0, 0.0],
                Action::LookUp => [0.0, 1.0],
                Action::LookDown | Action::CloseEyes => [0.0, -1.0],
                Action::OpenMouth => [0.3, 0.5],
            };
            let (tilt, bend, rest) = (25.0 + 20.0 * force, 10.0 + 15.0 * force, Pose::default());
            let done = match self {
                Self::Moved => Pose { shift: [0.8 * across, -0.6 * down], roll: 15.0 * force * across, ..rest },
                Self::Tilted => Pose { yaw: tilt * across, pitch: tilt * down, ..rest },
                Self::Bent => Pose {
                    yaw: tilt * across,
                    pitch: tilt * down,
                    bend: if down == 0.0 { [bend, 0.0] } else { [0.0, bend] },
                    ..rest
                },
                Self::Zoomed => {
                    Pose { closer: (0.5 + 1.5 * force) * (across + down), shift: [0.3 * across, 0.0], ..rest }
                }
            };
            let half = Pose {
                yaw: done.yaw / 2.0,
                pitch: done.pitch / 2.0,
                roll: done.roll / 2.0,
                shift: done.shift.map(|it| it / 2.0),
                closer: done.closer / 2.0,
                bend: done.bend.map(|it| it / 2.0),
                ..rest
            };
            poses.extend([half, done, done, half, rest]);
        }
        for pose in &mut poses {
            pose.yaw += noise.next();
            pose.pitch += noise.next();
            pose.roll += noise.next();
            pose.closer += 0.02 * noise.next();
        }
        poses
    }
}

/// The same photo with so many pixels between the eyes, saved and found again; `None` where no face is found in it any more.
pub fn resized(pipeline: &mut Pipeline, shot: &Shot, inter_eye: f64) -> Option<Shot> {
    Shot::of(pipeline, &jpeg(&shot.scaled_to(inter_eye)))
}

/// As a phone sends it.
pub fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 90).encode_image(picture).expect("a picture of ours can be encoded");
    file
}

/// A photo of a face as a thing in space.
pub struct Subject<'a> {
    photo: &'a RgbImage,
    face: &'a Face,
    inter_eye: f64,
    /// The depth of each corner of the grid, pixels away from the camera; of a sheet none.
    depths: Option<Vec<f64>>,
}

impl<'a> Subject<'a> {
    /// The head itself.
    pub fn head(photo: &'a RgbImage, face: &'a Face) -> Self {
        let sheet = Self::sheet(photo, face);
        let depths = sheet.corners(0.35).map(|[x, y]| depth(face, sheet.inter_eye, x, y)).collect();
        Self { depths: Some(depths), ..sheet }
    }

    /// Its photo on paper, cut out so that half of it is face.
    pub fn sheet(photo: &'a RgbImage, face: &'a Face) -> Self {
        let inter_eye = face.five_points[0].distance(face.five_points[1]);
        Self { photo, face, inter_eye, depths: None }
    }

    /// Corners of the grid in pixels of the photo, which reaches beyond it by `beyond` sides.
    fn corners(&self, beyond: f64) -> impl Iterator<Item = [f64; 2]> {
        let (width, height) = (f64::from(self.photo.width()), f64::from(self.photo.height()));
        let at = move |i: usize| -beyond + (1.0 + 2.0 * beyond) * i as f64 / CELLS as f64;
        (0..=CELLS).flat_map(move |j| (0..=CELLS).map(move |i| [at(i) * width, at(j) * height]))
    }

    /// What the camera sees; as large as the photo.
    pub fn frame(&self, pose: &Pose) -> RgbImage {
        let d = self.inter_eye;
        let centre = self.face.landmarks[168];
        let is_head = self.depths.is_some();
        // A head turns on its neck, a sheet in the hand that holds it.
        let pivot = if is_head { 1.4 * d } else { 0.0 };
        let textures: Vec<[f64; 2]> = self.corners(if is_head { 0.35 } else { 0.0 }).collect();
        let (width, height) = (f64::from(self.photo.width()), f64::from(self.photo.height()));
        let project = |[x, y, z]: Place| {
            let away = AWAY * d + z - pose.closer * d;
            let scale = AWAY * d / away;
            [centre[0] + x * scale + pose.shift[0] * d, centre[1] + y * scale + pose.shift[1] * d, away]
        };
        let places = textures.iter().enumerate().map(|(i, &[x, y])| {
            let [dx, dy] = self.expression(pose, x, y);
            let (mut x, mut y) = (x + dx - centre[0], y + dy - centre[1]);
            let mut z = self.depths.as_ref().map_or(0.0, |it| it[i]) - pivot;
            for (along, bend) in [&mut x, &mut y].into_iter().zip(pose.bend) {
                let turn = bend.to_radians() / d;
                if turn != 0.0 {
                    z += (1.0 - (*along * turn).cos()) / turn;
                    *along = (*along * turn).sin() / turn;
                }
            }
            let mut place = turned([x, y, z], pose);
            place[2] += pivot;
            project(place)
        });
        let places: Vec<Place> = places.collect();
        let mut canvas = Canvas::new(width as u32, height as u32);
        for j in 0..CELLS {
            for i in 0..CELLS {
                let at = |i: usize, j: usize| j * (CELLS + 1) + i;
                let [a, b, c, e] = [at(i, j), at(i + 1, j), at(i, j + 1), at(i + 1, j + 1)];
                for triangle in [[a, b, c], [b, e, c]] {
                    canvas.paint(triangle.map(|it| places[it]), |weights| {
                        let mut from = [0.0; 2];
                        for (weight, corner) in weights.iter().zip(triangle) {
                            from[0] += weight * textures[corner][0];
                            from[1] += weight * textures[corner][1];
                        }
                        self.colour(pose, from)
                    });
                }
            }
        }
        canvas.picture
    }

    /// The skin of a lid over the eye, the dark of an open mouth, or the photo.
    fn colour(&self, pose: &Pose, [x, y]: [f64; 2]) -> Rgb<u8> {
        if pose.open > 0.0 && self.is_in_the_mouth([x, y]) {
            return Rgb([30, 12, 12]);
        }
        let mut colour = sample(self.photo, [x, y]);
        for [left, right, lower] in EYES.iter().filter(|_| pose.closed > 0.0) {
            let mesh = &self.face.landmarks;
            let [left, right, lower] = [mesh[*left], mesh[*right], mesh[*lower]];
            let half = (right[0] - left[0]).hypot(right[1] - left[1]) / 2.0;
            let (across, down) = ((right[0] - left[0]) / (2.0 * half), (right[1] - left[1]) / (2.0 * half));
            let middle = [f64::midpoint(left[0], right[0]), f64::midpoint(left[1], right[1])];
            // In half widths of the eye, along and across it.
            let (dx, dy) = ((x - middle[0]) / half, (y - middle[1]) / half);
            let (u, v) = (dx * across + dy * down, dy * across - dx * down);
            // The lid's edge hangs from corner to corner down to where the lower lid is.
            let sag = 0.12 + ((lower[0] - middle[0]) * -down + (lower[1] - middle[1]) * across) / half;
            let edge = sag * (1.0 - u * u) * (2.0 * pose.closed - 1.0);
            let cover = ((1.15 - u.hypot(if v < 0.0 { v / 0.75 } else { v / 0.7 })) / 0.2).clamp(0.0, 1.0);
            let lid = if v < edge + 0.06 { cover * pose.closed } else { 0.0 };
            let skin = sample(self.photo, [x + 0.9 * half * -down, middle[1] + 1.05 * half]);
            let lash = (1.0 - ((v - edge) / 0.09).powi(2)).max(0.0) * f64::from(u.abs() < 1.0);
            for (c, skin) in colour.0.iter_mut().zip(skin.0) {
                let covered = f64::from(*c) * (1.0 - lid) + f64::from(skin) * 0.95 * lid;
                *c = (covered * (1.0 - 0.65 * lash * pose.closed)).round() as u8;
            }
        }
        colour
    }

    /// How far a point of the photo moves when the mouth opens.
    fn expression(&self, pose: &Pose, x: f64, y: f64) -> [f64; 2] {
        let mesh = &self.face.landmarks;
        let mut moved = [0.0; 2];
        if pose.open > 0.0 {
            // The jaw swings down, most at the chin; the upper lip stays.
            let lip = f64::midpoint(mesh[13][1], mesh[14][1]);
            let below = ((y - lip) / (0.1 * self.inter_eye)).clamp(0.0, 1.0);
            let across = (1.0 - ((x - mesh[14][0]) / (1.1 * self.inter_eye)).powi(2)).max(0.0);
            let fade = (1.0 - (y - mesh[CHIN][1]) / (1.2 * self.inter_eye)).clamp(0.0, 1.0);
            moved[1] += 0.45 * self.inter_eye * pose.open * below * across * fade;
        }
        moved
    }

    /// Whether a point of the photo lies between the lips: on the part of the texture that the jaw stretches.
    fn is_in_the_mouth(&self, [x, y]: [f64; 2]) -> bool {
        let mesh = &self.face.landmarks;
        let lip = f64::midpoint(mesh[13][1], mesh[14][1]);
        let half = (mesh[INNER_LIPS[8]][0] - mesh[INNER_LIPS[0]][0]).abs() / 2.0;
        let middle = f64::midpoint(mesh[INNER_LIPS[8]][0], mesh[INNER_LIPS[0]][0]);
        let (along, down) = ((x - middle) / half, (y - lip) / (0.1 * self.inter_eye));
        (0.0..=1.0).contains(&down) && along * along + (2.0 * down - 1.0).powi(2) < 1.0
    }
}

/// Depth at a place of the photo, in pixels behind the point between the eyes.
fn depth(face: &Face, inter_eye: f64, x: f64, y: f64) -> f64 {
    let (mut sum, mut total, mut nearest) = (0.0, 0.0, f64::INFINITY);
    let width = 0.09 * inter_eye;
    for p in &face.landmarks {
        let square = (x - p[0]).powi(2) + (y - p[1]).powi(2);
        let weight = 1.0 / (square / (width * width) + 0.05).powi(2);
        sum += weight * (p[2] - face.landmarks[168][2]);
        total += weight;
        nearest = nearest.min(square);
    }
    // The back of the head, and a wall.
    let out = ((nearest.sqrt() / inter_eye - 0.1) / 0.9).clamp(0.0, 1.0);
    sum / total + out * out * (3.0 - 2.0 * out) * 2.0 * inter_eye
}

fn turned([x, y, z]: Place, pose: &Pose) -> Place {
    // Depth points away from the camera; a head that turns to its left shows its nose on the right of the screen.
    let (sin, cos) = pose.yaw.to_radians().sin_cos();
    let [x, z] = [x * cos - z * sin, x * sin + z * cos];
    let (sin, cos) = pose.pitch.to_radians().sin_cos();
    let [y, z] = [y * cos + z * sin, z * cos - y * sin];
    let (sin, cos) = pose.roll.to_radians().sin_cos();
    [x * cos - y * sin, x * sin + y * cos, z]
}

/// Bilinear; beyond the photo its edge goes on.
fn sample(photo: &RgbImage, [x, y]: [f64; 2]) -> Rgb<u8> {
    let (x, y) = (x.clamp(0.0, f64::from(photo.width() - 1)), y.clamp(0.0, f64::from(photo.height() - 1)));
    let (left, top) = (x.floor(), y.floor());
    let at = |x: f64, y: f64| {
        photo.get_pixel((x as u32).min(photo.width() - 1), (y as u32).min(photo.height() - 1)).0.map(f64::from)
    };
    let [a, b, c, d] = [at(left, top), at(left + 1.0, top), at(left, top + 1.0), at(left + 1.0, top + 1.0)];
    let (u, v) = (x - left, y - top);
    Rgb(std::array::from_fn(|i| {
        ((a[i] * (1.0 - u) + b[i] * u) * (1.0 - v) + (c[i] * (1.0 - u) + d[i] * u) * v).round() as u8
    }))
}

/// A picture and how far away what it shows is.
struct Canvas {
    picture: RgbImage,
    away: Vec<f64>,
}

impl Canvas {
    /// A room with light from one side.
    fn new(width: u32, height: u32) -> Self {
        let room = |x: u32, y: u32| {
            let tile = if (x / 24 + y / 24).is_multiple_of(2) { 10 } else { 0 };
            let light = 90 + 60 * x / width + 20 * y / height;
            Rgb([(light + tile) as u8, (light + tile) as u8, (light + tile + 8) as u8])
        };
        Self { picture: RgbImage::from_fn(width, height, room), away: vec![f64::INFINITY; (width * height) as usize] }
    }

    /// Paints a triangle of places on the screen with their distances; the colour by weights of its corners.
    fn paint(&mut self, [a, b, c]: [Place; 3], colour: impl Fn([f64; 3]) -> Rgb<u8>) {
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
        if area.abs() < 1e-9 {
            return;
        }
        let (width, height) = self.picture.dimensions();
        let range = |axis: usize, end: u32| {
            let least = a[axis].min(b[axis]).min(c[axis]).ceil().max(0.0);
            let most = a[axis].max(b[axis]).max(c[axis]).floor().min(f64::from(end) - 1.0);
            if most < least { 0..0 } else { least as u32..most as u32 + 1 }
        };
        for y in range(1, height) {
            for x in range(0, width) {
                let (px, py) = (f64::from(x), f64::from(y));
                let u = ((px - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (py - a[1])) / area;
                let v = ((b[0] - a[0]) * (py - a[1]) - (px - a[0]) * (b[1] - a[1])) / area;
                let weights = [1.0 - u - v, u, v];
                if weights.iter().any(|it| *it < -1e-9) {
                    continue;
                }
                let away = weights[0] * a[2] + weights[1] * b[2] + weights[2] * c[2];
                let at = (y * width + x) as usize;
                if away < self.away[at] {
                    self.away[at] = away;
                    // What is far away shrinks: the middle of a line on the photo is not the middle of its picture.
                    let near = [weights[0] / a[2], weights[1] / b[2], weights[2] / c[2]];
                    let sum: f64 = near.iter().sum();
                    self.picture.put_pixel(x, y, colour(near.map(|it| it / sum)));
                }
            }
        }
    }
}
