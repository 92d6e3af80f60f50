//! Renders a stored image, or the face in it, as a JPEG for people to look at.
//!
//! The pixels are decoded, converted to sRGB, cropped, scaled and encoded again. So the JPEG has no EXIF, XMP or ICC
//! data and no comments.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use super::decode::{DecodeParams, decode_srgb};
use super::fault::ImageFault;
use super::geometry::Rect;
use super::picture::Picture;
use super::resample;
use visavis_domain::image::ImageFormat;

/// The parameters of a rendition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenditionParams {
    /// Most pixels of the longer side.
    pub long_side: usize,
    /// Most pixels of the shorter side.
    pub short_side: usize,
    /// A shorter side with at least this many pixels is never scaled below them.
    pub kept_short_side: usize,
    /// How much a portrait shows on each side of the face's box, as a multiple of the box's side.
    pub margin: f64,
    /// Quality of the JPEG, 1 to 100.
    pub quality: u8,
}

/// The contract of the report asks for 1920 x 1080 and 720p. The box reaches from forehead to chin. Half as much again
/// on each side shows hair, ears and neck, like an ID portrait, but little of the document's text. At quality 90, JPEG
/// blocks are not visible in a face.
impl Default for RenditionParams {
    fn default() -> Self {
        Self { long_side: 1920, short_side: 1080, kept_short_side: 720, margin: 0.5, quality: 90 }
    }
}

/// Which part of an image is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crop {
    /// The whole image, scaled to fit the long and the short side in portrait or landscape. The shorter side is not
    /// scaled below `kept_short_side`, even if a panorama then does not fit.
    Whole,
    /// The face in this box and its surroundings, scaled to fit the long side in width and the short side in height.
    Face(Rect),
}

/// Renders the image as a JPEG. It is never enlarged.
///
/// # Errors
/// When the image cannot be decoded.
pub fn render(
    bytes: &[u8],
    crop: Crop,
    limits: &DecodeParams,
    params: &RenditionParams,
) -> Result<Vec<u8>, ImageFault> {
    let picture = decode_srgb(bytes, limits)?;
    let picture = match crop {
        Crop::Whole => {
            let (width, height) = whole_size(picture.width(), picture.height(), params);
            resample::resize(&picture, width, height)
        }
        Crop::Face(face) => {
            let portrait = surroundings(&picture, &face, params.margin);
            let scale = fit(portrait.width(), params.long_side).min(fit(portrait.height(), params.short_side));
            let (width, height) = (scaled(portrait.width(), scale), scaled(portrait.height(), scale));
            resample::resize(&portrait, width, height)
        }
    };
    encode(&picture, params.quality)
}

fn whole_size(width: usize, height: usize, params: &RenditionParams) -> (usize, usize) {
    let (short, long) = (width.min(height), width.max(height));
    let fitting = fit(long, params.long_side).min(fit(short, params.short_side));
    let scale = fitting.max(fit(short, params.kept_short_side));
    (scaled(width, scale), scaled(height, scale))
}

/// The scale that brings `side` within `limit`; 1 if it already is.
fn fit(side: usize, limit: usize) -> f64 {
    (pixels(limit) / pixels(side)).min(1.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a side times at most 1")]
fn scaled(side: usize, scale: f64) -> usize {
    ((pixels(side) * scale).round() as usize).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "picture sides")]
fn pixels(side: usize) -> f64 {
    side as f64
}

/// The part of the picture around the box. A box outside of the picture gives the nearest pixel.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture's sides")]
fn surroundings(picture: &Picture, face: &Rect, margin: f64) -> Picture {
    let span = |low: f64, high: f64, side: usize| {
        let around = (high - low).max(0.0) * margin;
        let first = (low - around).floor().clamp(0.0, pixels(side - 1)) as usize;
        let end = (high + around).ceil().clamp(0.0, pixels(side)) as usize;
        (first, end.max(first + 1))
    };
    let (left, right) = span(face.left, face.right, picture.width());
    let (top, bottom) = span(face.top, face.bottom, picture.height());
    let (width, height) = (right - left, bottom - top);
    picture.part(left, top, width, height).unwrap_or_else(|| Picture::black(width, height))
}

fn encode(picture: &Picture, quality: u8) -> Result<Vec<u8>, ImageFault> {
    // Encoding fails beyond 65,535 pixels a side, which no decoded picture has.
    let invalid = ImageFault::Invalid(ImageFormat::Jpeg);
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| invalid.clone());
    let (width, height) = (side(picture.width())?, side(picture.height())?);
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
    encoder.encode(picture.pixels(), width, height, ExtendedColorType::Rgb8).map_err(|_| invalid.clone())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, ImageEncoder as _, ImageFormat as Codec, Rgb, RgbImage};
    use proptest::prelude::*;

    fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> Rgb<u8>) -> Vec<u8> {
        let picture: RgbImage = ImageBuffer::from_fn(width, height, pixel);
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, Codec::Png).unwrap();
        file.into_inner()
    }

    fn rendered(bytes: &[u8], crop: Crop) -> RgbImage {
        let file = render(bytes, crop, &DecodeParams::default(), &RenditionParams::default()).unwrap();
        assert_eq!(ImageFormat::sniff(&file), Some(ImageFormat::Jpeg));
        image::load_from_memory(&file).unwrap().into_rgb8()
    }

    #[test]
    fn a_whole_image_fits_the_limits_keeps_its_short_side_and_is_never_enlarged() {
        let params = RenditionParams::default();
        for (from, to) in [
            ((4000, 3000), (1440, 1080)),
            ((3000, 4000), (1080, 1440)),
            ((3840, 2160), (1920, 1080)),
            ((1920, 1080), (1920, 1080)),
            ((1080, 1920), (1080, 1920)),
            ((640, 480), (640, 480)),
            ((6000, 600), (6000, 600)),
            ((6000, 1500), (2880, 720)),
            ((5000, 2000), (1920, 768)),
            ((1, 6000), (1, 6000)),
        ] {
            assert_eq!(whole_size(from.0, from.1, &params), to, "{from:?}");
        }
    }

    #[test]
    fn a_portrait_shows_half_a_box_around_the_face_up_to_the_edges() {
        // A red face on blue: the centre is face, the corners are not.
        let inside = |x: u32, y: u32| (400..600).contains(&x) && (300..540).contains(&y);
        let bytes = png(1000, 800, |x, y| if inside(x, y) { Rgb([200, 0, 0]) } else { Rgb([0, 0, 200]) });
        let face = Rect { left: 400.0, top: 300.0, right: 600.0, bottom: 540.0 };
        let portrait = rendered(&bytes, Crop::Face(face));
        assert_eq!(portrait.dimensions(), (400, 480));
        assert!(portrait.get_pixel(200, 240).0[0] > 150 && portrait.get_pixel(10, 10).0[2] > 150);
        let corner = Rect { left: -50.0, top: -20.0, right: 150.0, bottom: 180.0 };
        assert_eq!(rendered(&bytes, Crop::Face(corner)).dimensions(), (250, 280));
        let outside = Rect { left: 5000.0, top: 5000.0, right: 5001.0, bottom: 5001.0 };
        assert_eq!(rendered(&bytes, Crop::Face(outside)).dimensions(), (1, 1));
    }

    /// The markers of a JPEG up to the first scan.
    fn markers(file: &[u8]) -> Vec<u8> {
        let (mut at, mut found) = (2, Vec::new());
        while found.last() != Some(&0xDA) {
            assert_eq!(file[at], 0xFF, "a marker");
            found.push(file[at + 1]);
            at += 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        }
        found
    }

    #[test]
    fn a_rendition_has_no_metadata_and_its_pixels_are_srgb() {
        let picture: RgbImage = ImageBuffer::from_pixel(64, 64, Rgb([200, 60, 60]));
        let mut plain = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut plain, 95);
        encoder.set_icc_profile(moxcms::ColorProfile::new_display_p3().encode().unwrap()).unwrap();
        encoder.encode_image(&picture).unwrap();
        let segment = |marker: u8, text: &[u8]| {
            let length = u16::try_from(text.len() + 2).unwrap().to_be_bytes();
            [&[0xFF, marker], length.as_slice(), text].concat()
        };
        let exif = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0");
        let xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>");
        let comment = segment(0xFE, b"a comment");
        let file = [&plain[..2], &exif, &xmp, &comment, &plain[2..]].concat();
        assert!(markers(&file).contains(&0xE2) && markers(&file).contains(&0xFE));
        for crop in [Crop::Whole, Crop::Face(Rect { left: 20.0, top: 20.0, right: 40.0, bottom: 40.0 })] {
            let shown = render(&file, crop, &DecodeParams::default(), &RenditionParams::default()).unwrap();
            // JFIF, tables, frame, scan.
            assert!(
                markers(&shown).iter().all(|marker| [0xE0, 0xDB, 0xC0, 0xC4, 0xDA].contains(marker)),
                "{:x?}",
                markers(&shown)
            );
            let pixel = image::load_from_memory(&shown).unwrap().into_rgb8().get_pixel(9, 9).0;
            assert!(pixel[0] > 210 && pixel[1] < 55, "{pixel:?}");
        }
    }

    #[test]
    fn a_large_portrait_is_at_most_1920_wide_and_1080_high() {
        let bytes = png(3000, 4000, |_, _| Rgb([9, 9, 9]));
        let face = Rect { left: 800.0, top: 1000.0, right: 2200.0, bottom: 3000.0 };
        assert_eq!(rendered(&bytes, Crop::Face(face)).dimensions(), (756, 1080));
    }

    #[test]
    fn a_file_that_is_no_image_is_refused() {
        let limits = DecodeParams::default();
        let fault = render(b"\xFF\xD8\xFF\xE0 no more", Crop::Whole, &limits, &RenditionParams::default());
        assert!(matches!(fault, Err(ImageFault::Truncated(_) | ImageFault::Invalid(_))));
    }

    proptest! {
        #[test]
        fn no_size_is_enlarged_or_loses_its_720(width in 1_usize..6000, height in 1_usize..6000) {
            let params = RenditionParams::default();
            let (w, h) = whole_size(width, height, &params);
            prop_assert!(w <= width && h <= height && w >= 1 && h >= 1);
            prop_assert!(w.min(h) >= width.min(height).min(720));
            let fits = w.max(h) <= 1920 && w.min(h) <= 1080;
            prop_assert!(fits || w.min(h) <= 720);
        }

        #[test]
        fn any_box_gives_a_picture_within_the_limits(
            left in -900.0..900.0_f64, top in -900.0..900.0_f64, width in -10.0..900.0_f64, height in -10.0..900.0_f64,
        ) {
            let picture = Picture::black(64, 48);
            let face = Rect { left, top, right: left + width, bottom: top + height };
            let part = surroundings(&picture, &face, 0.5);
            prop_assert!(part.width() <= 64 && part.height() <= 48);
        }
    }
}
