//! Large JPEGs are decoded at a reduced scale: with the same pixels, faces, templates, measures and refusals as in
//! full.

use std::sync::LazyLock;

use image::{DynamicImage, Rgb, RgbImage, imageops};
use jpeg_encoder::{ColorType as JpegColour, Encoder, SamplingFactor};
use proptest::prelude::*;
use visavis::domain::evidence::Mode;
use visavis::domain::image::ImageFormat;
use visavis::domain::quality::QualityLimits;
use visavis::vision::decode::{DecodeParams, decode, decode_reduced};
use visavis::vision::geometry::{Point, Transform};
use visavis::vision::picture::{CHANNELS, Picture};
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::rendition::{Crop, RenditionParams, render};
use visavis::vision::resample::shrink;
use visavis::vision::view::View;
use visavis::vision::{Analysis, Face, ImageFault, Params, Pass, Pipeline};

use super::vision_images::with_orientation;
use super::vision_support::{pack, photo, pipeline, runtime};
use crate::support::property::property;

/// How a JPEG is written.
#[derive(Clone, Copy)]
struct Kind {
    colour: JpegColour,
    sampling: SamplingFactor,
    quality: u8,
    /// Units between restart markers.
    restart: Option<u16>,
    progressive: bool,
}

/// A JPEG as cameras write it.
const CAMERA: Kind =
    Kind { colour: JpegColour::Rgb, sampling: SamplingFactor::F_2_2, quality: 90, restart: None, progressive: false };

fn jpeg(picture: &RgbImage, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, kind.quality);
    encoder.set_sampling_factor(kind.sampling);
    encoder.set_progressive(kind.progressive);
    if let Some(units) = kind.restart {
        encoder.set_restart_interval(units);
    }
    let pixels = match kind.colour {
        JpegColour::Luma => DynamicImage::from(picture.clone()).into_luma8().into_raw(),
        JpegColour::Cmyk => picture.pixels().flat_map(|Rgb([r, g, b])| [255 - r, 255 - g, 255 - b, 0]).collect(),
        _ => picture.as_raw().clone(),
    };
    let side = |pixels: u32| u16::try_from(pixels).unwrap();
    encoder.encode(&pixels, side(picture.width()), side(picture.height()), kind.colour).unwrap();
    bytes
}

fn scaled(photo_name: &str, width: u32, height: u32) -> RgbImage {
    let photo = image::load_from_memory(&photo(photo_name)).unwrap().into_rgb8();
    imageops::resize(&photo, width, height, imageops::FilterType::CatmullRom)
}

fn in_full(bytes: &[u8]) -> Result<Picture, ImageFault> {
    decode(bytes, &DecodeParams::default())
}

fn reduced(bytes: &[u8], long_side: u32) -> Result<View, ImageFault> {
    decode_reduced(bytes, &DecodeParams::default(), long_side)
}

/// The mean difference of one channel, in levels (0-255).
#[expect(clippy::cast_precision_loss, reason = "pixels of a small picture")]
fn mean_off(a: &Picture, b: &Picture, channel: usize, difference: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let values =
        |picture: &Picture| picture.pixels().iter().skip(channel).step_by(CHANNELS).map(|v| f64::from(*v)).collect();
    let (a, b): (Vec<_>, Vec<_>) = (values(a), values(b));
    a.iter().zip(&b).map(|(a, b)| difference(*a, *b)).sum::<f64>() / a.len() as f64
}

#[test]
fn a_reduced_picture_shows_what_the_full_one_does() {
    let picture = scaled("obama.jpg", 320, 400);
    let samplings = [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_1_2, SamplingFactor::F_2_2];
    let mut kinds = samplings.map(|sampling| Kind { sampling, ..CAMERA }).to_vec();
    kinds.push(Kind { colour: JpegColour::Luma, ..CAMERA });
    kinds.push(Kind { restart: Some(3), ..CAMERA });
    for (at, kind) in kinds.into_iter().enumerate() {
        let file = jpeg(&picture, kind);
        let full = in_full(&file).unwrap();
        for divisor in [2, 4, 8] {
            let view = reduced(&file, 400 / divisor).unwrap();
            assert_eq!((view.width(), view.height()), (320, 400));
            let (width, height) = (view.held().width(), view.held().height());
            assert_eq!((width, height), (320 / divisor as usize, 400 / divisor as usize));
            for channel in 0..CHANNELS {
                let off = mean_off(view.held(), &shrink(&full, width, height), channel, |a, b| (a - b).abs());
                assert!(off < 6.0, "kind {at} at 1/{divisor}: channel {channel} is off by {off} levels");
            }
        }
    }
}

#[test]
fn every_place_is_the_same_as_in_full_in_every_orientation() {
    // Red grows to the right and green downwards. The last blocks are incomplete.
    let slope =
        |width, height| RgbImage::from_fn(width, height, |x, y| Rgb([x, y, 128].map(|v| u8::try_from(v).unwrap())));
    for orientation in 1..=8 {
        let stored = if orientation < 5 { slope(253, 187) } else { slope(187, 253) };
        let kind = Kind { quality: 100, sampling: SamplingFactor::F_1_1, ..CAMERA };
        let file = with_orientation(&jpeg(&stored, kind), orientation);
        let full = View::from(in_full(&file).unwrap());
        for divisor in [2, 4, 8] {
            let view = reduced(&file, 253 / divisor).unwrap();
            assert_eq!((view.width(), view.height()), (full.width(), full.height()));
            assert!((view.reduction() - f64::from(divisor)).abs() < 1e-9);
            let map = Transform::about(Point::new(100.0, 90.0), 0.2, 0.15, Point::new(10.0, 10.0));
            for channel in 0..2 {
                let off = mean_off(&view.warp(&map, 20), &full.warp(&map, 20), channel, |a, b| a - b);
                assert!(off.abs() < 0.3, "orientation {orientation} at 1/{divisor}: off by {off} pixels");
            }
        }
    }
}

#[test]
fn small_files_and_other_kinds_are_decoded_in_full() {
    let picture = scaled("obama.jpg", 320, 400);
    let camera = jpeg(&picture, CAMERA);
    assert!((reduced(&camera, 200).unwrap().reduction() - 2.0).abs() < 1e-9);
    let mut png = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture.clone()).write_to(&mut png, image::ImageFormat::Png).unwrap();
    for (file, long_side) in [
        (camera, 201),
        (png.into_inner(), 1),
        (jpeg(&picture, Kind { progressive: true, ..CAMERA }), 1),
        (jpeg(&picture, Kind { colour: JpegColour::Cmyk, ..CAMERA }), 1),
    ] {
        let view = reduced(&file, long_side).unwrap();
        assert_eq!(view.held(), &in_full(&file).unwrap());
        assert!((view.reduction() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn a_file_cut_short_is_refused_at_every_scale_as_it_is_in_full() {
    let file = jpeg(&scaled("obama.jpg", 64, 80), Kind { restart: Some(2), ..CAMERA });
    for length in 0..file.len() {
        assert_eq!(reduced(&file[..length], 1).map(drop), in_full(&file[..length]).map(drop), "cut to {length}");
    }
}

/// The coded data may end early or be damaged. Decoders show grey from there on.
#[test]
fn missing_pixels_are_as_grey_as_in_full() {
    let file = jpeg(&scaled("obama.jpg", 320, 400), CAMERA);
    let half = [&file[..file.len() / 2], &[0xFF, 0xD9]].concat();
    let view = reduced(&half, 1).unwrap();
    assert_eq!(view.held(), &in_full(&half).unwrap());
}

static SMALL: LazyLock<RgbImage> = LazyLock::new(|| scaled("obama.jpg", 97, 131));

/// A small JPEG of one of four kinds.
fn small(kind: usize) -> Vec<u8> {
    let kind = match kind {
        0 => CAMERA,
        1 => Kind { restart: Some(2), ..CAMERA },
        2 => Kind { colour: JpegColour::Luma, ..CAMERA },
        _ => Kind { sampling: SamplingFactor::F_2_1, quality: 60, ..CAMERA },
    };
    jpeg(&SMALL, kind)
}

/// Where the first segment with this marker begins.
fn segment(file: &[u8], marker: u8) -> usize {
    let mut at = 2;
    while file[at + 1] != marker {
        at += 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
    }
    at
}

const DQT: u8 = 0xDB;
const DHT: u8 = 0xC4;
const SOF: u8 = 0xC0;
const SOS: u8 = 0xDA;

fn inserted(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    [&file[..at], bytes, &file[at..]].concat()
}

#[test]
fn what_only_libjpeg_turbo_tolerates_is_refused_reduced_as_in_full() {
    let (colour, grey) = (small(0), small(2));
    let mut other_table = colour.clone();
    // The property test below found this one: the first table for chroma defines one that the scan does not use.
    other_table[397] = 17;
    let without = |marker: u8| {
        let at = segment(&colour, marker);
        let length = 2 + usize::from(u16::from_be_bytes([colour[at + 2], colour[at + 3]]));
        [&colour[..at], &colour[at + length..]].concat()
    };
    let adobe = [0xFF, 0xEE, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, 1];
    for (what, file) in [
        ("a table that is never used", other_table),
        ("no Huffman table", without(DHT)),
        ("no quantisation table", without(DQT)),
        ("colours of a grey picture", inserted(&grey, segment(&grey, SOS), &adobe)),
    ] {
        assert!(in_full(&file).is_err(), "{what}");
        assert_eq!(reduced(&file, 1).map(drop), in_full(&file).map(drop), "{what}");
    }
}

#[test]
fn files_in_which_decoders_may_find_other_segments_are_decoded_in_full() {
    let file = small(0);
    let (frame, end) = (segment(&file, SOF), file.len() - 2);
    for (what, file) in [
        ("a stray byte", inserted(&file, frame, &[0])),
        ("a stuffed byte before a marker", inserted(&file, frame, &[0xFF, 0])),
        ("an unknown segment", inserted(&file, frame, &[0xFF, 0xF7, 0, 4, 1, 2])),
        ("an APP0 with four bytes", inserted(&file, frame, &[0xFF, 0xE0, 0, 6, 1, 2, 3, 4])),
        ("a segment after the scan", inserted(&file, end, &[0xFF, 0xFE, 0, 4, 1, 2])),
    ] {
        let view = reduced(&file, 1).map(|view| (view.reduction().to_string(), view.held().clone()));
        assert_eq!(view, in_full(&file).map(|full| ("1".to_owned(), full)), "{what}");
    }
}

/// Run this after an update of either decoder.
#[test]
#[ignore = "takes minutes"]
fn every_value_of_every_byte_before_the_pixels_is_refused_reduced_where_it_is_refused_in_full() {
    for kind in 0..4 {
        let mut bytes = small(kind);
        for at in 2..segment(&bytes, SOS) + 20 {
            let original = bytes[at];
            for value in 0..=u8::MAX {
                bytes[at] = value;
                let (small, full) = (reduced(&bytes, 1).map(drop), in_full(&bytes).map(drop));
                assert_eq!(small, full, "kind {kind}, byte {at} is {value}");
            }
            bytes[at] = original;
        }
    }
}

proptest! {
    #![proptest_config(property(512, file!()))]

    #[test]
    fn whatever_is_changed_in_a_file_it_is_refused_reduced_where_it_is_refused_in_full(
        kind in 0..4_usize,
        long_side in 1..200_u32,
        // Half of the changes hit the bytes before the pixels.
        at in prop::collection::vec((0..1_400_usize, any::<u8>()), 1..6),
        in_pixels in any::<bool>(),
    ) {
        let mut bytes = small(kind);
        for (at, value) in at {
            let length = bytes.len();
            let at = if in_pixels { length - 1 - at % length } else { at % length };
            bytes[at] = value;
        }
        prop_assert_eq!(reduced(&bytes, long_side).map(drop), in_full(&bytes).map(drop));
    }
}

/// Decodes everything in full.
fn thorough() -> Pipeline {
    Pipeline::open(&pack(), &runtime(), Params { first_side: u32::MAX, ..Params::default() }).unwrap()
}

fn analyse(pipeline: &mut Pipeline, file: &[u8]) -> Analysis {
    pipeline.analyse(file, Mode::Accurate, &mut Pass::default()).unwrap()
}

/// Asserts that both analyses found the same face, with the same template and measures.
fn assert_alike(found: &Analysis, full: &Analysis, what: &str) {
    assert_eq!((found.width, found.height, found.faces.len()), (full.width, full.height, full.faces.len()), "{what}");
    let (a, b) = (found.primary_face().unwrap(), full.primary_face().unwrap());
    let eyes = b.five_points[0].distance(b.five_points[1]);
    let corner = |face: &Face| Point::new(face.bbox.left, face.bbox.top);
    let apart = a.five_points.iter().zip(b.five_points).map(|(a, b)| a.distance(b)).fold(0.0, f64::max);
    let apart = apart.max(corner(a).distance(corner(b))) / eyes;
    assert!(apart < 0.02, "{what}: {apart} inter-eye distances apart");
    for model in ["dlib_resnet", "faceres"] {
        let vector = |analysis: &Analysis| analysis.template.as_ref().unwrap().vector(model).unwrap().to_vec();
        let cosine: f32 = vector(found).iter().zip(vector(full)).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.995, "{what}: cosine of {model} is {cosine}");
    }
    let (a, b) = (found.quality.as_ref().unwrap(), full.quality.as_ref().unwrap());
    assert_eq!(a.defects(&QualityLimits::default()), b.defects(&QualityLimits::default()), "{what}");
    assert!((a.inter_eye_px / b.inter_eye_px - 1.0).abs() < 0.01, "{what}: {} px", a.inter_eye_px);
    assert!((a.margin - b.margin).abs() < 0.02 + 0.01 * b.margin, "{what}: margin {} and {}", a.margin, b.margin);
    assert!((a.sharpness - b.sharpness).abs() < 0.03, "{what}: sharpness {} and {}", a.sharpness, b.sharpness);
}

/// The photo in the middle of a grey frame, `share` times as wide.
fn framed(name: &str, (width, height): (u32, u32), share: f64) -> RgbImage {
    let mut frame = RgbImage::from_pixel(width, height, Rgb([150; 3]));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a side")]
    let side = (f64::from(width) * share) as u32;
    imageops::overlay(&mut frame, &scaled(name, side, side * 5 / 4), i64::from(width / 3), i64::from(height / 3));
    frame
}

#[test]
fn photos_at_every_size_give_the_faces_templates_and_measures_of_the_full_picture() {
    let (mut pipeline, mut thorough) = (pipeline(), thorough());
    for name in ["obama.jpg", "obama2.jpg", "biden.jpg"] {
        for (width, height) in [(1_040, 1_300), (2_080, 2_600), (4_160, 5_200)] {
            let file = jpeg(&scaled(name, width, height), CAMERA);
            let what = format!("{name} at {width} x {height}");
            assert_alike(&analyse(&mut pipeline, &file), &analyse(&mut thorough, &file), &what);
        }
    }
}

#[test]
fn a_file_is_decoded_again_if_its_face_has_too_few_pixels() {
    let (mut pipeline, mut thorough) = (pipeline(), thorough());
    for share in [0.5, 0.25, 0.15] {
        let file = jpeg(&framed("biden.jpg", (2_304, 3_072), share), CAMERA);
        assert_alike(&analyse(&mut pipeline, &file), &analyse(&mut thorough, &file), &format!("{share} of the frame"));
    }
}

#[test]
fn a_face_that_lies_on_its_side_is_where_it_is_in_the_upright_picture() {
    let (mut pipeline, mut thorough) = (pipeline(), thorough());
    let upright = DynamicImage::from(framed("obama2.jpg", (1_951, 2_601), 0.6));
    for (orientation, stored) in [(3, upright.rotate180()), (6, upright.rotate270()), (8, upright.rotate90())] {
        let file = with_orientation(&jpeg(&stored.into_rgb8(), CAMERA), orientation);
        let (found, full) = (analyse(&mut pipeline, &file), analyse(&mut thorough, &file));
        assert_eq!((found.width, found.height), (1_951, 2_601));
        assert_alike(&found, &full, &format!("orientation {orientation}"));
    }
}

/// One decoder obeys the JFIF marker, and the other obeys Adobe's. So one reads YCbCr where the other reads RGB.
#[test]
fn a_file_that_looks_different_in_full_than_reduced_is_not_rendered() {
    let file = jpeg(&scaled("obama.jpg", 1_040, 1_300), CAMERA);
    let adobe = [0xFF, 0xEE, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, 0];
    let two_faced = [&file[..20], adobe.as_slice(), &file[20..]].concat();
    let shown = |file: &[u8]| render(file, Crop::Whole, &DecodeParams::default(), &RenditionParams::default());
    assert!(shown(&file).is_ok());
    assert!(in_full(&two_faced).is_ok() && reduced(&two_faced, 640).is_ok());
    assert_eq!(shown(&two_faced), Err(ImageFault::Invalid(ImageFormat::Jpeg)));
}

#[test]
fn liveness_sees_the_pixels_that_were_compared() {
    let (mut pipeline, mut thorough) = (pipeline(), thorough());
    for name in ["obama.jpg", "biden.jpg"] {
        let file = jpeg(&scaled(name, 2_080, 2_600), CAMERA);
        let test = |pipeline: &mut Pipeline| {
            let analysis = pipeline.analyse(&file, Mode::Fast, &mut Pass::default()).unwrap();
            let face = analysis.primary_face().unwrap();
            let view = reduced(&file, face.decoded_side).unwrap();
            (view.held().height(), pipeline.liveness(&file, face, &mut Pass::default()).unwrap().unwrap())
        };
        let ((held, as_needed), (all, in_full)) = (test(&mut pipeline), test(&mut thorough));
        assert!(held < all && all == 2_600, "{held} of {all}");
        let (a, b) = (as_needed.score.get(), in_full.score.get());
        assert!((a - b).abs() < 0.1, "{name}: {a} and {b}");
        let (a, b) = (as_needed.context.unwrap(), in_full.context.unwrap());
        assert!((a / b - 1.0).abs() < 0.05, "{name}: context {a} and {b}");
    }
}

#[test]
fn a_large_photo_without_a_face_shows_none() {
    let analysis = analyse(&mut pipeline(), &jpeg(&scaled("no-face.png", 2_600, 2_600), CAMERA));
    assert!(analysis.faces.is_empty() && analysis.quality.is_none());
    assert_eq!((analysis.width, analysis.height), (2_600, 2_600));
}
