//! `visavis compare`: its output and its exit status.

use std::path::Path;
use std::process::{Command, Output};

use super::vision_support::{library, models, photo_path};

fn compare(a: &Path, b: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visavis"))
        .arg("compare")
        .args([a, b])
        .args(more)
        .env("VISAVIS_MODELS", models())
        .env("VISAVIS_ONNXRUNTIME", library())
        .output()
        .unwrap()
}

fn photos(a: &str, b: &str, more: &[&str]) -> Output {
    compare(&photo_path(a), &photo_path(b), more)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn two_photos_of_one_person_match() {
    let output = photos("obama.jpg", "obama2.jpg", &[]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
    assert!(printed.starts_with("Same person\n"), "{printed}");
    assert!(printed.contains("about 1 in 1,000 pairs of strangers would pass"), "{printed}");
}

#[test]
fn two_people_do_not_match() {
    let output = photos("obama.jpg", "biden.jpg", &["--mode", "fast"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("Different people\n"));
}

#[test]
fn a_stricter_threshold_changes_the_verdict() {
    let output = photos("obama.jpg", "obama2.jpg", &["--threshold", "0.999"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("outside the range for which a false match rate was measured"));
}

#[test]
fn json_names_score_threshold_models_and_faces() {
    let output = photos("obama.jpg", "two-faces.png", &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "no_match");
    assert_eq!(report["mode"], "ACCURATE");
    assert_eq!(report["calibration"], "default/accurate@2");
    assert_eq!(report["images"][1]["faces"].as_array().unwrap().len(), 2);
    assert_eq!(report["images"][1]["primary"], 0);
    let similarity = report["similarity"].as_f64().unwrap();
    assert!((0.0..report["threshold"].as_f64().unwrap()).contains(&similarity));
}

#[test]
fn a_photo_without_a_face_is_named_and_ends_with_its_own_status() {
    let output = photos("obama.jpg", "no-face.png", &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).starts_with("No usable face in no-face.png\n"));
    let report: serde_json::Value =
        serde_json::from_slice(&photos("no-face.png", "no-face.png", &["--json"]).stdout).unwrap();
    assert_eq!((&report["verdict"], &report["similarity"]), (&"no_face".into(), &serde_json::Value::Null));
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = photo_path("");
    for (path, words) in [
        (photo_path("not-an-image.jpg"), "is not a JPEG, PNG or WebP file"),
        (photo_path("missing.jpg"), "cannot read"),
        (folder, "is a folder; name an image file"),
    ] {
        let output = compare(&path, &photo_path("obama.jpg"), &[]);
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{printed}");
        assert!(printed.contains(words) && printed.contains(&path.display().to_string()), "{printed}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_wrong_command_line_and_a_fault_of_the_machine_have_their_own_statuses() {
    assert_eq!(photos("obama.jpg", "biden.jpg", &["--threshold", "7"]).status.code(), Some(2));
    let output = photos("obama.jpg", "biden.jpg", &["--models", "/nowhere"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("/nowhere/manifest.toml"));
    let output = photos("obama.jpg", "biden.jpg", &["--onnxruntime", "/nowhere/libonnxruntime.so"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("/nowhere/libonnxruntime.so"));
}

#[test]
fn the_picture_is_a_png_with_or_without_faces() {
    let folder = tempfile::tempdir().unwrap();
    for (b, status) in [("two-faces.png", 1), ("no-face.png", 3)] {
        let path = folder.path().join("sheet.png");
        let output = photos("obama.jpg", b, &["--picture", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        let sheet = image::open(&path).unwrap();
        assert_eq!(sheet.width(), 1160);
        std::fs::remove_file(path).unwrap();
    }
    let output = photos("obama.jpg", "biden.jpg", &["--picture", "/nowhere/sheet.png"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("/nowhere/sheet.png"));
}
