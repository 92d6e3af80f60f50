//! Every kind of image that is read, every kind that is refused, and bytes that are no image.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, ImageFormat as Format, Rgb, RgbImage};
use jpeg_encoder::{ColorType as JpegColour, Encoder as OtherJpegEncoder, SamplingFactor};
use proptest::prelude::*;
use visavis::domain::image::ImageFormat;
use visavis::vision::ImageFault;
use visavis::vision::decode::{DecodeParams, decode};
use visavis::vision::picture::Picture;

use crate::support::property::property;

const WIDTH: u32 = 48;
const HEIGHT: u32 = 32;
/// Levels (0-255) by which a JPEG of the best quality may differ from its source.
const JPEG_LEVELS: u8 = 6;

fn read(bytes: &[u8]) -> Result<Picture, ImageFault> {
    decode(bytes, &DecodeParams::default())
}

/// Four flat fields in a picture of 24 x 16. All corners differ, so that every turn and mirroring shows.
fn fields() -> RgbImage {
    let colours = [[220, 30, 40], [30, 200, 60], [40, 60, 210], [230, 220, 50]];
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let right = usize::from(x >= WIDTH / 2);
        let low = usize::from(y >= HEIGHT / 2);
        Rgb(colours[low * 2 + right])
    })
}

fn encoded(image: &DynamicImage, format: Format) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png() -> Vec<u8> {
    encoded(&fields().into(), Format::Png)
}

fn webp() -> Vec<u8> {
    encoded(&fields().into(), Format::WebP)
}

fn jpeg_of(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 100).encode_image(image).unwrap();
    bytes
}

fn jpeg() -> Vec<u8> {
    jpeg_of(&fields())
}

fn other_jpeg(pixels: &[u8], colour: JpegColour, progressive: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = OtherJpegEncoder::new(&mut bytes, 100);
    encoder.set_progressive(progressive);
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    encoder.encode(pixels, u16::try_from(WIDTH).unwrap(), u16::try_from(HEIGHT).unwrap(), colour).unwrap();
    bytes
}

#[track_caller]
fn assert_shows(bytes: &[u8], expected: &RgbImage, levels: u8) {
    let found = read(bytes).unwrap();
    assert_eq!((found.width(), found.height()), (expected.width() as usize, expected.height() as usize));
    let off = found.pixels().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(off <= levels, "a pixel is off by {off} levels");
}

#[test]
fn the_three_formats_are_read() {
    assert_shows(&png(), &fields(), 0);
    assert_shows(&webp(), &fields(), 0);
    assert_shows(&jpeg(), &fields(), JPEG_LEVELS);
}

#[test]
fn progressive_jpeg_is_read() {
    assert_shows(&other_jpeg(fields().as_raw(), JpegColour::Rgb, true), &fields(), JPEG_LEVELS);
}

#[test]
fn cmyk_jpeg_shows_the_right_colours() {
    let cmyk: Vec<u8> =
        fields().as_raw().chunks_exact(3).flat_map(|p| [255 - p[0], 255 - p[1], 255 - p[2], 0]).collect();
    for colour in [JpegColour::Cmyk, JpegColour::CmykAsYcck] {
        assert_shows(&other_jpeg(&cmyk, colour, false), &fields(), JPEG_LEVELS + 2);
    }
}

#[test]
fn black_ink_of_a_cmyk_jpeg_darkens() {
    let half_black = [0, 0, 0, 128].repeat((WIDTH * HEIGHT) as usize);
    let grey = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([127; 3]));
    for colour in [JpegColour::Cmyk, JpegColour::CmykAsYcck] {
        assert_shows(&other_jpeg(&half_black, colour, false), &grey, JPEG_LEVELS);
    }
}

#[test]
fn grey_deep_and_transparent_pictures_become_rgb_on_white() {
    let rgb = DynamicImage::from(fields());
    let grey = rgb.to_luma8();
    let grey_as_rgb = DynamicImage::from(grey.clone()).to_rgb8();
    assert_shows(&encoded(&grey.clone().into(), Format::Png), &grey_as_rgb, 0);
    assert_shows(&encoded(&grey.into(), Format::Jpeg), &grey_as_rgb, 30);
    assert_shows(&encoded(&rgb.to_rgb16().into(), Format::Png), &fields(), 0);
    assert_shows(&encoded(&rgb.to_luma16().into(), Format::Png), &grey_as_rgb, 1);
    assert_shows(&encoded(&rgb.to_rgba8().into(), Format::Png), &fields(), 0);
    let mut half = rgb.to_rgba8();
    half.pixels_mut().for_each(|p| p.0[3] = 128);
    let on_white = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        Rgb(fields().get_pixel(x, y).0.map(|v| u8::try_from((u32::from(v) * 128 + 255 * 127) / 255).unwrap()))
    });
    assert_shows(&encoded(&half.clone().into(), Format::Png), &on_white, 1);
    assert_shows(&encoded(&half.clone().into(), Format::WebP), &on_white, 1);
    assert_shows(&encoded(&DynamicImage::from(half).to_rgba16().into(), Format::Png), &on_white, 1);
    let clear = DynamicImage::from(image::GrayAlphaImage::from_pixel(WIDTH, HEIGHT, image::LumaA([0, 0])));
    assert_shows(&encoded(&clear, Format::Png), &RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([255; 3])), 0);
}

#[test]
fn a_palette_png_is_read() {
    assert_shows(&palette_png(), &RgbImage::from_fn(2, 1, |x, _| Rgb([[9, 8, 7], [200, 100, 50]][x as usize])), 0);
}

#[test]
fn all_eight_exif_orientations_show_the_same_upright_picture() {
    for orientation in 1..=8 {
        let stored = DynamicImage::from(fields());
        // The stored picture that the orientation (2-8) turns upright again.
        let stored = match orientation {
            2 => stored.fliph(),
            3 => stored.rotate180(),
            4 => stored.flipv(),
            5 => stored.rotate90().fliph(),
            6 => stored.rotate270(),
            7 => stored.rotate90().flipv(),
            8 => stored.rotate90(),
            _ => stored,
        };
        let bytes = with_orientation(&jpeg_of(&stored.to_rgb8()), orientation);
        assert_shows(&bytes, &fields(), JPEG_LEVELS);
    }
}

#[test]
fn an_orientation_that_does_not_exist_is_ignored() {
    for orientation in [0, 9, 255] {
        assert_shows(&with_orientation(&jpeg(), orientation), &fields(), JPEG_LEVELS);
    }
}

#[test]
fn bytes_after_the_end_of_the_image_are_ignored() {
    for (bytes, levels) in [(jpeg(), JPEG_LEVELS), (png(), 0), (webp(), 0)] {
        assert_shows(&[bytes.as_slice(), &[0, 255, 0xFF, 0xD8, 1, 2, 3]].concat(), &fields(), levels);
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    for (format, bytes) in [(ImageFormat::Jpeg, jpeg()), (ImageFormat::Png, png()), (ImageFormat::Webp, webp())] {
        // The last chunk of a PNG is empty. It may be missing.
        let whole = if format == ImageFormat::Png { bytes.len() - 12 } else { bytes.len() };
        for length in 12..whole {
            let fault = read(&bytes[..length]).expect_err(&format!("{format:?} cut to {length} of {whole}"));
            assert_eq!(fault.code(), "invalid_image");
        }
    }
    let progressive = other_jpeg(fields().as_raw(), JpegColour::Rgb, true);
    for length in 12..progressive.len() {
        assert!(read(&progressive[..length]).is_err(), "progressive JPEG cut to {length}");
    }
}

#[test]
fn animated_files_are_refused_with_a_request_for_a_still_one() {
    for (format, bytes) in [(ImageFormat::Png, animated_png()), (ImageFormat::Webp, animated_webp())] {
        let fault = read(&bytes).unwrap_err();
        assert_eq!(fault, ImageFault::Animated(format));
        assert_eq!(fault.code(), "animated_image");
        assert!(fault.to_string().contains("send a still image"), "{fault}");
    }
}

#[test]
fn empty_and_other_files_are_refused() {
    assert_eq!(read(b"").unwrap_err().code(), "empty_image");
    for other in [b"GIF89a".as_slice(), b"%PDF-1.7", b"<svg xmlns=\"\"/>", b"\0", b"BM\0\0"] {
        assert_eq!(read(other).unwrap_err().code(), "unsupported_image_format");
    }
    for magic in [b"\xFF\xD8\xFF".as_slice(), b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"] {
        assert_eq!(read(magic).unwrap_err().code(), "invalid_image");
    }
}

#[test]
fn a_file_of_too_many_bytes_is_refused_by_its_size_alone() {
    let fault = read(&vec![0; 10_000_001]).unwrap_err();
    assert_eq!(fault.code(), "image_too_large");
    assert_eq!(fault.to_string(), "the image file has 10.0 MB; at most 10.0 MB are accepted");
}

/// The headers claim up to 3.6 gigapixels, and the files have a few bytes. Refusing them allocates no pixels.
#[test]
fn pictures_of_too_many_pixels_are_refused_by_their_header() {
    for (name, bytes) in [("PNG", huge_png(60_000, 60_000)), ("JPEG", huge_jpeg(60_000, 60_000)), ("WebP", huge_webp())]
    {
        let fault = read(&bytes).unwrap_err();
        assert_eq!(fault.code(), "too_many_pixels", "{name}");
        assert!(fault.to_string().contains("a side of at most 6000 pixels is accepted"), "{fault}");
    }
    let fault = read(&huge_jpeg(5_000, 5_000)).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the image measures 5000 x 5000 pixels, 25.0 megapixels; at most 24.0 megapixels are accepted"
    );
    assert_eq!(read(&huge_png(5_000, 5_000)).unwrap_err().code(), "too_many_pixels");
}

#[test]
fn pictures_without_pixels_are_refused() {
    for bytes in [huge_png(0, 9), huge_png(9, 0), huge_jpeg(0, 9), huge_jpeg(9, 0)] {
        assert_eq!(read(&bytes).unwrap_err().code(), "invalid_image");
    }
}

#[test]
fn one_pixel_is_a_picture() {
    let one = RgbImage::from_pixel(1, 1, Rgb([1, 2, 3]));
    assert_shows(&encoded(&one.clone().into(), Format::Png), &one, 0);
}

proptest! {
    #![proptest_config(property(512, file!()))]

    #[test]
    fn mutated_files_are_read_or_refused_and_never_panic(
        kind in 0..6usize, at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = match kind {
            0 => jpeg(),
            1 => png(),
            2 => webp(),
            3 => other_jpeg(fields().as_raw(), JpegColour::Rgb, true),
            4 => with_orientation(&jpeg(), 6),
            _ => animated_webp(),
        };
        for (index, value) in at {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(picture) = read(&bytes) {
            prop_assert!(picture.width().max(picture.height()) <= 6_000);
            prop_assert!(picture.width() * picture.height() <= 24_000_000);
        }
    }

    #[test]
    fn random_bytes_after_a_magic_number_never_panic(
        kind in 0..3usize, tail in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let magic: &[u8] = [b"\xFF\xD8\xFF".as_slice(), b"\x89PNG\r\n\x1a\n", b"RIFF\x90\x01\0\0WEBPVP8 "][kind];
        let _ = read(&[magic, &tail].concat());
    }
}

/// The JPEG with an APP1 segment that has only the orientation (EXIF 2.3, tag 0x0112).
pub fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff =
        [b"II*\0".as_slice(), &[8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]];
    let body = [b"Exif\0\0".as_slice(), &tiff.concat()].concat();
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &body, &jpeg[2..]].concat()
}

fn png_chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let crc = crc32(&[kind.as_slice(), body].concat());
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [length.as_slice(), &kind, body, &crc.to_be_bytes()].concat()
}

/// The checksum of a PNG chunk (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

fn ihdr(width: u32, height: u32, colour: u8) -> Vec<u8> {
    png_chunk(*b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, colour, 0, 0, 0]].concat())
}

pub fn huge_png(width: u32, height: u32) -> Vec<u8> {
    [PNG_SIGNATURE, &ihdr(width, height, 2), &png_chunk(*b"IDAT", &[0x78, 0x9C]), &png_chunk(*b"IEND", &[])].concat()
}

/// A PNG of two pixels with a palette of two colours. Its zlib stream has one stored block.
fn palette_png() -> Vec<u8> {
    let row = [0, 0, 1];
    let adler = row.iter().fold((1u32, 0u32), |(a, b), v| (a + v, b + a + v));
    let adler = (adler.1 << 16 | adler.0).to_be_bytes();
    let row = row.map(|v| u8::try_from(v).unwrap());
    let data = [&[0x78, 0x01, 1, 3, 0, 0xFC, 0xFF], row.as_slice(), &adler].concat();
    let palette = png_chunk(*b"PLTE", &[9, 8, 7, 200, 100, 50]);
    [PNG_SIGNATURE, &ihdr(2, 1, 3), &palette, &png_chunk(*b"IDAT", &data), &png_chunk(*b"IEND", &[])].concat()
}

/// The still PNG with the chunks that announce two frames.
pub fn animated_png() -> Vec<u8> {
    let still = png();
    let after_header = PNG_SIGNATURE.len() + 25;
    let control = png_chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]);
    let size = [WIDTH.to_be_bytes(), HEIGHT.to_be_bytes()].concat();
    let frame = png_chunk(*b"fcTL", &[&[0; 4], size.as_slice(), &[0; 8], &[0, 1, 0, 10, 0, 0]].concat());
    [&still[..after_header], &control, &frame, &still[after_header..]].concat()
}

fn riff(chunks: &[u8]) -> Vec<u8> {
    let length = u32::try_from(chunks.len() + 4).unwrap().to_le_bytes();
    [b"RIFF", length.as_slice(), b"WEBP", chunks].concat()
}

fn riff_chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&kind, length.as_slice(), body, &[0][..body.len() % 2]].concat()
}

/// A WebP with two frames that both show the still picture.
pub fn animated_webp() -> Vec<u8> {
    let mut still = Vec::new();
    WebPEncoder::new_lossless(&mut still).encode(fields().as_raw(), WIDTH, HEIGHT, ExtendedColorType::Rgb8).unwrap();
    let [w, h] = [WIDTH - 1, HEIGHT - 1].map(u32::to_le_bytes);
    let canvas = [&[0x02, 0, 0, 0], &w[..3], &h[..3]].concat();
    let frame = riff_chunk(*b"ANMF", &[&[0; 6], &w[..3], &h[..3], &[100, 0, 0, 0], &still[12..]].concat());
    let animation = riff_chunk(*b"ANIM", &[255, 255, 255, 255, 0, 0]);
    riff(&[riff_chunk(*b"VP8X", &canvas), animation, frame.clone(), frame].concat())
}

/// A lossless WebP of 16383 x 16383 pixels, nearly the largest possible.
fn huge_webp() -> Vec<u8> {
    riff(&riff_chunk(*b"VP8L", &[0x2F, 0xFE, 0xBF, 0xFF, 0x0F, 0, 0, 0, 0, 0]))
}

fn huge_jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg();
    let frame = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

#[test]
fn a_png_that_carries_an_orientation_is_turned_upright() {
    let stored = DynamicImage::from(fields()).rotate270().to_rgb8();
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    let tiff =
        [b"II*\0".as_slice(), &[8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]].concat();
    encoder.set_exif_metadata(tiff).unwrap();
    encoder.write_image(stored.as_raw(), stored.width(), stored.height(), ExtendedColorType::Rgb8).unwrap();
    assert_shows(&bytes, &fields(), 0);
}
