//! Blocks of coefficients to smaller blocks of pixels: an inverse DCT of the low frequencies alone, with as many points as
//! pixels are wanted.

use super::entropy::{Block, COEFFICIENTS};

/// Side of a block in coefficients.
const SIDE: usize = 8;
/// What is grey, once transformed.
const LEVEL: f32 = 128.0;
/// Added to a number below it that is not negative, 2^23 leaves its nearest whole one in the lowest bits.
const WHOLE: f32 = 8_388_608.0;

/// The inverse DCT of 1, 2, 4 and 8 points.
pub struct Transforms([Basis; 4]);

/// The part that each frequency has of each point: `[frequency][point]`.
type Basis = [[f32; SIDE]; SIDE];

impl Transforms {
    pub fn new() -> Self {
        Self([basis(1), basis(2), basis(4), basis(8)])
    }

    /// The pixels of `block`, whose coefficients are to be multiplied by `quantisation`: `width` x `height` of them, each
    /// side 1, 2, 4 or 8 and none more than twice the other, to `target`, whose rows are `stride` apart.
    #[inline]
    pub fn apply(
        &self,
        block: &Block,
        quantisation: &[f32; COEFFICIENTS],
        (width, height): (usize, usize),
        target: &mut [u8],
        stride: usize,
    ) {
        let [one, two, four, eight] = &self.0;
        match (width, height) {
            (1, 1) => pixels::<1, 1>(block, quantisation, one, one, target, stride),
            (1, 2) => pixels::<1, 2>(block, quantisation, one, two, target, stride),
            (2, 1) => pixels::<2, 1>(block, quantisation, two, one, target, stride),
            (2, 2) => pixels::<2, 2>(block, quantisation, two, two, target, stride),
            (2, 4) => pixels::<2, 4>(block, quantisation, two, four, target, stride),
            (4, 2) => pixels::<4, 2>(block, quantisation, four, two, target, stride),
            (4, 4) => pixels::<4, 4>(block, quantisation, four, four, target, stride),
            (4, 8) => pixels::<4, 8>(block, quantisation, four, eight, target, stride),
            (8, 4) => pixels::<8, 4>(block, quantisation, eight, four, target, stride),
            _ => pixels::<8, 8>(block, quantisation, eight, eight, target, stride),
        }
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers; to the nearest f32")]
fn basis(points: usize) -> Basis {
    let mut basis = Basis::default();
    for (frequency, row) in basis.iter_mut().enumerate().take(points) {
        for (point, part) in row.iter_mut().enumerate().take(points) {
            let angle = (2 * point + 1) as f64 * frequency as f64 * std::f64::consts::PI / (2 * points) as f64;
            // As of the eight-point transform, whose coefficients the file has: a flat block stays as bright as it was.
            let gain = if frequency == 0 { 1.0 } else { std::f64::consts::SQRT_2 } / (SIDE as f64).sqrt();
            *part = (gain * angle.cos()) as f32;
        }
    }
    basis
}

fn pixels<const W: usize, const H: usize>(
    block: &Block,
    quantisation: &[f32; COEFFICIENTS],
    across: &Basis,
    down: &Basis,
    target: &mut [u8],
    stride: usize,
) {
    let mut sums = [[LEVEL; W]; H];
    let rows = block.chunks_exact(SIDE).zip(quantisation.chunks_exact(SIDE)).zip(down);
    for ((coefficients, steps), down) in rows.take(H) {
        // Of the larger blocks most rows are empty; with the smaller ones, asking takes longer than adding nothing.
        if W == SIDE && coefficients.iter().all(|it| *it == 0) {
            continue;
        }
        let mut row = [0.0; W];
        for ((&coefficient, step), across) in coefficients.iter().zip(steps).zip(across).take(W) {
            let value = f32::from(coefficient) * step;
            for (sum, part) in row.iter_mut().zip(across) {
                *sum += value * part;
            }
        }
        for (sums, part) in sums.iter_mut().zip(down) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value * part;
            }
        }
    }
    for (line, sums) in target.chunks_mut(stride).zip(sums) {
        if let Some(line) = line.first_chunk_mut() {
            *line = sums.map(level);
        }
    }
}

/// The nearest level, as fast as a register of four numbers allows.
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are meant")]
fn level(value: f32) -> u8 {
    (value.clamp(0.0, 255.0) + WHOLE).to_bits() as u8
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "places in a block")]
mod tests {
    use super::*;

    const SIZES: [(usize, usize); 10] =
        [(1, 1), (1, 2), (2, 1), (2, 2), (2, 4), (4, 2), (4, 4), (4, 8), (8, 4), (8, 8)];

    fn transformed(block: &Block, size: (usize, usize)) -> Vec<u8> {
        let mut target = vec![0; size.0 * size.1];
        Transforms::new().apply(block, &[2.0; COEFFICIENTS], size, &mut target, size.0);
        target
    }

    #[test]
    fn a_flat_block_is_as_bright_at_every_size() {
        for (coefficient, level) in [(0, 128), (40, 138), (-200, 78), (900, 255), (-900, 0)] {
            let mut block = [0; COEFFICIENTS];
            block[0] = coefficient;
            for size in SIZES {
                assert!(transformed(&block, size).iter().all(|it| *it == level), "{coefficient} at {size:?}");
            }
        }
    }

    /// ITU-T T.81, A.3.3.
    fn by_definition(block: &Block) -> Vec<f64> {
        let value = |x: f64, y: f64| {
            let mut sum = 0.0;
            for (at, coefficient) in block.iter().enumerate() {
                let (u, v) = ((at % 8) as f64, (at / 8) as f64);
                let gain = |it: f64| if it == 0.0 { 0.5_f64.sqrt() } else { 1.0 };
                let wave = |x: f64, u: f64| ((2.0 * x + 1.0) * u * std::f64::consts::PI / 16.0).cos();
                sum += gain(u) * gain(v) * 2.0 * f64::from(*coefficient) * wave(x, u) * wave(y, v) / 4.0;
            }
            sum + 128.0
        };
        (0..COEFFICIENTS).map(|at| value((at % 8) as f64, (at / 8) as f64)).collect()
    }

    fn waves() -> Block {
        let mut block = [0; COEFFICIENTS];
        (block[0], block[1], block[8], block[9], block[18], block[39]) = (30, -70, 60, 50, -40, 20);
        block
    }

    #[test]
    fn all_frequencies_give_the_block_by_definition() {
        let off = transformed(&waves(), (8, 8)).into_iter().zip(by_definition(&waves()));
        assert!(off.into_iter().all(|(a, b)| (f64::from(a) - b).abs() < 0.51));
    }

    #[test]
    fn fewer_pixels_show_the_means_of_those_that_they_stand_for_but_for_the_ripples() {
        let mut block = waves();
        block[39] = 0;
        let full = by_definition(&block);
        for (width, height) in [(4, 4), (2, 4), (4, 8)] {
            let (w, h) = (8 / width, 8 / height);
            for (at, value) in transformed(&block, (width, height)).iter().enumerate() {
                let (x, y) = (at % width * w, at / width * h);
                let part = (0..w * h).map(|i| full[(y + i / w) * 8 + x + i % w]);
                let mean = part.sum::<f64>() / (w * h) as f64;
                assert!((f64::from(*value) - mean).abs() < 5.0, "{width} x {height}: {value} for {mean}");
            }
        }
    }
}
