//! A photo of a face as an object in space: the head itself, or the photo on a sheet of paper.
//!
//! The depth of a head is that of its mesh. Around the head, it falls back to a wall.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::many_single_char_names,
    reason = "places in pictures, clamped before each cast; coordinates"
)]

use image::{Rgb, RgbImage};
use visavis_vision::Face;

use super::canvas::{Canvas, Place, sample};
use super::pose::Pose;

/// Cells of the grid over the photo, along each side.
const CELLS: usize = 72;
/// Distance of the camera in inter-eye distances: about an arm's length.
const AWAY: f64 = 7.0;

// Indices of the mesh, by its published topology.
/// Left and right corner on the screen, and lower lid.
const EYES: [[usize; 3]; 2] = [[33, 133, 145], [362, 263, 374]];
const INNER_LIPS: [usize; 18] = [191, 80, 81, 82, 13, 312, 311, 310, 415, 324, 318, 402, 317, 14, 87, 178, 88, 95];
const CHIN: usize = 152;

/// A photo of a face as an object in space.
pub struct Subject<'a> {
    photo: &'a RgbImage,
    face: &'a Face,
    inter_eye: f64,
    /// The depth of each corner of the grid, in pixels away from the camera; `None` for a sheet.
    depths: Option<Vec<f64>>,
}

impl<'a> Subject<'a> {
    /// The head in the photo.
    #[must_use]
    pub fn head(photo: &'a RgbImage, face: &'a Face) -> Self {
        let sheet = Self::sheet(photo, face);
        let depths = sheet.corners(0.35).map(|[x, y]| depth(face, sheet.inter_eye, x, y)).collect();
        Self { depths: Some(depths), ..sheet }
    }

    /// The photo on paper.
    #[must_use]
    pub fn sheet(photo: &'a RgbImage, face: &'a Face) -> Self {
        let inter_eye = face.five_points[0].distance(face.five_points[1]);
        Self { photo, face, inter_eye, depths: None }
    }

    /// The corners of the grid in pixels of the photo. The grid reaches beyond the photo by `beyond` times its sides.
    fn corners(&self, beyond: f64) -> impl Iterator<Item = [f64; 2]> {
        let (width, height) = (f64::from(self.photo.width()), f64::from(self.photo.height()));
        let at = move |i: usize| -beyond + (1.0 + 2.0 * beyond) * i as f64 / CELLS as f64;
        (0..=CELLS).flat_map(move |j| (0..=CELLS).map(move |i| [at(i) * width, at(j) * height]))
    }

    /// The camera's picture, which is as large as the photo.
    #[must_use]
    pub fn frame(&self, pose: &Pose) -> RgbImage {
        let d = self.inter_eye;
        let centre = self.face.landmarks[168];
        let is_head = self.depths.is_some();
        // A head turns on its neck, and a sheet turns in the hand that holds it.
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
            let mut z = self.depths.as_ref().map_or(0.0, |depths| depths[i]) - pivot;
            for (along, bend) in [&mut x, &mut y].into_iter().zip(pose.bend) {
                let turn = bend.to_radians() / d;
                if turn != 0.0 {
                    z += (1.0 - (*along * turn).cos()) / turn;
                    *along = (*along * turn).sin() / turn;
                }
            }
            let mut place = pose.turned([x, y, z]);
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
                    canvas.paint(triangle.map(|corner| places[corner]), |weights| {
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

    /// The colour of a lid over the eye, of an open mouth, or of the photo.
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
            // Coordinates along and across the eye, as multiples of half its width.
            let (dx, dy) = ((x - middle[0]) / half, (y - middle[1]) / half);
            let (u, v) = (dx * across + dy * down, dy * across - dx * down);
            // The edge of the lid is a curve from corner to corner that sags to the lower lid.
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
            // The jaw swings down, most at the chin. The upper lip does not move.
            let lip = f64::midpoint(mesh[13][1], mesh[14][1]);
            let below = ((y - lip) / (0.1 * self.inter_eye)).clamp(0.0, 1.0);
            let across = (1.0 - ((x - mesh[14][0]) / (1.1 * self.inter_eye)).powi(2)).max(0.0);
            let fade = (1.0 - (y - mesh[CHIN][1]) / (1.2 * self.inter_eye)).clamp(0.0, 1.0);
            moved[1] += 0.45 * self.inter_eye * pose.open * below * across * fade;
        }
        moved
    }

    /// Whether a point of the photo lies between the lips, in the part of the texture that the jaw stretches.
    fn is_in_the_mouth(&self, [x, y]: [f64; 2]) -> bool {
        let mesh = &self.face.landmarks;
        let lip = f64::midpoint(mesh[13][1], mesh[14][1]);
        let half = (mesh[INNER_LIPS[8]][0] - mesh[INNER_LIPS[0]][0]).abs() / 2.0;
        let middle = f64::midpoint(mesh[INNER_LIPS[8]][0], mesh[INNER_LIPS[0]][0]);
        let (along, down) = ((x - middle) / half, (y - lip) / (0.1 * self.inter_eye));
        (0.0..=1.0).contains(&down) && along * along + (2.0 * down - 1.0).powi(2) < 1.0
    }
}

/// The depth at a place of the photo, in pixels behind the point between the eyes.
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
    // Further away from the mesh come the back of the head and a wall.
    let out = ((nearest.sqrt() / inter_eye - 0.1) / 0.9).clamp(0.0, 1.0);
    sum / total + out * out * (3.0 - 2.0 * out) * 2.0 * inter_eye
}
