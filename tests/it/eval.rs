//! `visavis eval` as people run it, on the sample photos.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::vision_support::{library, models, models_without_liveness, photo_path};

/// Two photos of one person, two of other people, one without a face and one that is no image.
const PEOPLE: &str = "image,identity,group
obama.jpg,obama,a
obama2.jpg,obama,a
biden.jpg,biden,b
astronaut.png,collins,b
no-face.png,nobody,b
not-an-image.jpg,nobody,b
";

fn folder(list: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png", "no-face.png", "not-an-image.jpg"] {
        std::fs::copy(photo_path(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("list.csv"), list).unwrap();
    folder
}

fn eval(folder: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visavis"))
        .arg("eval")
        .arg(folder.join("list.csv"))
        .arg("--out")
        .arg(folder.join("out"))
        .args(more)
        .env("VISAVIS_MODELS", models())
        .env("VISAVIS_PACKS", folder.join("packs"))
        .env("VISAVIS_ONNXRUNTIME", library())
        .output()
        .unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("out/report.json")).unwrap()).unwrap()
}

#[test]
fn all_pairs_of_an_identity_list_are_counted_and_pictures_without_a_face_are_named() {
    let folder = folder(PEOPLE);
    let printed = succeeded(&eval(folder.path(), &["--mode", "FAST"]));
    assert!(printed.contains("1 genuine, 5 impostor"), "{printed}");
    assert!(printed.contains("too few pairs to say") && printed.contains("0.00 %  [0.00, 79."), "{printed}");
    let report = report(folder.path());
    assert_eq!(report["mode"], "FAST");
    assert_eq!((&report["genuine"], &report["impostor"], &report["skipped"]), (&1.into(), &5.into(), &9.into()));
    assert_eq!(report["failure_to_acquire"].as_f64().unwrap().to_string(), "0.3333333333333333");
    assert_eq!(report["failures"][0]["image"], "no-face.png");
    assert_eq!(report["failures"][0]["fault"], Value::Null);
    assert!(report["failures"][1]["fault"].as_str().unwrap().contains("JPEG"), "{}", report["failures"][1]);
    assert_eq!((&report["eer"], &report["too_few"]), (&0.0.into(), &true.into()));
    assert!(report["eer_interval"]["high"].as_f64().unwrap() > 0.79, "{}", report["eer_interval"]);
    let json: Value = serde_json::from_str(&succeeded(&eval(folder.path(), &["--mode", "FAST", "--json"]))).unwrap();
    assert_eq!(json, report);
    // Five impostor pairs cannot show one in a hundred.
    assert_eq!(report["tar_at_fmr"]["1e-2"], Value::Null);
    assert_eq!(
        (&report["worst_genuine"][0]["a"], &report["worst_genuine"][0]["b"]),
        (&"obama.jpg".into(), &"obama2.jpg".into())
    );
    let html = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("no-face.png") && html.contains("Too few pairs to say"));
    assert!(!folder.path().join("out/templates.jsonl").exists(), "the templates were not removed");
}

#[test]
fn an_interrupted_run_continues_and_one_under_other_conditions_starts_again() {
    let folder = folder(PEOPLE);
    let journal = folder.path().join("out/templates.jsonl");
    succeeded(&eval(folder.path(), &["--mode", "FAST", "--keep-templates"]));
    assert_eq!(std::fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = std::fs::read_to_string(&journal).unwrap();
    // The notes of the first three pictures, and half of the fourth one.
    let kept: usize = whole.lines().take(4).map(|line| line.len() + 1).sum();
    let cut = &whole[..kept + 40];
    std::fs::write(&journal, cut).unwrap();
    let first = report(folder.path());
    succeeded(&eval(folder.path(), &["--mode", "FAST", "--keep-templates"]));
    let again = std::fs::read_to_string(&journal).unwrap();
    assert!(again.starts_with(cut), "finished pictures are kept");
    let added = again[cut.len()..].lines().filter(|line| line.starts_with("{\"image\"")).count();
    assert_eq!(added, 3, "only the missing pictures are analysed");
    assert_eq!(report(folder.path()), first);
    succeeded(&eval(folder.path(), &["--mode", "ACCURATE", "--keep-templates"]));
    assert_ne!(again.lines().next(), std::fs::read_to_string(&journal).unwrap().lines().next());
}

#[test]
fn listed_pairs_are_compared_and_a_calibration_needs_more_of_them() {
    let folder = folder("a,b,same\nobama.jpg,obama2.jpg,1\nobama.jpg,biden.jpg,0\n");
    let calibration = folder.path().join("fitted.toml");
    let output = eval(folder.path(), &["--mode", "FAST", "--fit", calibration.to_str().unwrap()]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("1 impostor pairs are too few: at least 100000 are needed"), "{said}");
    assert!(!calibration.exists());
    let report = report(folder.path());
    assert_eq!((&report["genuine"], &report["impostor"]), (&1.into(), &1.into()));
}

#[test]
fn a_malformed_list_is_refused_with_the_line() {
    let folder = folder("a,b,same\nobama.jpg,obama2.jpg,perhaps\n");
    let output = eval(folder.path(), &[]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("list.csv, line 2: same must be 1 or 0, not \"perhaps\""), "{said}");
}

#[test]
fn liveness_is_measured_with_the_models_in_use_and_refused_without_a_liveness_test() {
    let folder = folder("file,label\nobama2.jpg,bona_fide\nbiden.jpg,bona_fide\nno-face.png,print\n");
    let labels = folder.path().join("list.csv");
    let run_with = |models: &Path, arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_visavis"))
            .args(arguments)
            .env("VISAVIS_MODELS", models)
            .env("VISAVIS_PACKS", folder.path().join("packs"))
            .env("VISAVIS_ONNXRUNTIME", library())
            .output()
            .unwrap()
    };
    let run = |arguments: &[&str]| run_with(&models(), arguments);
    let out = folder.path().join("out");
    let eval = ["eval", "--liveness", labels.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let without = run_with(models_without_liveness().path(), &eval);
    assert!(!without.status.success());
    let said = String::from_utf8(without.stderr).unwrap();
    assert!(said.contains("the models in use have no liveness test"), "{said}");
    let measured = |model: &str| {
        let printed = succeeded(&run(&eval));
        assert!(printed.contains("BPCER"), "{printed}");
        let report = report(folder.path());
        assert_eq!((&report["model"], &report["bona_fide"]), (&model.into(), &2.into()));
        assert_eq!(report["failures"], serde_json::json!(["no-face.png"]));
        assert!(report["bpcer"].is_number() && report["auc"].is_null());
        assert_eq!(report["in_context"]["bona_fide"], 2, "both show their surroundings");
    };
    let ours =
        "visavis_liveness_wide@1+visavis_liveness_tight@1+visavis_liveness_wide_large@1+visavis_liveness_tight_large@1";
    measured(ours);
    let Some(mirror) = crate::support::environment::model_mirror() else {
        eprintln!("not run: VISAVIS_MODEL_MIRROR names no folder with the files of the pack minifasnet");
        return;
    };
    succeeded(&run(&["models", "pull", "minifasnet", "--accept-licence", "Apache-2.0", "--mirror", &mirror]));
    measured(&format!("{ours}+minifasnet_v2@1+minifasnet_v1se@1"));
}
