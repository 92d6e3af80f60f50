//! The command line as newcomers meet it: from any folder, without settings, and for programs that read JSON.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::World;
use crate::vision_support::{library, models, photo_path};

const BINARY: &str = env!("CARGO_BIN_EXE_visavis");

/// The binary at `path`, without any setting, in the folder `from`.
fn bare(path: &Path, from: &Path, arguments: &[&str]) -> Output {
    Command::new(path).env_clear().current_dir(from).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn compare<'a>(a: &'a str, library: &'a str) -> [&'a str; 5] {
    ["compare", a, a, "--onnxruntime", library]
}

#[test]
fn a_binary_in_its_checkout_finds_its_models_from_any_folder() {
    let (elsewhere, photo) = (tempfile::tempdir().unwrap(), photo_path("obama.jpg"));
    let library = library();
    let arguments = compare(photo.to_str().unwrap(), library.to_str().unwrap());
    let output = bare(Path::new(BINARY), elsewhere.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = bare(Path::new(BINARY), elsewhere.path(), &["models", "list"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_binary_elsewhere_says_where_it_looked_and_finds_what_lies_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (photo, library) = (photo_path("obama.jpg"), library());
    let binary: PathBuf = folder.path().join("visavis");
    std::fs::copy(BINARY, &binary).unwrap();
    let arguments = compare(photo.to_str().unwrap(), library.to_str().unwrap());
    let output = bare(&binary, folder.path(), &arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    let beside = folder.path().canonicalize().unwrap().join("models/manifest.toml");
    for part in [beside.to_str().unwrap(), "/usr/share/visavis/models/manifest.toml", "VISAVIS_MODELS", "--models"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    std::os::unix::fs::symlink(models(), folder.path().join("models")).unwrap();
    let output = bare(&binary, Path::new("/"), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let without = bare(&binary, Path::new("/"), &arguments[..3]);
    let said = stderr(&without);
    // A machine may have ONNX Runtime among its libraries.
    if !without.status.success() {
        assert!(said.contains("libonnxruntime.so") && said.contains("VISAVIS_ONNXRUNTIME"), "{said}");
    }
    std::os::unix::fs::symlink(&library, folder.path().join("libonnxruntime.so")).unwrap();
    assert!(bare(&binary, Path::new("/"), &arguments[..3]).status.success());
}

#[test]
fn missing_settings_are_named_by_variable_and_flag() {
    let output = bare(Path::new(BINARY), Path::new("/"), &["serve", "all"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2));
    for part in ["DATABASE_URL", "--database-url", "AMQP_URL", "VISAVIS_KEY_PEPPER", "postgres://", "./dev up"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn the_version_names_the_commit() {
    let output = bare(Path::new(BINARY), Path::new("/"), &["--version"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let commit = said.trim().strip_suffix(')').and_then(|text| text.split_once(" (commit ")).map(|(_, commit)| commit);
    let commit = commit.unwrap_or_else(|| panic!("{said}"));
    assert!(commit == "unknown" || commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{said}");
}

#[tokio::test]
async fn commands_print_one_json_document_on_standard_output() {
    let world = World::without_broker().await;
    let run = async |arguments: &[&str]| -> Value {
        let output = world.run(&[arguments, &["--json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    let made = run(&["tenant", "create", "--organisation", "shop", "--amqp-user", "shop"]).await;
    assert!(made["key"].as_str().unwrap().contains(made["id"].as_str().unwrap()), "{made}");
    let of = |command: &'static [&'static str]| [command, &["--organisation", "shop"]].concat();
    let again = run(&["tenant", "create", "--organisation", "shop", "--amqp-user", "shop", "--if-missing"]).await;
    assert_eq!(again["key"], Value::Null);
    let set = run(&["tenant", "set", "--organisation", "shop", "retention_hours=2"]).await;
    assert_eq!((&set["name"], &set["retention_hours"]), (&json!("shop"), &json!(2)));
    assert_eq!(set, run(&of(&["tenant", "show"])).await);
    let listed = run(&["tenant", "list"]).await;
    assert!(listed["organisations"].as_array().unwrap().contains(&set), "{listed}");
    let keys = run(&of(&["tenant", "keys"])).await;
    assert_eq!((&keys["keys"][0]["id"], &keys["keys"][0]["environment"]), (&made["id"], &json!("live")));

    let add = ["reviewer", "add", "--login", "ada@example.com", "--name", "Ada L.", "--organisation", "shop"];
    let added = run(&add).await;
    assert!(added["password"].as_str().unwrap().len() >= 20, "{added}");
    let disabled = run(&["reviewer", "disable", "--login", "ada@example.com"]).await;
    assert_eq!(disabled, json!({ "login": "ada@example.com", "disabled": true }));
    let reviewers = run(&of(&["reviewer", "list"])).await;
    assert_eq!(
        (&reviewers["reviewers"][0]["name"], &reviewers["reviewers"][0]["disabled"]),
        (&json!("Ada L."), &json!(true))
    );

    let credited = run(&of(&["wallet", "credit", "--amount", "50", "--currency", "eur"])).await;
    assert_eq!(credited, json!({ "currency": "EUR", "balance": "50.00", "balance_minor": 5000 }));
    assert_eq!(run(&of(&["wallet", "show"])).await, credited);
    assert_eq!(run(&of(&["wallet", "statement"])).await["entries"][0]["amount"], "50.00");

    assert_eq!(run(&["identity", "count"]).await, json!({ "records": {} }));
    assert_eq!(run(&["dead-letters", "list"]).await, json!({ "dead_letters": [] }));
    let networks = run(&["models", "list"]).await;
    assert!(networks["networks"].as_array().unwrap().iter().any(|network| network["state"] == "not_pulled"));
    let verified = run(&["models", "verify"]).await;
    assert_eq!(verified["packs"][0], json!({ "pack": "default@1", "state": "verified" }));
}
