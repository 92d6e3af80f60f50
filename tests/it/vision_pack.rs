//! Packs that must be refused.

use std::path::Path;

use tempfile::TempDir;
use visavis::vision::{Pack, PackFault, Params, Pipeline, Runtime, RuntimeFault};

use super::vision_support::{library, models, pack, runtime};

/// Loads a copy of the pack in which `change` altered files. Unchanged networks are links.
fn altered(change: impl Fn(&Path)) -> (TempDir, Result<Pack, PackFault>) {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(models()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|e| e == "onnx") {
            std::os::unix::fs::symlink(entry.path().canonicalize().unwrap(), folder.path().join(entry.file_name()))
                .unwrap();
        }
    }
    std::fs::copy(models().join("manifest.toml"), folder.path().join("manifest.toml")).unwrap();
    std::fs::create_dir(folder.path().join("calibration")).unwrap();
    for mode in ["fast.toml", "accurate.toml"] {
        std::fs::copy(models().join("calibration").join(mode), folder.path().join("calibration").join(mode)).unwrap();
    }
    change(folder.path());
    let loaded = Pack::load(folder.path());
    (folder, loaded)
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is in {}", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

fn spoil(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let last = bytes.last_mut().unwrap();
    *last ^= 1;
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn an_unaltered_pack_loads() {
    let (_folder, loaded) = altered(|_| ());
    assert_eq!(loaded.unwrap().name(), "default");
}

#[test]
fn a_network_with_one_bit_changed_is_refused_by_file_and_both_hashes() {
    let (_folder, loaded) = altered(|pack| spoil(&pack.join("face_landmark.onnx")));
    let Err(PackFault::Hash { path, expected, found }) = loaded else { panic!("the hash is wrong") };
    assert!(path.ends_with("face_landmark.onnx"));
    assert!(expected.len() == 64 && found.len() == 64 && expected != found);
}

#[test]
fn a_changed_calibration_is_refused() {
    let (_folder, loaded) = altered(|pack| replace(&pack.join("calibration/fast.toml"), "0.6", "0.5"));
    assert!(matches!(loaded, Err(PackFault::Hash { path, .. }) if path.ends_with("calibration/fast.toml")));
}

#[test]
fn a_missing_file_is_named() {
    let (_folder, loaded) = altered(|pack| std::fs::remove_file(pack.join("dlib_resnet.onnx")).unwrap());
    assert!(matches!(loaded, Err(PackFault::Read { path, .. }) if path.ends_with("dlib_resnet.onnx")));
    assert!(
        matches!(Pack::load(Path::new("/nowhere")), Err(PackFault::Read { path, .. }) if path.ends_with("manifest.toml"))
    );
}

#[test]
fn a_manifest_that_names_an_unknown_model_or_task_is_refused() {
    let unknown = |from, to| altered(move |pack| replace(&pack.join("manifest.toml"), from, to)).1.err().unwrap();
    let fault = unknown("model = \"face_landmark\"", "model = \"faces\"");
    assert!(fault.to_string().ends_with("no model is named faces"), "{fault}");
    let fault = unknown("model = \"face_landmark\"", "model = \"faceres\"");
    assert!(fault.to_string().ends_with("faceres is a model for embedder, not landmarks"), "{fault}");
    let fault = unknown("layout = \"nchw\"", "layout = \"nhwc\"");
    assert!(fault.to_string().contains("nchw"), "{fault}");
    assert!(matches!(unknown("nms_iou", "iou"), PackFault::Parse { .. }));
    assert!(matches!(unknown("[detection]", "[cascade]"), PackFault::Parse { .. }));
}

#[test]
fn a_network_that_does_not_fit_its_task_is_refused_when_it_is_opened() {
    // The manifest is consistent and the hash is right, but the file is another network.
    let (_folder, loaded) = altered(|pack| {
        let manifest = pack.join("manifest.toml");
        replace(&manifest, "width = 150\nheight = 150", "width = 160\nheight = 160");
    });
    let fault = Pipeline::open(&loaded.unwrap(), &runtime(), Params::default()).err().unwrap();
    assert!(matches!(&fault, RuntimeFault::Interface { model, .. } if model == "dlib_resnet"), "{fault}");
    assert!(fault.to_string().contains("160, 160"), "{fault}");
}

#[test]
fn a_liveness_test_with_wrong_numbers_is_refused_and_the_number_named() {
    for (from, to, said) in [
        (
            "visavis_liveness_wide\", weight = 0.4",
            "visavis_liveness_wide\", weight = 0.3",
            "the weights of liveness.models must add up to 1, not to 0.900000",
        ),
        (
            "visavis_liveness_tight\", weight = 0.2",
            "visavis_liveness_tight\", weight = -0.2",
            "the weight of visavis_liveness_tight must be in",
        ),
        (
            "visavis_liveness_tight\", weight = 0.2",
            "visavis_liveness_tight\", weight = nan",
            "the weight of visavis_liveness_tight must be in",
        ),
        ("shift = -0.33", "shift = -23.0", "liveness.shift must be in [-10, 10], not -23"),
        ("spoof_below = 0.34", "spoof_below = 0.6", "liveness.spoof_below must be in [0, 0.5], not 0.6"),
        ("least_context = 2.0", "least_context = 0.2", "liveness.least_context must be in [1, 10], not 0.2"),
        ("scale = 2.7", "scale = 27.0", "scale of visavis_liveness_wide must be in [1, 10], not 27"),
        ("live = 1\n", "live = 3\n", "live of visavis_liveness_wide is no class of 3"),
        ("model = \"visavis_liveness_wide\"", "model = \"faceres\"", "faceres is a model for embedder, not liveness"),
        (
            "shift = -0.33",
            "fusion = { own = 0.5, default = 0.5 }\nshift = -0.33",
            "liveness.fusion needs a liveness test of the default pack",
        ),
    ] {
        let fault = altered(|pack| replace(&pack.join("manifest.toml"), from, to)).1.err().unwrap();
        assert!(matches!(&fault, PackFault::Inconsistent { .. }) && fault.to_string().contains(said), "{fault}");
    }
    for (from, to) in [("resize = \"area\"", "resize = \"cubic\""), ("spoof_below", "spoof_bellow")] {
        let fault = altered(|pack| replace(&pack.join("manifest.toml"), from, to)).1.err().unwrap();
        assert!(matches!(fault, PackFault::Parse { .. }), "{from}");
    }
}

/// The fault of opening the pack after `change` altered `blazeface_short.onnx`. The manifest has the new hash.
fn opened_with(change: impl Fn(&mut Vec<u8>)) -> RuntimeFault {
    let (_folder, loaded) = altered(|pack| {
        let file = pack.join("blazeface_short.onnx");
        let mut bytes = std::fs::read(&file).unwrap();
        let hash = |bytes: &[u8]| hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes));
        let before = hash(&bytes);
        change(&mut bytes);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &bytes).unwrap();
        replace(&pack.join("manifest.toml"), &before, &hash(&bytes));
    });
    Pipeline::open(&loaded.unwrap(), &runtime(), Params::default()).err().unwrap()
}

#[test]
fn a_network_with_an_unknown_opset_is_refused_with_advice() {
    // The file ends with its opset: field 8 with 4 bytes, an empty domain, and the version in the last byte.
    let fault = opened_with(|bytes| {
        assert!(bytes.ends_with(&[0x42, 4, 0x0a, 0, 0x10, 17]));
        *bytes.last_mut().unwrap() = 99;
    });
    let said = fault.to_string();
    assert!(said.contains("does not open model blazeface_short on cpu: its ONNX version is too new"), "{said}");
    assert!(said.contains("set VISAVIS_ONNXRUNTIME to a newer runtime"), "{said}");
    let cause = std::error::Error::source(&fault).unwrap().to_string();
    assert!(cause.contains("Opset 99"), "{cause}");
}

#[test]
fn a_file_that_is_no_network_is_refused_with_advice() {
    for other in [&b""[..], b"something else", &[0; 4096]] {
        let said = opened_with(|bytes| *bytes = other.to_vec()).to_string();
        assert!(said.contains("model blazeface_short on cpu: the file is not an ONNX model; restore it"), "{said}");
    }
    let said = opened_with(|bytes| bytes.truncate(bytes.len() / 2)).to_string();
    assert!(said.contains("the file is not an ONNX model"), "{said}");
}

#[test]
fn the_manifest_defines_the_modes() {
    let pack = pack();
    assert_eq!(pack.scorers().fast.model(), "dlib_resnet@1");
    assert_eq!(pack.scorers().accurate.model(), "dlib_resnet@1+faceres@3.3.6");
    assert_eq!(pack.scorers().fast.calibration.version(), "default/fast@2");
    for scorer in [&pack.scorers().fast, &pack.scorers().accurate] {
        for (similarity, fmr) in [(0.60, 1e-2), (0.75, 1e-3), (0.85, 1e-4)] {
            let threshold = scorer.calibration.threshold_at(fmr).unwrap();
            assert!((threshold.get() - similarity).abs() < 1e-9, "{} at {fmr}", scorer.calibration.version());
        }
    }
}

#[test]
fn a_process_has_one_runtime() {
    let runtime = runtime();
    assert_eq!(Runtime::load(&library()).unwrap().path(), runtime.path());
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("libonnxruntime.so");
    std::fs::write(&other, "not a library").unwrap();
    assert!(matches!(Runtime::load(&other), Err(RuntimeFault::SecondLibrary { .. })));
}
