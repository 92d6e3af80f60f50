//! Decodes a file into an upright RGB picture. Limits are checked before any pixel is allocated.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, Limits, RgbImage};

use super::colour;
use super::fault::ImageFault;
use super::picture::Picture;
use super::resample;
use super::view::View;
use container::JpegLayout;
use upright::{lies_on_its_side, upright, view_of};
use visavis_domain::image::ImageFormat;

mod container;
mod reduced;
mod upright;

/// The largest file and picture that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeParams {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Pixels of the longer side.
    pub max_side: u32,
    /// Pixels of the whole picture.
    pub max_pixels: u64,
}

/// The API accepts 10 MB. Photos from phones have at most 6,000 pixels a side and 24 megapixels. Decoding one then
/// takes up to 72 MB of memory, or 300 MB for a 16-bit PNG with alpha.
impl Default for DecodeParams {
    fn default() -> Self {
        Self { max_bytes: 10_000_000, max_side: 6_000, max_pixels: 24_000_000 }
    }
}

/// What a file's header says, before its pixels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub format: ImageFormat,
    /// Pixels across, once upright.
    pub width: u32,
    /// Pixels down, once upright.
    pub height: u32,
}

/// Reads only the header, and checks it.
///
/// # Errors
/// As [`decode`], as far as the header shows it.
pub fn inspect(bytes: &[u8], params: &DecodeParams) -> Result<Header, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = if lies_on_its_side(orientation(&mut decoder)) { (height, width) } else { (width, height) };
    Ok(Header { format, width, height })
}

/// The raw EXIF, IPTC and XMP data of the file, one after the other. Each is cut after 64 KiB. What cannot be read is
/// left out.
#[must_use]
pub fn metadata(bytes: &[u8], params: &DecodeParams) -> Vec<u8> {
    const MOST: usize = 1 << 16;
    let Ok((format, mut decoder)) = open(bytes, params) else { return Vec::new() };
    let mut parts = vec![decoder.exif_metadata(), decoder.iptc_metadata()];
    // The decoder would allocate as much memory as a WebP file claims to need for its XMP data.
    if format != ImageFormat::Webp {
        parts.push(decoder.xmp_metadata());
    }
    let parts = parts.into_iter().filter_map(|part| part.ok().flatten());
    parts.flat_map(|part| part.into_iter().take(MOST)).collect()
}

/// Decodes `bytes` into 8-bit RGB. The picture is turned upright by its EXIF orientation, and transparent pixels are
/// laid on white. Bytes after the end of the image are ignored.
///
/// # Errors
/// When the file exceeds a limit, has another format, is animated, is cut short or is damaged.
pub fn decode(bytes: &[u8], params: &DecodeParams) -> Result<Picture, ImageFault> {
    let (format, decoder) = open(bytes, params)?;
    finish(decoder, format)
}

/// A large JPEG is first decoded for analysis with at least this many pixels on its longer side.
pub const FIRST_SIDE: u32 = 640;

/// As [`decode`], with the colours that the file's ICC profile means: for people to look at. The models see the pixels
/// as stored, as they did when they were measured.
///
/// # Errors
/// As [`decode`]. A file is also refused if it looks different in full than at a scale used for analysis. Otherwise we
/// could show another face than the one we compared.
pub fn decode_srgb(bytes: &[u8], params: &DecodeParams) -> Result<Picture, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    // A broken profile is no reason to refuse a picture that is otherwise sound.
    let profile = decoder.icc_profile().ok().flatten();
    let picture = finish(decoder, format)?;
    if !looks_the_same_reduced(&picture, bytes, params)? {
        return Err(ImageFault::Invalid(format));
    }
    Ok(profile.and_then(|profile| colour::to_srgb(&picture, &profile)).unwrap_or(picture))
}

/// As [`decode`], but large JPEGs are decoded at the smallest scale (1/2, 1/4 or 1/8) at which the longer side still
/// has `long_side` pixels. Smaller files, other formats and unusual JPEGs are decoded in full.
///
/// # Errors
/// As [`decode`], for the same files.
pub fn decode_reduced(bytes: &[u8], params: &DecodeParams, long_side: u32) -> Result<View, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    let (width, height) = decoder.dimensions();
    let is_enough = |divisor: &u32| width.max(height) / divisor >= long_side;
    if let Some(divisor) = [8, 4, 2].into_iter().find(is_enough)
        && let Some(view) = at_scale(bytes, format, &mut decoder, divisor)?
    {
        return Ok(view);
    }
    finish(decoder, format).map(View::from)
}

/// The JPEG with each side divided by `divisor`; `None` for files that must be decoded in full.
fn at_scale(
    bytes: &[u8],
    format: ImageFormat,
    decoder: &mut AnyDecoder<'_>,
    divisor: u32,
) -> Result<Option<View>, ImageFault> {
    if format != ImageFormat::Jpeg {
        return Ok(None);
    }
    let (layout, size) = (JpegLayout::read(bytes)?, decoder.dimensions());
    if size != layout.size {
        return Ok(None);
    }
    let Some(small) = reduced::decode(bytes, &layout, divisor) else { return Ok(None) };
    let orientation = orientation(decoder);
    let small = upright(small, orientation).ok_or(ImageFault::Invalid(format))?;
    Ok(Some(view_of(small, divisor, size, orientation)))
}

/// Cells a side of the coarse pictures that [`looks_the_same_reduced`] compares. The smallest face that is not decoded
/// in full spans six cells between its eyes.
const CELLS: usize = 64;

/// Levels (0-255) by which a cell may differ. Among 435 large JPEGs from cameras and websites no cell differs by more
/// than 20, and those have clipped pixels. Many cells differ by more if only one decoder reads colour information, or
/// if values far beyond black and white hide the mean of another picture.
const CELL_LEVELS: u8 = 32;

/// Whether a file looks the same in full as at the scales at which it may be analysed. JPEGs can be crafted to differ.
fn looks_the_same_reduced(full: &Picture, bytes: &[u8], params: &DecodeParams) -> Result<bool, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    let longer = full.width().max(full.height());
    let coarse = |picture: &Picture| resample::resize(picture, CELLS, CELLS);
    for divisor in [8, 4, 2].into_iter().filter(|divisor| longer / (*divisor as usize) >= FIRST_SIDE as usize) {
        let Some(view) = at_scale(bytes, format, &mut decoder, divisor)? else { break };
        let (a, b) = (coarse(full), coarse(view.held()));
        if a.pixels().iter().zip(b.pixels()).any(|(a, b)| a.abs_diff(*b) > CELL_LEVELS) {
            return Ok(false);
        }
    }
    Ok(true)
}

type AnyDecoder<'a> = Box<dyn ImageDecoder + 'a>;

/// A decoder that has read the header and found it within the limits.
fn open<'a>(bytes: &'a [u8], params: &DecodeParams) -> Result<(ImageFormat, AnyDecoder<'a>), ImageFault> {
    if bytes.is_empty() {
        return Err(ImageFault::Empty);
    }
    if bytes.len() > params.max_bytes {
        return Err(ImageFault::TooLarge { bytes: bytes.len(), limit: params.max_bytes });
    }
    let format = ImageFormat::sniff(bytes).ok_or(ImageFault::UnsupportedFormat)?;
    let invalid = |_: image::ImageError| ImageFault::Invalid(format);
    let decoder: AnyDecoder<'a> = match format {
        ImageFormat::Jpeg => {
            params.check(JpegLayout::read(bytes)?.size, format)?;
            Box::new(JpegDecoder::new(Cursor::new(bytes)).map_err(invalid)?)
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), params.limits()).map_err(invalid)?;
            if decoder.is_apng().map_err(invalid)? {
                return Err(ImageFault::Animated(format));
            }
            Box::new(decoder)
        }
        ImageFormat::Webp => {
            let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(invalid)?;
            if decoder.has_animation() {
                return Err(ImageFault::Animated(format));
            }
            Box::new(decoder)
        }
    };
    params.check(decoder.dimensions(), format)?;
    Ok((format, decoder))
}

/// Broken EXIF data is no reason to refuse a picture that is otherwise sound.
fn orientation(decoder: &mut AnyDecoder<'_>) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// Width and height that the file's header states, before it is turned upright. Decodes no pixels.
///
/// # Errors
/// When the file has another format, or its header is damaged.
pub fn size(bytes: &[u8]) -> Result<(u32, u32), ImageFault> {
    let format = ImageFormat::sniff(bytes).ok_or(ImageFault::UnsupportedFormat)?;
    let invalid = |_: image::ImageError| ImageFault::Invalid(format);
    match format {
        ImageFormat::Jpeg => JpegLayout::read(bytes).map(|layout| layout.size),
        ImageFormat::Png => {
            let limits = DecodeParams::default().limits();
            Ok(PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(invalid)?.dimensions())
        }
        ImageFormat::Webp => Ok(WebPDecoder::new(Cursor::new(bytes)).map_err(invalid)?.dimensions()),
    }
}

impl DecodeParams {
    fn check(&self, (width, height): (u32, u32), format: ImageFormat) -> Result<(), ImageFault> {
        if width == 0 || height == 0 {
            return Err(ImageFault::Invalid(format));
        }
        if width.max(height) > self.max_side {
            return Err(ImageFault::SideTooLong { width, height, limit: self.max_side });
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(ImageFault::TooManyPixels { width, height, limit: self.max_pixels });
        }
        Ok(())
    }

    /// The most that a decoder may allocate besides the pixels: the largest picture in 16-bit RGBA, twice.
    fn limits(&self) -> Limits {
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(self.max_pixels.saturating_mul(16));
        limits
    }
}

fn finish(mut decoder: AnyDecoder<'_>, format: ImageFormat) -> Result<Picture, ImageFault> {
    let orientation = orientation(&mut decoder);
    let picture = DynamicImage::from_decoder(decoder).map_err(|_| ImageFault::Invalid(format))?;
    let picture = match picture {
        DynamicImage::ImageRgb8(rgb) => rgb,
        with_alpha if with_alpha.color().has_alpha() => on_white(with_alpha),
        other => other.into_rgb8(),
    };
    // Turned last: turning copies, and deep pixels take at least twice the memory of the final ones.
    upright(picture, orientation).ok_or(ImageFault::Invalid(format))
}

fn on_white(picture: DynamicImage) -> RgbImage {
    let rgba = picture.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (out, pixel) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [.., alpha] = pixel.0;
        for (value, &colour) in out.0.iter_mut().zip(&pixel.0) {
            let (colour, alpha) = (u32::from(colour), u32::from(alpha));
            let mixed = (colour * alpha + 255 * (255 - alpha) + 127) / 255;
            *value = u8::try_from(mixed).unwrap_or(u8::MAX);
        }
    }
    rgb
}
