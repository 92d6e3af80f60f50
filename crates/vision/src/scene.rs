//! A coarse copy of a whole picture, to tell whether two frames come from one take.

use super::picture::{CHANNELS, Picture};

/// Cells a side.
const SIDE: usize = 16;
/// Pixels that are sampled along a side of a cell. Large pictures have more, which are not needed.
const SAMPLES: usize = 8;
/// By how many cells the camera or the head may move between two frames.
const SHIFT: isize = 3;

/// The luminance of 16 x 16 cells, summed over samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene([f32; SIDE * SIDE]);

impl Scene {
    /// The scene of an upright picture.
    #[must_use]
    pub fn of(picture: &Picture) -> Self {
        const STEPS: usize = SIDE * SAMPLES;
        let mut cells = [0.0; SIDE * SIDE];
        for y in 0..STEPS {
            let row = picture.row(y * picture.height() / STEPS);
            for x in 0..STEPS {
                let pixel = &row[x * picture.width() / STEPS * CHANNELS..][..CHANNELS];
                let light = 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
                cells[y / SAMPLES * SIDE + x / SAMPLES] += light;
            }
        }
        Self(cells)
    }

    /// The luminances: sums over 64 samples of 0-255, by rows from the top.
    #[must_use]
    pub fn cells(&self) -> &[f32; SIDE * SIDE] {
        &self.0
    }

    /// The best normalised correlation of the two, in [-1, 1], over all shifts of up to three cells. A moved camera or
    /// another exposure hardly changes it. 0 where one of them is flat.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        let shifts = (-SHIFT..=SHIFT).flat_map(|y| (-SHIFT..=SHIFT).map(move |x| (x, y)));
        shifts.map(|(x, y)| self.correlation(other, x, y)).fold(-1.0, f64::max)
    }

    /// The correlation of the overlapping cells when `other` is moved by so many cells.
    fn correlation(&self, other: &Self, right: isize, down: isize) -> f64 {
        let moved = |at: usize, by: isize| at.checked_add_signed(by).filter(|cell| *cell < SIDE);
        let mut cells = Vec::with_capacity(SIDE * SIDE);
        for row in 0..SIDE {
            let Some(there) = moved(row, down) else { continue };
            let both = (0..SIDE).filter_map(|column| Some((row * SIDE + column, there * SIDE + moved(column, right)?)));
            cells.extend(both.map(|(own, others)| (f64::from(self.0[own]), f64::from(other.0[others]))));
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 256")]
        let count = cells.len() as f64;
        let sum = |value: &dyn Fn(&(f64, f64)) -> f64| cells.iter().map(value).sum::<f64>();
        let (own, others) = (sum(&|pair| pair.0) / count, sum(&|pair| pair.1) / count);
        let spread = sum(&|pair| (pair.0 - own).powi(2)) * sum(&|pair| (pair.1 - others).powi(2));
        if spread > FLAT { sum(&|pair| (pair.0 - own) * (pair.1 - others)) / spread.sqrt() } else { 0.0 }
    }
}

/// Below this, the variance of a flat picture is only rounding.
const FLAT: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Blots in places that depend on `seed`.
    fn picture(seed: usize, shift: usize, gain: f32) -> Picture {
        let (width, height) = (160, 160);
        let mut picture = Picture::black(width, height);
        for (i, pixel) in picture.pixels_mut().chunks_exact_mut(CHANNELS).enumerate() {
            let (x, y) = ((i % width + shift) / 20, i / width / 20);
            let mixed = (x + 100 * y + 10_000 * seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let value = ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) & 0x7F;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "0-255"
            )]
            pixel.fill((value as f32 * gain) as u8);
        }
        picture
    }

    #[test]
    fn a_moved_camera_or_another_exposure_keeps_a_scene_similar_and_another_scene_is_not() {
        let scene = Scene::of(&picture(1, 0, 1.0));
        assert!((scene.similarity(&scene) - 1.0).abs() < 1e-9);
        assert!(scene.similarity(&Scene::of(&picture(1, 20, 1.0))) > 0.99);
        assert!(scene.similarity(&Scene::of(&picture(1, 0, 1.9))) > 0.99);
        assert!(scene.similarity(&Scene::of(&picture(2, 0, 1.0))) < 0.5);
    }

    #[test]
    fn a_flat_picture_is_similar_to_nothing() {
        let flat = Scene::of(&Picture::black(8, 8));
        assert!(flat.similarity(&flat).abs() < 1e-12 && flat.similarity(&Scene::of(&picture(1, 0, 1.0))).abs() < 1e-12);
    }
}
