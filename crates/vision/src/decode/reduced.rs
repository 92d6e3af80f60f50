//! A JPEG at 1/2, 1/4 or 1/8 of its size: of each block only the low frequencies become pixels, as many as are wanted.

use image::RgbImage;
use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

use crate::picture::CHANNELS;

/// The picture as it is stored, of `size` pixels, each side divided by `divisor`, 2, 4 or 8, and rounded up: pixel
/// 0 shows the first `divisor` pixels of the file. `None` for files that must be decoded in full, or not at all: progressive
/// ones, which need their memory at any scale, and whatever libjpeg-turbo finds the least fault with.
pub fn decode(bytes: &[u8], divisor: u32, size: (u32, u32)) -> Option<RgbImage> {
    let mut decompressor = Decompressor::new().ok()?;
    let header = decompressor.read_header(bytes).ok()?;
    // Of a file with two headers, both decoders were to read the same one.
    if (header.width, header.height) != (usize::try_from(size.0).ok()?, usize::try_from(size.1).ok()?) {
        return None;
    }
    if header.is_progressive || header.is_lossless || header.is_arithmetic {
        return None;
    }
    let factor = ScalingFactor::new(1, usize::try_from(divisor).ok()?);
    decompressor.set_scaling_factor(factor).ok()?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut picture = RgbImage::new(u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let pixels = picture.as_flat_samples_mut().samples;
    let output = Image { pixels, width, pitch: CHANNELS * width, height, format: PixelFormat::RGB };
    decompressor.decompress(bytes, output).ok()?;
    Some(picture)
}
