//! A JPEG at 1/2, 1/4 or 1/8 of its size, in little more time than reading its bits takes: of each block only the low
//! frequencies become pixels, as many as are wanted.
//!
//! Only the kind that cameras write is read, and only where it is flawless. For everything else there is the decoder of
//! `image`, whose word alone decides what is refused.

use image::RgbImage;

use self::entropy::Bits;
use self::header::{Component, Scan};
use self::transform::Transforms;
use super::container::{RST0, RST7};
use crate::vision::picture::CHANNELS;

mod entropy;
mod header;
mod transform;

/// Pixels of a block's side in full.
const BLOCK: usize = 8;

/// The picture as it is stored, each side divided by `divisor`, 2, 4 or 8, and rounded up: pixel 0 shows the first
/// `divisor` pixels of the file. `None` for another kind of JPEG, and where anything is not as it must be.
pub fn decode(bytes: &[u8], divisor: u32) -> Option<RgbImage> {
    let scan = Scan::read(bytes)?;
    let divisor = usize::try_from(divisor).ok()?;
    let (width, height) = (scan.width.div_ceil(divisor), scan.height.div_ceil(divisor));
    let (across, down) = scan.most_blocks();
    let unit = (across * BLOCK / divisor, down * BLOCK / divisor);
    let units = scan.width.div_ceil(across * BLOCK);
    let mut bands: Vec<_> = scan.components.iter().map(|it| Band::new(it, unit, units)).collect();
    let mut units_left = scan.restart;
    let mut restarts = (RST0..=RST7).cycle();
    let mut bits = Bits::new(bytes, scan.start);
    let transforms = Transforms::new();
    let mut picture = RgbImage::new(u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    for rows in picture.chunks_mut(CHANNELS * width * unit.1) {
        for at in 0..units {
            if scan.restart > 0 && units_left == 0 {
                let (marker, rest) = bits.restart()?;
                if restarts.next() != Some(marker) {
                    return None;
                }
                bits = rest;
                units_left = scan.restart;
                for band in &mut bands {
                    band.dc = 0;
                }
            }
            units_left = units_left.saturating_sub(1);
            for band in &mut bands {
                band.read_unit(at, &mut bits, &transforms)?;
            }
        }
        if bits.overdrawn() {
            return None;
        }
        for (y, row) in rows.chunks_exact_mut(CHANNELS * width).enumerate() {
            colour(row, &bands, y);
        }
    }
    Some(picture)
}

/// The pixels of one component in one row of units.
struct Band<'a> {
    component: &'a Component,
    /// Pixels across and down of its blocks. Where the file has colours at half the resolution of the light, these blocks
    /// are twice as large.
    block: (usize, usize),
    stride: usize,
    pixels: Vec<u8>,
    /// Mean of the block before, as the file has it.
    dc: i16,
}

impl<'a> Band<'a> {
    /// For so many units of `unit` pixels.
    fn new(component: &'a Component, unit: (usize, usize), units: usize) -> Self {
        let block = (unit.0 / component.blocks.0, unit.1 / component.blocks.1);
        let stride = units * unit.0;
        Self { component, block, stride, pixels: vec![0; stride * unit.1], dc: 0 }
    }

    fn read_unit(&mut self, at: usize, bits: &mut Bits<'_>, transforms: &Transforms) -> Option<()> {
        let Component { blocks, quantisation, dc, ac } = self.component;
        for y in 0..blocks.1 {
            for x in 0..blocks.0 {
                let block = bits.block(dc, ac, &mut self.dc)?;
                let first = y * self.block.1 * self.stride + (at * blocks.0 + x) * self.block.0;
                transforms.apply(&block, quantisation, self.block, &mut self.pixels[first..], self.stride);
            }
        }
        Some(())
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.stride..(y + 1) * self.stride]
    }
}

/// Row `y` of the bands, grey or YCbCr, in RGB.
fn colour(row: &mut [u8], bands: &[Band<'_>], y: usize) {
    match bands {
        [grey] => {
            for (pixel, light) in row.chunks_exact_mut(CHANNELS).zip(grey.row(y)) {
                pixel.fill(*light);
            }
        }
        [light, blue, red] => {
            let (pixels, _) = row.as_chunks_mut();
            for (((pixel, &light), &blue), &red) in pixels.iter_mut().zip(light.row(y)).zip(blue.row(y)).zip(red.row(y))
            {
                *pixel = rgb(light, blue, red);
            }
        }
        _ => {}
    }
}

/// ITU-T T.871, section 7, in 65,536ths.
fn rgb(light: u8, blue: u8, red: u8) -> [u8; CHANNELS] {
    let light = (i32::from(light) << 16) + (1 << 15);
    let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
    [light + 91_881 * red, light - 22_554 * blue - 46_802 * red, light + 116_130 * blue].map(level)
}

#[expect(clippy::cast_sign_loss, reason = "clamped")]
fn level(value: i32) -> u8 {
    (value >> 16).clamp(0, 255) as u8
}
