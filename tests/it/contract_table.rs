//! `docs/contracts.md` names the tests of each promise: each is there.

use std::collections::BTreeSet;
use std::path::Path;

/// The names of the tests in a file: functions below a test attribute.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        match function.and_then(|rest| rest.split('(').next()) {
            Some(name) if std::mem::take(&mut is_test) => drop(tests.insert(name)),
            _ => is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test"),
        }
    }
    tests
}

#[test]
fn every_row_of_the_contracts_names_a_test_that_exists_and_no_contract_test_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/contracts.md")).unwrap();
    let mut named = BTreeSet::new();
    let mut faults = Vec::new();
    // An entry begins with a dash, and its tests follow in backticks: file::name, or path/of/source::name. What is not
    // promised stands under the last heading.
    let (promises, _) = table.split_once("\n## Not in this version").unwrap();
    for entry in promises.split("\n- ").skip(1) {
        let entry = entry.split("\n\n").next().unwrap();
        let tests: Vec<_> = entry.split('`').skip(1).step_by(2).filter_map(|code| code.rsplit_once("::")).collect();
        if tests.is_empty() {
            faults.push(format!("no test: {entry}"));
        }
        for (file, test) in tests {
            let path = if file.contains('/') { format!("{file}.rs") } else { format!("tests/it/{file}.rs") };
            let text = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
            if !tests_of(&text).contains(test) {
                faults.push(format!("{path} has no test {test}"));
            }
            named.insert((path, test.to_owned()));
        }
    }
    assert!(named.len() > 30, "the table is read: {named:?}");
    for entry in std::fs::read_dir(root.join("tests/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("contract_") || name == "contract_table.rs" {
            continue;
        }
        let text = std::fs::read_to_string(root.join("tests/it").join(&name)).unwrap();
        for test in tests_of(&text) {
            if !named.contains(&(format!("tests/it/{name}"), test.to_owned())) {
                faults.push(format!("no entry names {name}: {test}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
