//! Compares the Rust pipeline with the vectors of the Python reference (`models/golden`), and the networks with the
//! runtimes from which they were converted.

#![expect(clippy::cast_precision_loss, reason = "sums over small pictures")]

use serde::Deserialize;
use visavis::domain::evidence::Mode;
use visavis::vision::decode::{DecodeParams, decode};
use visavis::vision::detect::letterbox;
use visavis::vision::embed::{Embedder, EmbedderSpec};
use visavis::vision::geometry::Point;
use visavis::vision::landmarks::crop_transform;
use visavis::vision::model::{InputSpec, Model};
use visavis::vision::network::Network;
use visavis::vision::picture::Picture;
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::resample::warp;
use visavis::vision::view::View;
use visavis::vision::{Analysis, Face, Pass};

use super::vision_support::{models, pack, photo, pipeline, runtime};

/// Tolerance for lossless photos. If an area mean is a tie, f32 and f64 sums round it differently (0.5 % of the pixels
/// when the ratio is a small fraction). Measured: 0.046 px for the small face, 0.012 px for the others.
const PNG: Tolerance = Tolerance { pixels: 0.05, score: 1e-3, cosine: 0.999_9 };
/// Tolerance for JPEGs. The reference decodes them with libjpeg-turbo, and we use zune-jpeg. Their inverse DCT and
/// chroma upsampling differ by a few levels. Measured on four photos: 0.23 px, 3e-4, 0.99987.
const JPEG: Tolerance = Tolerance { pixels: 0.35, score: 1e-3, cosine: 0.999_8 };
/// The mean difference between a network's input picture and the reference's, in levels of 255: one pixel in a hundred
/// differs by one level.
const CHIP_LEVELS: f64 = 0.01;

struct Tolerance {
    /// Distance of boxes and points, in pixels.
    pixels: f64,
    /// Difference of detection score and presence.
    score: f64,
    /// Least cosine of embeddings.
    cosine: f64,
}

#[derive(Deserialize)]
struct Golden {
    photo: String,
    width: usize,
    height: usize,
    faces: Vec<GoldenFace>,
    primary: Option<Primary>,
}

#[derive(Deserialize)]
struct GoldenFace {
    #[serde(rename = "box")]
    bbox: [f64; 4],
    score: f64,
    presence: f64,
    points: Vec<[f64; 2]>,
}

#[derive(Deserialize)]
struct Primary {
    landmarks: Vec<[f64; 2]>,
    five_points: Vec<[f64; 2]>,
    dlib_embedding: Vec<f64>,
    faceres_embedding: Vec<f64>,
}

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
    raw: Scores,
    calibrated: Scores,
}

#[derive(Deserialize)]
struct Scores {
    fast: f64,
    accurate: f64,
}

#[derive(Deserialize)]
struct Conversion {
    seed: u32,
    tolerance_relative_to_largest_value: f64,
    file: String,
    entries: Vec<ConversionEntry>,
}

#[derive(Deserialize)]
struct ConversionEntry {
    model: String,
    input: String,
    output: String,
    shape: Vec<usize>,
    offset: usize,
    largest_value: f64,
}

fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(models().join("golden").join(name)).unwrap()).unwrap()
}

fn golden_picture(name: &str) -> Picture {
    decode(&std::fs::read(models().join("golden").join(name)).unwrap(), &DecodeParams::default()).unwrap()
}

fn picture(name: &str) -> Picture {
    decode(&photo(name), &DecodeParams::default()).unwrap()
}

fn analyse(name: &str, mode: Mode) -> Analysis {
    pipeline().analyse(&photo(name), mode, &mut Pass::default()).unwrap()
}

fn largest<I: IntoIterator<Item = f64>>(differences: I) -> f64 {
    differences.into_iter().fold(0.0, f64::max)
}

fn apart(ours: Point, theirs: [f64; 2]) -> f64 {
    (ours.x - theirs[0]).abs().max((ours.y - theirs[1]).abs())
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum();
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    dot / norm(&mut a.iter().map(|v| f64::from(*v))) / norm(&mut b.iter().copied())
}

fn mean_difference(a: &Picture, b: &Picture) -> f64 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let sum: u64 = a.pixels().iter().zip(b.pixels()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.pixels().len() as f64
}

fn box_apart(face: &Face, golden: &GoldenFace) -> f64 {
    let b = face.bbox;
    largest([b.left, b.top, b.right, b.bottom].iter().zip(golden.bbox).map(|(a, b)| (a - b).abs()))
}

fn assert_like_golden(stem: &str, tolerance: &Tolerance) {
    let golden: Golden = golden(&format!("{stem}.json"));
    let found = analyse(&golden.photo, Mode::Accurate);
    assert_eq!((found.width, found.height), (golden.width, golden.height), "{stem}");
    assert_eq!(found.faces.len(), golden.faces.len(), "faces of {stem}");
    for (face, expected) in found.faces.iter().zip(&golden.faces) {
        let off = box_apart(face, expected);
        assert!(off <= tolerance.pixels, "{stem}: box off by {off} px");
        let off = (face.score - expected.score).abs().max((face.presence - expected.presence).abs());
        assert!(off <= tolerance.score, "{stem}: score or presence off by {off}");
    }
    let Some(expected) = &golden.primary else {
        assert!(found.primary.is_none() && found.template.is_none(), "{stem} shows no face");
        return;
    };
    let face = found.primary_face().unwrap();
    let mesh = face.landmarks.iter().map(|p| Point::new(p[0], p[1]));
    let off = largest(mesh.zip(&expected.landmarks).map(|(p, q)| apart(p, *q)));
    assert!(off <= tolerance.pixels, "{stem}: landmarks off by {off} px");
    let off = largest(face.five_points.iter().zip(&expected.five_points).map(|(p, q)| apart(*p, *q)));
    assert!(off <= tolerance.pixels, "{stem}: five points off by {off} px");
    // ACCURATE averages dlib's embeddings of the chip and its mirror image. `pairs.json` covers it.
    let plain = analyse(&golden.photo, Mode::Fast).template.unwrap();
    let fused = found.template.unwrap();
    for (template, model, golden) in
        [(plain, "dlib_resnet", &expected.dlib_embedding), (fused, "faceres", &expected.faceres_embedding)]
    {
        let cosine = cosine(template.vector(model).unwrap(), golden);
        assert!(cosine >= tolerance.cosine, "{stem}: cosine of {model} is {cosine}");
    }
}

#[test]
fn lossless_photos_give_the_references_boxes_points_and_embeddings() {
    for stem in ["astronaut", "tilted", "two-faces", "small-face", "no-face"] {
        assert_like_golden(stem, &PNG);
    }
}

#[test]
fn jpeg_photos_give_the_references_boxes_points_and_embeddings() {
    for stem in ["obama", "obama2", "biden", "exif-rotated"] {
        assert_like_golden(stem, &JPEG);
    }
}

#[test]
fn pairs_of_photos_get_the_references_scores() {
    let mut pipeline = pipeline();
    let mut templates = std::collections::HashMap::new();
    let pairs: Vec<Pair> = golden("pairs.json");
    for pair in &pairs {
        for (name, mode) in [&pair.a, &pair.b].into_iter().flat_map(|name| [(name, Mode::Fast), (name, Mode::Accurate)])
        {
            templates.entry((name.clone(), mode)).or_insert_with(|| {
                pipeline.analyse(&photo(name), mode, &mut Pass::default()).unwrap().template.unwrap()
            });
        }
    }
    let pack = pack();
    for pair in &pairs {
        for (mode, raw, calibrated) in [
            (Mode::Fast, pair.raw.fast, pair.calibrated.fast),
            (Mode::Accurate, pair.raw.accurate, pair.calibrated.accurate),
        ] {
            let template = |name: &String| &templates[&(name.clone(), mode)];
            let found = pack.scorers().of(mode).compare(template(&pair.a), template(&pair.b)).unwrap();
            // Measured for pairs with a JPEG: raw 1.3e-3, similarity 6.6e-3. The calibration is up to nine times as
            // steep.
            let off = (found.raw.get() - raw).abs();
            assert!(off < 2e-3, "{} and {} in {mode:?}: raw off by {off}", pair.a, pair.b);
            let off = (found.similarity.get() - calibrated).abs();
            assert!(off < 8e-3, "{} and {} in {mode:?}: similarity off by {off}", pair.a, pair.b);
        }
    }
}

#[test]
fn the_networks_see_the_references_pixels() {
    let astronaut = picture("astronaut.png");
    for side in [128, 192] {
        let (square, _) = letterbox(&astronaut, side);
        let off = mean_difference(&square, &golden_picture(&format!("astronaut_letterbox{side}.png")));
        assert!(off <= CHIP_LEVELS, "letterbox to {side}: mean difference {off}");
    }
    let mut detector = visavis::vision::detect::Detector::new(
        pack().detectors()[0].open(&runtime()).unwrap(),
        pack().detectors()[0].spec.clone(),
    );
    let face = detector.detect(&astronaut).unwrap().remove(0);
    let golden: Golden = golden("astronaut.json");
    let off = largest(face.eyes.iter().zip(&golden.faces[0].points).map(|(p, q)| apart(*p, *q)));
    assert!(off <= PNG.pixels, "the detector's eyes off by {off} px");
    let crop = warp(&astronaut, &crop_transform(&face, pack().landmarks().spec.crop, 192), 192);
    let off = mean_difference(&crop, &golden_picture("astronaut_landmark192.png"));
    assert!(off <= CHIP_LEVELS, "landmark crop: mean difference {off}");
}

#[test]
fn aligned_chips_are_the_references_chips() {
    for stem in ["astronaut", "tilted"] {
        let golden: Golden = golden(&format!("{stem}.json"));
        let picture = View::from(picture(&golden.photo));
        let five_points: Vec<Point> =
            golden.primary.unwrap().five_points.iter().map(|p| Point::new(p[0], p[1])).collect();
        let five_points: [Point; 5] = five_points.try_into().unwrap();
        for network in pack().embedders() {
            let chip = network.spec.align(&picture, &five_points).unwrap();
            let off = mean_difference(&chip, &golden_picture(&golden_chip(stem, network)));
            assert!(off <= CHIP_LEVELS, "{stem} for {}: mean difference {off}", network.onnx.name);
        }
    }
}

fn golden_chip(stem: &str, network: &Network<EmbedderSpec>) -> String {
    let short = network.onnx.name.split('_').next().unwrap();
    format!("{stem}_{short}{}.png", network.spec.input.side)
}

/// Shows that the tests above can fail: likely mistakes exceed their tolerances.
#[test]
fn a_shift_by_a_pixel_or_swapped_channels_exceed_the_tolerances() {
    let golden: Golden = golden("astronaut.json");
    let primary = golden.primary.unwrap();
    for (network, embedding) in pack().embedders().iter().zip([&primary.dlib_embedding, &primary.faceres_embedding]) {
        let chip = golden_picture(&golden_chip("astronaut", network));
        let mut embedder = Embedder::new(network.open(&runtime()).unwrap(), network.spec.clone());
        let mut cosine_of = |chip: &Picture| cosine(&embedder.embed(chip).unwrap(), embedding);
        assert!(cosine_of(&chip) >= 0.999_999, "the very chip gives the very embedding");
        for (mistake, spoilt) in [("shift", shifted(&chip)), ("channels", swapped(&chip))] {
            let off = mean_difference(&spoilt, &chip);
            assert!(off > 100.0 * CHIP_LEVELS, "{mistake} changes a chip by {off} only");
            let cosine = cosine_of(&spoilt);
            assert!(cosine < PNG.cosine, "{mistake} keeps the cosine of {} at {cosine}", network.onnx.name);
        }
    }
}

fn shifted(picture: &Picture) -> Picture {
    let mut pixels = picture.pixels().to_vec();
    pixels.rotate_right(3);
    Picture::new(picture.width(), picture.height(), pixels).unwrap()
}

fn swapped(picture: &Picture) -> Picture {
    let mut pixels = picture.pixels().to_vec();
    pixels.chunks_exact_mut(3).for_each(|p| p.swap(0, 2));
    Picture::new(picture.width(), picture.height(), pixels).unwrap()
}

/// The vectors come from each network's own runtime (`LiteRT`, dlib, `TensorFlow.js`).
#[test]
fn converted_networks_give_the_results_of_their_sources() {
    let conversion: Conversion = golden("conversion.json");
    let numbers = std::fs::read(models().join("golden").join(&conversion.file)).unwrap();
    let numbers: Vec<f32> = numbers.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut networks = opened();
    for entry in &conversion.entries {
        let (input, model) = networks
            .iter_mut()
            .find_map(|(name, input, model)| (*name == entry.model).then_some((input, model)))
            .unwrap();
        let picture = match entry.input.as_str() {
            "lcg" => noise(conversion.seed, input.side),
            name => golden_picture(name),
        };
        let count = entry.shape.iter().product();
        let found = input.run(model.as_mut(), &picture).unwrap().take(&entry.model, &entry.output, count).unwrap();
        let expected = &numbers[entry.offset..entry.offset + count];
        let off = largest(found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs())));
        let allowed = conversion.tolerance_relative_to_largest_value * entry.largest_value;
        assert!(off <= allowed, "{} of {} for {}: off by {off}", entry.output, entry.model, entry.input);
    }
}

fn opened() -> Vec<(String, InputSpec, Box<dyn Model>)> {
    fn open<S>(network: &Network<S>, input: &InputSpec) -> (String, InputSpec, Box<dyn Model>) {
        (network.onnx.name.clone(), input.clone(), network.open(&runtime()).unwrap())
    }
    let pack = pack();
    let detectors = pack.detectors().iter().map(|n| open(n, &n.spec.input));
    let embedders = pack.embedders().iter().map(|n| open(n, &n.spec.input));
    let landmarks = std::iter::once(open(pack.landmarks(), &pack.landmarks().spec.input));
    detectors.chain(embedders).chain(landmarks).collect()
}

/// Noise from the generator that `conversion.json` describes.
fn noise(seed: u32, side: usize) -> Picture {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 24).unwrap()
    };
    Picture::new(side, side, (0..side * side * 3).map(|_| next()).collect()).unwrap()
}
