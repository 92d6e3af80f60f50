//! Bilinear sampling, bit for bit like `cv2.resize` on bytes with `INTER_LINEAR`. Networks that were trained on its
//! output are sensitive to single grey levels.

use crate::picture::{CHANNELS, Picture};
use crate::resample;

/// Fractional bits of a weight.
const WEIGHT_BITS: u32 = 11;

/// Two neighbours along one axis, and the weight of each.
struct Taps {
    at: [usize; 2],
    weights: [u32; 2],
}

/// `source` at `side` x `side`. Where it is larger, pixels are skipped.
pub(super) fn sampled(source: &Picture, side: usize) -> Picture {
    if source.width() == 2 * side && source.height() == 2 * side {
        return resample::shrink(source, side, side); // so does OpenCV, at this one factor
    }
    let mut target = Picture::black(side, side);
    let columns: Vec<Taps> = (0..side).map(|i| Taps::of(i, source.width(), side)).collect();
    for (y, out) in target.pixels_mut().chunks_exact_mut(side * CHANNELS).enumerate() {
        let rows = Taps::of(y, source.height(), side);
        let lines = rows.at.map(|at| source.row(at));
        for (pixel, column) in out.chunks_exact_mut(CHANNELS).zip(&columns) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                let [above, below] = lines.map(|line| column.of_line(line, channel));
                // Each product keeps two fractional bits; their sum is rounded.
                let cut = |line: u32, weight: u32| ((line >> 4) * weight) >> 16;
                let sum = cut(above, rows.weights[0]) + cut(below, rows.weights[1]);
                *value = u8::try_from((sum + 2) >> 2).unwrap_or(u8::MAX);
            }
        }
    }
    target
}

impl Taps {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "pixels of a picture, weights from 0 to 1"
    )]
    fn of(index: usize, from: usize, to: usize) -> Self {
        let place = ((index as f64 + 0.5) * (from as f64 / to as f64) - 0.5) as f32;
        let (first, last) = (place.floor(), from - 1);
        if first < 0.0 || first as usize >= last {
            let edge = if first < 0.0 { 0 } else { last };
            return Self { at: [edge; 2], weights: [1 << WEIGHT_BITS, 0] };
        }
        let weight = |share: f32| (share * (1u32 << WEIGHT_BITS) as f32).round_ties_even() as u32;
        let share = place - first;
        Self { at: [first as usize, first as usize + 1], weights: [weight(1.0 - share), weight(share)] }
    }

    fn of_line(&self, line: &[u8], channel: usize) -> u32 {
        let value = |tap: usize| u32::from(line[self.at[tap] * CHANNELS + channel]) * self.weights[tap];
        value(0) + value(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "noise")]
    fn noise(width: usize, height: usize) -> Picture {
        let value = |x: usize, y: usize, c: usize| (((x * 7919 + y * 104_729 + c * 31) * 2_654_435_761) >> 13) as u8;
        let pixels = (0..width * height * CHANNELS)
            .map(|i| value(i / CHANNELS % width, i / CHANNELS / width, i % CHANNELS))
            .collect();
        Picture::new(width, height, pixels).unwrap()
    }

    /// What `cv2.resize(noise, (4, 4), interpolation=cv2.INTER_LINEAR)` gives, version 5.0.
    #[test]
    fn pixels_are_opencvs() {
        let wanted = [
            50, 136, 154, 189, 151, 85, 152, 114, 76, 91, 128, 202, 133, 127, 121, 124, 142, 75, 86, 104, 178, 142,
            176, 146, 100, 133, 127, 170, 188, 142, 133, 151, 105, 148, 142, 112, 146, 184, 118, 161, 123, 61, 124, 86,
            220, 139, 85, 159,
        ];
        assert_eq!(sampled(&noise(7, 5), 4).pixels(), wanted);
    }

    #[test]
    fn twice_the_side_is_averaged() {
        assert_eq!(sampled(&noise(8, 8), 4).pixels()[..12], [80, 142, 139, 165, 163, 97, 123, 121, 119, 145, 142, 140]);
    }

    #[test]
    fn a_flat_picture_stays_flat_at_any_size() {
        for side in [1, 3, 79, 80, 81, 250] {
            let flat = Picture::new(side, side, vec![201; side * side * CHANNELS]).unwrap();
            assert!(sampled(&flat, 80).pixels().iter().all(|value| *value == 201), "{side}");
        }
    }
}
