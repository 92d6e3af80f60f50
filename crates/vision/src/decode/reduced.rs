//! Decodes a JPEG at 1/2, 1/4 or 1/8 of its size with libjpeg-turbo, which turns only the low frequencies of each block
//! into pixels.
//!
//! The `image` crate alone decides which files are refused. libjpeg-turbo tolerates more: it supplies missing Huffman
//! tables, for example. So a file is decoded at a reduced scale only if `image` reads it, too.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::{DynamicImage, RgbImage};
use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

use super::container::{EOI, JpegLayout};
use crate::picture::CHANNELS;

/// The picture as stored, with each side divided by `divisor` (2, 4 or 8) and rounded up. Pixel 0 shows the first
/// `divisor` pixels of the file.
///
/// `None` for files that must be decoded in full, or that cannot be decoded: progressive files, which need their memory
/// at any scale; files with an unusual layout; and files in which either decoder finds the slightest fault.
pub fn decode(bytes: &[u8], layout: &JpegLayout, divisor: u32) -> Option<RgbImage> {
    if !layout.is_plain || !is_read_in_full(bytes, layout) {
        return None;
    }
    let mut decompressor = Decompressor::new().ok()?;
    let header = decompressor.read_header(bytes).ok()?;
    let (width, height) = layout.size;
    if (header.width, header.height) != (usize::try_from(width).ok()?, usize::try_from(height).ok()?) {
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

/// A sample's sides are multiples of all block sizes away from the real ones: 8 pixels times a sampling factor of 1 to
/// 4.
const BLOCKS: u16 = 96;
/// Bytes of coded data that a sample keeps. What is missing becomes grey and is no fault.
const SCAN: usize = 1 << 16;

/// Whether `image` decodes the file in full. With a plain layout that depends on the headers alone, because `image`
/// paints over faults in the coded data. So it decodes a sample with the same headers but at most 191 pixels a side.
fn is_read_in_full(bytes: &[u8], layout: &JpegLayout) -> bool {
    let end = bytes.len().min(layout.scan_at + SCAN);
    let mut sample = [&bytes[..end], &[0xFF, EOI]].concat();
    for side in sample[layout.size_at..layout.size_at + 4].as_chunks_mut().0 {
        let pixels = u16::from_be_bytes(*side);
        *side = pixels.min(BLOCKS + pixels % BLOCKS).to_be_bytes();
    }
    JpegDecoder::new(Cursor::new(sample)).and_then(DynamicImage::from_decoder).is_ok()
}
