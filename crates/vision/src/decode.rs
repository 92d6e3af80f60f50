//! Bytes to an upright RGB picture, within limits that are checked before a pixel is allocated.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, Limits, RgbImage};

use super::colour;
use super::geometry::Point;
use super::picture::Picture;
use super::resample;
use super::view::View;
use visavis_domain::image::ImageFormat;

mod container;
mod reduced;

/// The largest file and picture that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeParams {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Pixels of the longer side.
    pub max_side: u32,
    /// Pixels altogether.
    pub max_pixels: u64,
}

/// 10 MB is what the API accepts; 6,000 a side and 24 megapixels cover phones' photos. One decoding then takes up to 72 MB
/// (16-bit PNG with alpha: 300 MB).
impl Default for DecodeParams {
    fn default() -> Self {
        Self { max_bytes: 10_000_000, max_side: 6_000, max_pixels: 24_000_000 }
    }
}

/// What is wrong with a sent image, in words for the person who sent it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImageFault {
    /// No bytes at all.
    #[error("the image is empty")]
    Empty,
    /// Neither JPEG nor PNG nor WebP, or a variety of them that is not read.
    #[error("the image is not a JPEG, PNG or WebP file")]
    UnsupportedFormat,
    /// More bytes than accepted.
    #[error("the image file has {:.1} MB; at most {:.1} MB are accepted", megabytes(*.bytes), megabytes(*.limit))]
    TooLarge {
        /// Size of the file.
        bytes: usize,
        /// Largest size accepted.
        limit: usize,
    },
    /// A side longer than accepted.
    #[error("the image measures {width} x {height} pixels; a side of at most {limit} pixels is accepted")]
    SideTooLong {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Longest side accepted.
        limit: u32,
    },
    /// More pixels than accepted.
    #[error(
        "the image measures {width} x {height} pixels, {:.1} megapixels; at most {:.1} megapixels are accepted",
        megapixels(u64::from(*.width) * u64::from(*.height)),
        megapixels(*.limit)
    )]
    TooManyPixels {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Most pixels accepted.
        limit: u64,
    },
    /// More than one frame.
    #[error("the {} file is animated; send a still image", .0.name())]
    Animated(ImageFormat),
    /// The end of the file is missing.
    #[error("the {} file is cut short; send the whole file", .0.name())]
    Truncated(ImageFormat),
    /// The file breaks the rules of its format, or uses a part of it that is not read.
    #[error("the {} file is damaged or of an unusual kind and cannot be read", .0.name())]
    Invalid(ImageFormat),
}

impl ImageFault {
    /// The word for programs, stable across releases.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_image",
            Self::UnsupportedFormat => "unsupported_image_format",
            Self::TooLarge { .. } => "image_too_large",
            Self::SideTooLong { .. } | Self::TooManyPixels { .. } => "too_many_pixels",
            Self::Animated(_) => "animated_image",
            Self::Truncated(_) | Self::Invalid(_) => "invalid_image",
        }
    }
}

/// What a file says of itself before its pixels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub format: ImageFormat,
    /// Pixels across, once upright.
    pub width: u32,
    /// Pixels down, once upright.
    pub height: u32,
}

/// Reads the header alone, and checks what it says.
///
/// # Errors
/// As [`decode`], as far as a header can tell.
pub fn inspect(bytes: &[u8], params: &DecodeParams) -> Result<Header, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = if lies_on_its_side(orientation(&mut decoder)) { (height, width) } else { (width, height) };
    Ok(Header { format, width, height })
}

/// What the file says of its making: EXIF, XMP and IPTC, raw and one after the other; of each no more than a beginning. Nothing
/// where it cannot be read.
#[must_use]
pub fn metadata(bytes: &[u8], params: &DecodeParams) -> Vec<u8> {
    const MOST: usize = 1 << 16;
    let Ok((format, mut decoder)) = open(bytes, params) else { return Vec::new() };
    let mut parts = vec![decoder.exif_metadata(), decoder.iptc_metadata()];
    // A WebP's is read into as much memory as the file says it needs.
    if format != ImageFormat::Webp {
        parts.push(decoder.xmp_metadata());
    }
    let parts = parts.into_iter().filter_map(|it| it.ok().flatten());
    parts.flat_map(|it| it.into_iter().take(MOST)).collect()
}

/// Decodes `bytes`: turned upright by its EXIF orientation, transparency laid on white, 8-bit RGB. Bytes after the
/// image's end are ignored.
///
/// # Errors
/// When a limit is exceeded or the file is none of ours, animated, cut short or damaged.
pub fn decode(bytes: &[u8], params: &DecodeParams) -> Result<Picture, ImageFault> {
    let (format, decoder) = open(bytes, params)?;
    finish(decoder, format)
}

/// Pixels of the longer side with which a large JPEG is decoded at first for analysis, at least.
pub const FIRST_SIDE: u32 = 640;

/// As [`decode`], with the colours that the file's ICC profile means: for people to look at. The models see the pixels as
/// they are stored, as they did when they were measured.
///
/// # Errors
/// As [`decode`]; and when the file shows something else in full than at a scale at which it may be analysed: nobody is to be
/// shown another face than the one that was compared.
pub fn decode_srgb(bytes: &[u8], params: &DecodeParams) -> Result<Picture, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    // A broken profile is no reason to refuse a picture that is otherwise sound.
    let profile = decoder.icc_profile().ok().flatten();
    let picture = finish(decoder, format)?;
    if !shows_the_same(&picture, bytes, params)? {
        return Err(ImageFault::Invalid(format));
    }
    Ok(profile.and_then(|profile| colour::to_srgb(&picture, &profile)).unwrap_or(picture))
}

/// As [`decode`], but of a JPEG of the usual kind no more than is needed: at the smallest of 1/2, 1/4 and 1/8 of its size
/// at which the longer side has `long_side` pixels or more. Other files, and smaller ones, come in full.
///
/// # Errors
/// As [`decode`], for the same files.
pub fn decode_reduced(bytes: &[u8], params: &DecodeParams, long_side: u32) -> Result<View, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    let (width, height) = decoder.dimensions();
    let enough = |divisor: &u32| width.max(height) / divisor >= long_side;
    if let Some(divisor) = [8, 4, 2].into_iter().find(enough)
        && let Some(view) = at_scale(bytes, format, &mut decoder, divisor)?
    {
        return Ok(view);
    }
    finish(decoder, format).map(View::from)
}

/// A JPEG of the usual kind with each side divided by `divisor`; `None` for others.
fn at_scale(
    bytes: &[u8],
    format: ImageFormat,
    decoder: &mut AnyDecoder<'_>,
    divisor: u32,
) -> Result<Option<View>, ImageFault> {
    if format != ImageFormat::Jpeg || !container::jpeg_frame(bytes)?.one_scan {
        return Ok(None);
    }
    let size = decoder.dimensions();
    let Some(small) = reduced::decode(bytes, divisor, size) else { return Ok(None) };
    let orientation = orientation(decoder);
    let small = upright(small, orientation).ok_or(ImageFault::Invalid(format))?;
    Ok(Some(view_of(small, divisor, size, orientation)))
}

/// Cells a side of the coarse pictures that are compared: six to the eye distance of the smallest face that is not decoded in full.
const CELLS: usize = 64;

/// Levels by which a cell may differ: of 435 large JPEGs from cameras and websites none differs by more than 20 (clipped pixels).
/// Where one decoder sees colours that the other does not, or values far beyond black and white hide another picture's mean,
/// many do.
const CELL_LEVELS: u8 = 32;

/// Whether a file shows in full what it shows at the scales at which it may be analysed. A JPEG can be made that does not.
fn shows_the_same(full: &Picture, bytes: &[u8], params: &DecodeParams) -> Result<bool, ImageFault> {
    let (format, mut decoder) = open(bytes, params)?;
    let longer = full.width().max(full.height());
    let coarse = |it: &Picture| resample::resize(it, CELLS, CELLS);
    for divisor in [8, 4, 2].into_iter().filter(|it| longer / (*it as usize) >= FIRST_SIDE as usize) {
        let Some(view) = at_scale(bytes, format, &mut decoder, divisor)? else { break };
        let (a, b) = (coarse(full), coarse(view.held()));
        if a.pixels().iter().zip(b.pixels()).any(|(a, b)| a.abs_diff(*b) > CELL_LEVELS) {
            return Ok(false);
        }
    }
    Ok(true)
}

type AnyDecoder<'a> = Box<dyn ImageDecoder + 'a>;

/// A decoder that has read the header, which is within the limits.
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
            params.check(container::jpeg_frame(bytes)?.size, format)?;
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

fn lies_on_its_side(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

/// Width and height that the file's header states, before it is turned upright; no pixel is decoded.
///
/// # Errors
/// When the file is none of ours, or its header is damaged.
pub fn size(bytes: &[u8]) -> Result<(u32, u32), ImageFault> {
    let format = ImageFormat::sniff(bytes).ok_or(ImageFault::UnsupportedFormat)?;
    let invalid = |_: image::ImageError| ImageFault::Invalid(format);
    match format {
        ImageFormat::Jpeg => container::jpeg_frame(bytes).map(|it| it.size),
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

    /// A ceiling for what a decoder allocates beside the pixels: 16-bit RGBA of the largest picture, and as much again.
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
    // Turned last: it copies, and deep pixels would be copied at twice their final size and more.
    upright(picture, orientation).ok_or(ImageFault::Invalid(format))
}

/// `None` for a picture without pixels.
fn upright(picture: RgbImage, orientation: Orientation) -> Option<Picture> {
    let mut picture = DynamicImage::from(picture);
    picture.apply_orientation(orientation);
    let picture = picture.into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Picture::new(width, height, picture.into_raw())
}

/// Where the pixels of `small` lie in the picture that is stored at `width` x `height`, once upright.
fn view_of(small: Picture, divisor: u32, (width, height): (u32, u32), orientation: Orientation) -> View {
    let (width, height) = if lies_on_its_side(orientation) { (height, width) } else { (width, height) };
    // The last pixel of a stored row or column may show less than the others, by this much. Where the picture was turned
    // or mirrored such that it is the first, the whole one begins later.
    let missing = |side: u32| f64::from(side.div_ceil(divisor) * divisor - side);
    let origin = Point::new(
        if ends_on_the_left(orientation) { -missing(width) } else { 0.0 },
        if ends_at_the_top(orientation) { -missing(height) } else { 0.0 },
    );
    View::reduced(small, divisor as usize, origin, (width as usize, height as usize))
}

/// Whether the stored rows or columns, whichever become rows, run to the left.
fn ends_on_the_left(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::FlipHorizontal | Orientation::Rotate180 | Orientation::Rotate90 | Orientation::Rotate270FlipH
    )
}

/// Whether the stored rows or columns, whichever become columns, run upwards.
fn ends_at_the_top(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::FlipVertical | Orientation::Rotate180 | Orientation::Rotate270 | Orientation::Rotate270FlipH
    )
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

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn megapixels(pixels: u64) -> f64 {
    pixels as f64 / 1e6
}
