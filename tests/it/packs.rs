//! Optional packs as people use them: pulled, listed, named and refused. Where their files are available, real
//! comparisons use them, too.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::support::environment::model_mirror;
use super::vision_support::{library, models, photo_path};

/// A folder for packs that were pulled, and the models folder that describes them.
struct PackFolders {
    models: std::path::PathBuf,
    packs: TempDir,
}

impl PackFolders {
    fn new() -> Self {
        Self { models: models(), packs: tempfile::tempdir().unwrap() }
    }

    /// Folders with `packs` pulled from the mirror. `None` without a mirror; a line on standard error then says so.
    fn with(packs: &[&str]) -> Option<Self> {
        let Some(mirror) = model_mirror() else {
            eprintln!("not run: VISAVIS_MODEL_MIRROR names no folder with the files of {packs:?}");
            return None;
        };
        let folders = Self::new();
        for pack in packs {
            let pull = ["models", "pull", pack, "--accept-licence", "Apache-2.0", "--mirror", &mirror];
            succeeded(&folders.run(&pull));
        }
        Some(folders)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_visavis"))
            .args(arguments)
            .env("VISAVIS_MODELS", &self.models)
            .env("VISAVIS_PACKS", self.packs.path())
            .env("VISAVIS_ONNXRUNTIME", library())
            .env_remove("VISAVIS_USE_PACKS")
            .env_remove("VISAVIS_PROVIDER")
            .output()
            .unwrap()
    }

    fn compare(&self, a: &str, b: &str, more: &[&str]) -> Value {
        let (a, b) = (photo_path(a), photo_path(b));
        let arguments = [&["compare", "--json", a.to_str().unwrap(), b.to_str().unwrap()], more].concat();
        let output = self.run(&arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    }

    /// The error of `compare` when it does not start.
    fn refusal(&self, more: &[&str]) -> String {
        let photo = photo_path("obama.jpg");
        let photo = photo.to_str().unwrap();
        let output = self.run(&[&["compare", photo, photo], more].concat());
        assert_eq!(output.status.code(), Some(5), "{}", said(&output));
        said(&output)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The line of a table whose text has `word`.
fn line<'a>(table: &'a str, word: &str) -> &'a str {
    table.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word} is not in\n{table}"))
}

/// A models folder with links to the files and copies of the descriptions, which a test may change.
fn copied_models() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&models(), folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            std::fs::copy(&path, &target).unwrap();
        } else {
            std::os::unix::fs::symlink(&path, &target).unwrap();
        }
    }
}

#[test]
fn every_network_is_listed_with_its_licence_and_its_state() {
    let folders = PackFolders::new();
    let listed = succeeded(&folders.run(&["models", "list"]));
    for (network, words) in [
        ("blazeface_short@", ["default@1", "here", "detector", "Apache-2.0", "pypi mediapipe"]),
        ("dlib_resnet@", ["default@1", "here", "embedder", "CC0-1.0", "pypi face_recognition_models"]),
        ("yunet@1  ", ["yunet@1", "not pulled", "detector", "Apache-2.0", "https://github.com/ShiqiYu/"]),
        ("minifasnet_v2@", ["minifasnet@1", "not pulled", "liveness", "Apache-2.0", "https://github.com/"]),
    ] {
        let line = line(&listed, network);
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    std::fs::create_dir(folders.packs.path().join("yunet")).unwrap();
    assert!(line(&succeeded(&folders.run(&["models", "list"])), "yunet@1").contains("  pulled"));
}

#[test]
fn pulled_packs_are_verified_and_a_damaged_file_is_named() {
    let folders = PackFolders::new();
    let verified = succeeded(&folders.run(&["models", "verify"]));
    assert!(verified.contains("default@1 matches its description"), "{verified}");
    assert!(verified.contains("mobilefacenet@1 was not pulled"), "{verified}");
    let folder = folders.packs.path().join("mobilefacenet");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("MobileFaceNet.onnx"), "something else").unwrap();
    let output = folders.run(&["models", "verify"]);
    assert!(
        !output.status.success() && said(&output).contains("MobileFaceNet.onnx is not the file"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_named_pack_that_is_unknown_or_not_pulled_is_refused_with_what_to_run() {
    let folders = PackFolders::new();
    let unknown = folders.refusal(&["--use-packs", "yunet2"]);
    assert!(unknown.contains("there is no pack named yunet2: see `visavis models list`"), "{unknown}");
    let absent = folders.refusal(&["--use-packs", "mobilefacenet"]);
    assert!(absent.contains("run `visavis models pull mobilefacenet --accept-licence Apache-2.0`"), "{absent}");
}

#[test]
fn two_packs_for_one_part_are_refused() {
    let folder = copied_models();
    let description = std::fs::read_to_string(models().join("packs/yunet.toml")).unwrap();
    let other = description.replace("pack = \"yunet\"", "pack = \"other\"");
    std::fs::write(folder.path().join("packs/other.toml"), other).unwrap();
    let folders = PackFolders { models: folder.path().to_owned(), ..PackFolders::new() };
    for pack in ["yunet", "other"] {
        std::fs::create_dir(folders.packs.path().join(pack)).unwrap();
    }
    let refused = folders.refusal(&["--use-packs", "yunet,other"]);
    assert!(refused.contains("the packs other and yunet both bring detectors"), "{refused}");
}

#[test]
fn a_description_under_another_name_and_a_misspelt_part_are_refused() {
    let folder = copied_models();
    let folders = PackFolders { models: folder.path().to_owned(), ..PackFolders::new() };
    let description = std::fs::read_to_string(models().join("packs/yunet.toml")).unwrap();
    let packs = folder.path().join("packs");
    std::fs::write(packs.join("yunet3.toml"), &description).unwrap();
    let refused = said(&folders.run(&["models", "list"]));
    assert!(refused.contains("yunet3.toml: it describes yunet: name the file so"), "{refused}");
    let misspelt =
        description.replace("[detection]", "[detectoin]").replace("\"yunet\"\nversion", "\"yunet3\"\nversion");
    std::fs::write(packs.join("yunet3.toml"), misspelt).unwrap();
    let refused = said(&folders.run(&["models", "list"]));
    assert!(refused.contains("yunet3.toml does not have the form") && refused.contains("detectoin"), "{refused}");
}

#[test]
fn each_network_in_use_is_timed() {
    let timed = succeeded(&PackFolders::new().run(&["models", "bench", "--repeat", "2"]));
    for network in ["blazeface_short@", "blazeface_full_sparse@", "face_landmark@", "dlib_resnet@", "faceres@"] {
        let columns: Vec<_> = line(&timed, network).split_whitespace().collect();
        let [.., provider, median, p95] = columns[..] else { panic!("{columns:?}") };
        assert_eq!(provider, "cpu");
        assert!(median.parse::<f64>().unwrap() > 0.0 && p95.parse::<f64>().unwrap() > 0.0, "{columns:?}");
    }
}

#[test]
fn a_provider_that_is_named_is_used_or_refused_and_auto_says_what_it_cannot_use() {
    let folders = PackFolders::new();
    if !cfg!(feature = "cuda") {
        let refused = folders.refusal(&["--provider", "cuda"]);
        assert!(refused.contains("this binary was built without the provider cuda"), "{refused}");
        assert!(refused.contains("--features cuda"), "{refused}");
    }
    let unknown = said(&folders.run(&["models", "bench", "--provider", "gpu"]));
    assert!(unknown.contains("must be auto, or one of tensorrt, cuda"), "{unknown}");
    if !cfg!(any(feature = "openvino", feature = "cuda", feature = "tensorrt")) {
        let auto = folders.run(&["models", "bench", "--repeat", "1", "--provider", "auto"]);
        assert!(line(&succeeded(&auto), "dlib_resnet@").contains(" cpu "));
        let logged = String::from_utf8(auto.stdout).unwrap() + String::from_utf8(auto.stderr).unwrap().as_str();
        assert!(logged.contains("without the provider cuda"), "{logged}");
    }
}

#[test]
fn with_yunet_faces_are_found_and_scores_keep_their_meaning() {
    let Some(folders) = PackFolders::with(&["yunet"]) else { return };
    let default = folders.compare("obama.jpg", "obama2.jpg", &[]);
    assert_eq!(default["pack"], "default", "a pack that replaces something waits to be named");
    for (b, verdict) in [("obama2.jpg", "match"), ("biden.jpg", "no_match")] {
        let found = folders.compare("obama.jpg", b, &["--use-packs", "yunet"]);
        assert_eq!((&found["pack"], &found["verdict"]), (&"default+yunet".into(), &verdict.into()), "{found}");
        assert_eq!(found["calibration"], "default/accurate@2");
        let apart = found["similarity"].as_f64().unwrap()
            - folders.compare("obama.jpg", b, &[])["similarity"].as_f64().unwrap();
        assert!(apart.abs() < 0.05, "{b}: the similarity moves by {apart}");
    }
    let two = folders.compare("obama.jpg", "two-faces.png", &["--use-packs", "yunet"]);
    assert_eq!(two["images"][1]["faces"].as_array().unwrap().len(), 2);
}

#[test]
fn with_mobilefacenet_both_modes_compare_under_its_own_calibrations() {
    let Some(folders) = PackFolders::with(&["mobilefacenet", "yunet"]) else { return };
    for packs in ["mobilefacenet", "mobilefacenet,yunet"] {
        for mode in ["fast", "accurate"] {
            for (b, verdict) in [("obama2.jpg", "match"), ("biden.jpg", "no_match")] {
                let found = folders.compare("obama.jpg", b, &["--use-packs", packs, "--mode", mode]);
                assert_eq!(found["verdict"], verdict, "{found}");
                let calibration = found["calibration"].as_str().unwrap();
                assert!(calibration.starts_with(&format!("mobilefacenet/{mode}@")), "{calibration}");
                assert!(found["model"].as_str().unwrap().starts_with("mobilefacenet@1"), "{found}");
            }
        }
    }
}

#[test]
fn a_pulled_pack_is_measured_by_its_name_and_timed() {
    let Some(folders) = PackFolders::with(&["mobilefacenet", "minifasnet"]) else { return };
    let list = folders.packs.path().join("list.csv");
    let photo = |name: &str| photo_path(name).display().to_string();
    let pair = format!("a,b,same\n{},{},1\n", photo("obama.jpg"), photo("obama2.jpg"));
    std::fs::write(&list, pair).unwrap();
    let out = folders.packs.path().join("out");
    let arguments = ["eval", list.to_str().unwrap(), "--out", out.to_str().unwrap(), "--mode", "fast", "--pack"];
    succeeded(&folders.run(&[&arguments[..], &["mobilefacenet"]].concat()));
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["pack"], &report["model"]), (&"default+mobilefacenet".into(), &"mobilefacenet@1".into()));
    let timed = succeeded(&folders.run(&["models", "bench", "--repeat", "1", "--use-packs", "mobilefacenet"]));
    for network in ["mobilefacenet@1", "minifasnet_v2@1", "minifasnet_v1se@1", "dlib_resnet@"] {
        line(&timed, network);
    }
}
