//! A picture with depth, on which triangles are painted; and the sampling of the photo that they show.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::many_single_char_names,
    reason = "places in pictures, clamped before each cast; coordinates"
)]

use image::{Rgb, RgbImage};

/// A point: x, y, and the distance from the camera or a depth.
pub type Place = [f64; 3];

/// A picture, and the distance of what each pixel shows.
pub struct Canvas {
    pub picture: RgbImage,
    away: Vec<f64>,
}

impl Canvas {
    /// A tiled wall that is lit from one side.
    pub fn new(width: u32, height: u32) -> Self {
        let room = |x: u32, y: u32| {
            let tile = if (x / 24 + y / 24).is_multiple_of(2) { 10 } else { 0 };
            let light = 90 + 60 * x / width + 20 * y / height;
            Rgb([(light + tile) as u8, (light + tile) as u8, (light + tile + 8) as u8])
        };
        Self { picture: RgbImage::from_fn(width, height, room), away: vec![f64::INFINITY; (width * height) as usize] }
    }

    /// Paints a triangle of points on the screen. `colour` gets the weights of its corners for each pixel.
    pub fn paint(&mut self, [a, b, c]: [Place; 3], colour: impl Fn([f64; 3]) -> Rgb<u8>) {
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
                if weights.iter().any(|weight| *weight < -1e-9) {
                    continue;
                }
                let away = weights[0] * a[2] + weights[1] * b[2] + weights[2] * c[2];
                let at = (y * width + x) as usize;
                if away < self.away[at] {
                    self.away[at] = away;
                    // Distant parts look smaller, so the middle of a line on the photo is not the middle of its image.
                    let near = [weights[0] / a[2], weights[1] / b[2], weights[2] / c[2]];
                    let sum: f64 = near.iter().sum();
                    self.picture.put_pixel(x, y, colour(near.map(|weight| weight / sum)));
                }
            }
        }
    }
}

/// Samples the photo bilinearly. Beyond the photo, its edge continues.
pub fn sample(photo: &RgbImage, [x, y]: [f64; 2]) -> Rgb<u8> {
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
