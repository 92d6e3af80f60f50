//! Compares the liveness networks with the Python reference on the test photos (`models/golden/liveness.json`): alone,
//! and with the pack `minifasnet` if its files are installed.

use std::collections::BTreeMap;
use std::path::Path;

use image::{DynamicImage, ImageFormat};
use serde::Deserialize;
use visavis::domain::evidence::{Judgement, Liveness, Mode};
use visavis::vision::decode::{DecodeParams, decode};
use visavis::vision::geometry::Rect;
use visavis::vision::pack::registry::PackRegistry;
use visavis::vision::picture::Picture;
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::{Pack, Pass, Pipeline};

use super::support::environment::model_mirror;
use super::support::photos::encode;
use super::vision_support::{models, pack, photo, pipeline, runtime};

/// The golden numbers are rounded, and sums have another order. Measured: 1.3e-5.
const LOGIT: f64 = 1e-3;
/// The mean difference between our chip and the reference's, in levels of 255: one pixel in a hundred differs by one
/// level.
const CHIP_LEVELS: f64 = 0.01;

/// The default pack's networks.
const OURS: &str =
    "visavis_liveness_wide@1+visavis_liveness_tight@1+visavis_liveness_wide_large@1+visavis_liveness_tight_large@1";

#[derive(Deserialize)]
struct Golden {
    tight_box: [f64; 4],
    networks: BTreeMap<String, GoldenNetwork>,
    live: f64,
}

#[derive(Deserialize)]
struct GoldenNetwork {
    logits: [f64; 3],
}

fn golden() -> BTreeMap<String, Golden> {
    serde_json::from_slice(&std::fs::read(models().join("golden/liveness.json")).unwrap()).unwrap()
}

fn picture(file: &[u8]) -> Picture {
    decode(file, &DecodeParams::default()).unwrap()
}

fn rect([left, top, right, bottom]: [f64; 4]) -> Rect {
    Rect { left, top, right, bottom }
}

/// The result of the product, with its own faces and boxes.
fn tested(pipeline: &mut Pipeline, file: &[u8]) -> Liveness {
    let analysis = pipeline.analyse(file, Mode::Fast, &mut Pass::default()).unwrap();
    let face = analysis.primary_face().unwrap();
    pipeline.liveness(file, face, &mut Pass::default()).unwrap().unwrap()
}

/// The window that a network sees: `wide` or `tight`.
fn window(network: &str) -> &str {
    network.split('_').nth(2).unwrap()
}

fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A registry in which `minifasnet` was pulled, if its files are installed.
fn registry(models: &Path, pulled: &Path) -> Option<PackRegistry> {
    let Some(mirror) = model_mirror() else {
        eprintln!("not run: VISAVIS_MODEL_MIRROR names no folder with the files of the pack minifasnet");
        return None;
    };
    let folder = pulled.join("minifasnet");
    std::fs::create_dir(&folder).unwrap();
    for file in ["2.7_80x80_MiniFASNetV2.onnx", "4_0_0_80x80_MiniFASNetV1SE.onnx"] {
        std::os::unix::fs::symlink(Path::new(&mirror).join(file), folder.join(file)).unwrap();
    }
    Some(PackRegistry::new(models, pulled))
}

/// The default pack with `minifasnet`, if its files are installed.
fn fused() -> Option<Pack> {
    let pulled = tempfile::tempdir().unwrap();
    registry(&models(), pulled.path()).map(|registry| registry.load(&[]).unwrap())
}

#[test]
fn the_networks_give_the_logits_of_the_reference_for_the_same_chip() {
    let (pack, golden) = (pack(), golden());
    for network in pack.liveness().unwrap().networks() {
        let name = network.onnx.name.as_str();
        let chip = std::fs::read(models().join(format!("golden/astronaut_liveness_{}128.png", window(name)))).unwrap();
        let mut model = network.open(&runtime()).unwrap();
        let mut outputs = network.spec.input.run(model.as_mut(), &picture(&chip)).unwrap();
        let logits = outputs.take(name, "logits", 3).unwrap();
        for (found, expected) in logits.iter().zip(golden["astronaut.png"].networks[name].logits) {
            assert!((f64::from(*found) - expected).abs() < LOGIT, "{name}: {found}, {expected}");
        }
    }
}

#[test]
fn chips_are_cut_and_averaged_as_in_the_reference() {
    let (pack, golden) = (pack(), golden());
    let astronaut = picture(&photo("astronaut.png"));
    for network in pack.liveness().unwrap().networks() {
        let name = window(&network.onnx.name);
        let expected = std::fs::read(models().join(format!("golden/astronaut_liveness_{name}128.png"))).unwrap();
        let (found, expected) =
            (network.spec.chip(&astronaut, rect(golden["astronaut.png"].tight_box)), picture(&expected));
        let pairs = found.pixels().iter().zip(expected.pixels());
        let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(sum) / f64::from(128 * 128 * 3);
        assert!(mean <= CHIP_LEVELS, "{name}: {mean} levels apart");
    }
}

#[test]
fn photos_get_the_probabilities_of_the_reference_and_the_score_of_the_manifest() {
    let mut pipeline = pipeline();
    let mut tester = pack().liveness().unwrap().open(&runtime()).unwrap();
    for (name, golden) in golden() {
        let file = photo(&name);
        // JPEG decoders differ by a few levels. For lossless photos only the last digits of sums differ.
        let tolerance = if name == "obama.jpg" { 0.01 } else { 1e-3 };
        let probability = tester.probabilities(&picture(&file), rect(golden.tight_box)).unwrap();
        assert!((probability[0] - golden.live).abs() < tolerance, "{name}: {probability:?}, {}", golden.live);
        let found = tested(&mut pipeline, &file);
        let score = sigmoid(logit(golden.live) - 0.33);
        assert!((found.score.get() - score).abs() < 0.02, "{name}: {:?}, {score}", found.score);
        assert_eq!(found.judgement, Judgement::Live, "{name}");
        assert_eq!(found.model, OURS);
        assert!(found.context >= Some(2.0), "{name}: {:?}", found.context);
    }
}

#[test]
fn a_real_photo_that_was_cropped_to_the_face_is_not_judged() {
    let mut pipeline = pipeline();
    let whole = tested(&mut pipeline, &photo("obama.jpg"));
    let [left, top, right, bottom] = golden()["obama.jpg"].tight_box;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels within a photo")]
    let crop = |share: f64| {
        let (width, height) = ((right - left) * share, (bottom - top) * share);
        let (x, y) = (left.midpoint(right) - width / 2.0, top.midpoint(bottom) - height / 2.0);
        let photo = image::load_from_memory(&photo("obama.jpg")).unwrap();
        photo.crop_imm(x.max(0.0) as u32, y.max(0.0) as u32, width as u32, height as u32)
    };
    let close = tested(&mut pipeline, &encode(&DynamicImage::from(crop(1.5).to_rgb8()), ImageFormat::Png));
    assert_eq!((whole.judgement, close.judgement), (Judgement::Live, Judgement::Uncertain));
    assert!(close.score.get() < 0.5, "{close:?}");
    let (context, wanted) = close.lacking_context().unwrap();
    assert!(
        whole.lacking_context().is_none() && (1.2..1.8).contains(&context) && wanted.to_string() == "2",
        "{close:?}"
    );
}

#[test]
fn with_minifasnet_both_tests_make_one_score() {
    let Some(pack) = fused() else { return };
    let liveness = pack.liveness().unwrap();
    assert_eq!(liveness.name(), format!("{OURS}+minifasnet_v2@1+minifasnet_v1se@1"));
    let mut tester = liveness.open(&runtime()).unwrap();
    for (name, golden) in golden() {
        let (picture, tight) = (picture(&photo(&name)), rect(golden.tight_box));
        let [ours, theirs] = tester.probabilities(&picture, tight).unwrap()[..] else { panic!("two tests") };
        assert!((ours - golden.live).abs() < 0.01, "{name}");
        let found = tester.test_box(&picture, tight).unwrap();
        let clamped = theirs.clamp(1e-6, 1.0 - 1e-6);
        let score = sigmoid(0.5 * logit(ours) + 0.5 * logit(clamped) - 1.5);
        assert!((found.raw_score.unwrap() - score).abs() < 1e-9, "{name}: {found:?}, {score}");
    }
}

#[test]
fn a_named_liveness_test_that_is_not_fused_replaces_the_default_one() {
    let (folder, pulled) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(registry) = registry(folder.path(), pulled.path()) else { return };
    for entry in std::fs::read_dir(models()).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "packs") {
        std::os::unix::fs::symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let description = std::fs::read_to_string(models().join("packs/minifasnet.toml")).unwrap();
    let alone = description.replace("fusion = { own = 0.5, default = 0.5 }\n", "");
    assert_ne!(alone, description);
    std::fs::create_dir(folder.path().join("packs")).unwrap();
    std::fs::write(folder.path().join("packs/minifasnet.toml"), alone).unwrap();
    for (named, pack, model) in [
        (&[][..], "default", OURS),
        (&["minifasnet".to_owned()], "default+minifasnet", "minifasnet_v2@1+minifasnet_v1se@1"),
    ] {
        let loaded = registry.load(named).unwrap();
        assert_eq!((loaded.name(), loaded.liveness().unwrap().name()), (pack, model));
    }
}

#[derive(Deserialize)]
struct Reference {
    image: String,
    box_xywh: [f64; 4],
    live: f64,
}

#[test]
fn minifasnet_gives_the_results_of_its_own_implementation() {
    let Some(pack) = fused() else { return };
    // The photos are from LFW, which we may not redistribute. If they are installed, they lie beside the mirror.
    let folder = Path::new(&model_mirror().unwrap()).join("../eval");
    let Ok(text) = std::fs::read_to_string(folder.join("reference_liveness.jsonl")) else {
        eprintln!("not run: beside the mirror there is no eval/reference_liveness.jsonl");
        return;
    };
    let mut tester = pack.liveness().unwrap().open(&runtime()).unwrap();
    let mut apart = Vec::new();
    for line in text.lines() {
        let Reference { image, box_xywh: [x, y, width, height], live } = serde_json::from_str(line).unwrap();
        let picture = picture(&std::fs::read(folder.join(image)).unwrap());
        let found = tester.probabilities(&picture, rect([x, y, x + width, y + height])).unwrap();
        apart.push((found[1] - live).abs());
    }
    apart.sort_by(f64::total_cmp);
    let at = |share: usize| apart[(apart.len() - 1) * share / 100];
    println!("apart by {:.1e} (median), {:.1e} (95 %), {:.1e} (all)", at(50), at(95), at(100));
    // The remaining difference comes from the JPEG decoder. models/packs/README.md has figures for PNGs of the same
    // pixels.
    assert!(at(50) < 2e-3 && at(95) < 3e-2 && at(100) < 6e-2, "{} {} {}", at(50), at(95), at(100));
}
