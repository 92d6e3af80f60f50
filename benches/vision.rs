//! Times each stage on one thread: `cargo bench --bench vision`. Like the tests, it needs the models and the ONNX
//! Runtime.

#![expect(clippy::expect_used, reason = "a benchmark without its files cannot run")]

use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use image::imageops;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use visavis::domain::evidence::Mode;
use visavis::vision::decode::{DecodeParams, decode, decode_reduced};
use visavis::vision::detect::Detector;
use visavis::vision::detect::detection::Detection;
use visavis::vision::embed::Embedder;
use visavis::vision::landmarks::Landmarker;
use visavis::vision::picture::Picture;
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::resample::shrink;
use visavis::vision::view::View;
use visavis::vision::{Pack, Params, Pass, Pipeline, Runtime};

const PHOTOS: [&str; 3] = ["astronaut.png", "obama.jpg", "biden.jpg"];

fn main() {
    divan::main();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(photo: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/photos").join(photo)).expect("the test photos lie in the repository")
}

fn picture(photo: &str) -> Picture {
    decode(&file(photo), &DecodeParams::default()).expect("the test photos are sound")
}

fn pack() -> Pack {
    Pack::load(&root().join("models")).expect("the default pack lies in the repository")
}

fn runtime() -> Runtime {
    let named = std::env::var_os("VISAVIS_ONNXRUNTIME").map(PathBuf::from);
    let library = named.unwrap_or_else(|| root().join(".local/lib/libonnxruntime.so"));
    Runtime::load(&library).expect("libonnxruntime is installed")
}

fn detector(which: usize) -> Detector {
    let pack = pack();
    let network = &pack.detectors()[which];
    Detector::new(network.open(&runtime()).expect("the network opens"), network.spec.clone())
}

fn landmarker() -> Landmarker {
    let pack = pack();
    Landmarker::new(pack.landmarks().open(&runtime()).expect("the network opens"), pack.landmarks().spec.clone())
}

fn face(picture: &Picture) -> Detection {
    detector(0).detect(picture).expect("detection runs").remove(0)
}

#[divan::bench(args = PHOTOS)]
fn stage_1_decode(bencher: Bencher, photo: &str) {
    let file = file(photo);
    bencher.bench(|| decode(&file, &DecodeParams::default()));
}

const IN_FULL: &str = "in full";
const AS_NEEDED: &str = "as far as needed";

/// Items are pixels of the file, so their rates show how much faster one way is. A file of one megapixel is decoded in
/// full either way.
#[divan::bench(args = [IN_FULL, AS_NEEDED], consts = [1, 5, 12])]
fn stage_1_decode_of_megapixels<const MEGAPIXELS: u32>(bencher: Bencher, how: &str) {
    let (file, limits) = (camera_photo(MEGAPIXELS), DecodeParams::default());
    let first_side = if how == IN_FULL { u32::MAX } else { Params::default().first_side };
    bencher.counter(ItemsCount::new(MEGAPIXELS * 1_000_000)).bench(|| decode_reduced(&file, &limits, first_side));
}

/// A test photo of so many megapixels, at an aspect of 3 to 4, as a camera writes it. The noise matters: without it, an
/// enlarged photo would be smoother than that of a sensor, have half the size, and take less time to decode.
fn camera_photo(megapixels: u32) -> Vec<u8> {
    let photo = image::load_from_memory(&file("obama.jpg")).expect("the test photos are sound").into_rgb8();
    let unit = (megapixels * 1_000_000 / 12).isqrt();
    let (width, height) = (3 * unit, 4 * unit);
    let mut photo = imageops::resize(&photo, width, height, imageops::FilterType::CatmullRom);
    let mut state = 1_u32;
    let mut noise = || {
        // Marsaglia's xorshift. The sum of its bytes is about normal, and has a deviation of 5 levels after the
        // division.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let sum: i32 = state.to_le_bytes().iter().map(|byte| i32::from(*byte)).sum();
        (sum - 510) / 30
    };
    for pixel in photo.pixels_mut() {
        let grain = noise();
        pixel.0 = pixel.0.map(|value| u8::try_from((i32::from(value) + grain).clamp(0, 255)).unwrap_or(0));
    }
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 90);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let side = |pixels: u32| u16::try_from(pixels).expect("a side of a photo");
    encoder.encode(photo.as_raw(), side(width), side(height), ColorType::Rgb).expect("the photo is a picture");
    file
}

#[divan::bench(args = PHOTOS)]
fn stage_2_detect_short_range(bencher: Bencher, photo: &str) {
    let picture = picture(photo);
    let mut detector = detector(0);
    bencher.bench_local(|| detector.detect(&picture));
}

#[divan::bench]
fn stage_2_detect_full_range(bencher: Bencher) {
    let (picture, mut detector) = (picture("small-face.png"), detector(1));
    bencher.bench_local(|| detector.detect(&picture));
}

#[divan::bench(args = PHOTOS)]
fn stage_3_landmarks(bencher: Bencher, photo: &str) {
    let picture = picture(photo);
    let mut landmarker = landmarker();
    let face = face(&picture);
    let picture = View::from(picture);
    bencher.bench_local(|| landmarker.measure(&picture, &face));
}

#[divan::bench(args = PHOTOS, consts = [0, 1])]
fn stage_4_align<const EMBEDDER: usize>(bencher: Bencher, photo: &str) {
    let (picture, pack) = (picture(photo), pack());
    let mut landmarker = landmarker();
    let face = face(&picture);
    let picture = View::from(picture);
    let mesh = landmarker.measure(&picture, &face).expect("landmarks run").mesh;
    let five_points = landmarker.spec().five_points(&mesh);
    bencher.bench(|| pack.embedders()[EMBEDDER].spec.align(&picture, &five_points));
}

#[divan::bench(consts = [0, 1])]
fn stage_5_embed<const EMBEDDER: usize>(bencher: Bencher) {
    let pack = pack();
    let network = &pack.embedders()[EMBEDDER];
    let mut embedder = Embedder::new(network.open(&runtime()).expect("the network opens"), network.spec.clone());
    let side = network.spec.input.side;
    let chip = shrink(&picture("astronaut.png"), side, side);
    bencher.bench_local(|| embedder.embed(&chip));
}

/// The crops and networks, without decoding the probe again.
#[divan::bench(args = PHOTOS)]
fn stage_6_liveness(bencher: Bencher, photo: &str) {
    let (picture, pack) = (picture(photo), pack());
    let mut pipeline = Pipeline::open(&pack, &runtime(), Params::default()).expect("the pack opens");
    let analysis = pipeline.analyse(&file(photo), Mode::Fast, &mut Pass::default()).expect("the test photos are sound");
    let face = analysis.primary_face().expect("the test photos show faces");
    let mut tester = pack.liveness().expect("the default pack tests it").open(&runtime()).expect("the networks open");
    let picture = View::from(picture);
    bencher.bench_local(|| tester.test(&picture, face));
}

#[divan::bench(args = PHOTOS)]
fn whole_fast(bencher: Bencher, photo: &str) {
    whole(bencher, photo, Mode::Fast);
}

#[divan::bench(args = PHOTOS)]
fn whole_accurate(bencher: Bencher, photo: &str) {
    whole(bencher, photo, Mode::Accurate);
}

fn whole(bencher: Bencher, photo: &str, mode: Mode) {
    let mut pipeline = Pipeline::open(&pack(), &runtime(), Params::default()).expect("the pack opens");
    let file = file(photo);
    bencher.bench_local(|| pipeline.analyse(&file, mode, &mut Pass::default()));
}

/// Resizing a phone's photo for the detector.
#[divan::bench]
fn shrink_12_megapixels_to_128(bencher: Bencher) {
    let mut photo = Picture::black(4000, 3000);
    for (i, value) in photo.pixels_mut().iter_mut().enumerate() {
        *value = u8::try_from(i % 251).unwrap_or(0);
    }
    bencher.bench(|| shrink(&photo, 128, 96));
}
