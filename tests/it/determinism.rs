//! Property tests draw the same cases on every run. `.cargo/config.toml` fixes the seed, `proptest-regressions/` stores
//! the failures that were found before, and `./dev explore` draws new cases.

use proptest::test_runner::{Config, RngSeed};

use crate::architecture::sources::{files_below, root};

#[test]
fn property_tests_draw_the_cases_of_a_fixed_seed() {
    let seed = Config::default().rng_seed;
    assert!(matches!(seed, RngSeed::Fixed(_)), "PROPTEST_RNG_SEED is not set: run the tests by cargo, in the checkout");
}

#[test]
fn no_property_test_has_a_seed_or_a_number_of_cases_of_its_own() {
    let mut faults = Vec::new();
    let folders = ["src", "crates", "tests", "benches"].map(|folder| root().join(folder));
    for path in folders.iter().flat_map(|folder| files_below(folder, "rs")) {
        if path.ends_with(file!()) || path.ends_with("support/property.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if let Some(fault) = fault_of(line) {
                faults.push(format!("{}:{}: {fault}", path.strip_prefix(root()).unwrap().display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What a line does that would make its test differ from run to run, or keep `./dev explore` from drawing more cases.
fn fault_of(line: &str) -> Option<&'static str> {
    let has = |word: &str| line.contains(word);
    if has("RngSeed") || has("rng_seed") || has("TestRng") || has("new_with_rng") {
        return Some("the seed is that of .cargo/config.toml");
    }
    if has("TestRunner::default") || has("TestRunner::deterministic") {
        return Some("write TestRunner::new(property(...))");
    }
    if (has("TestRunner::new(") || has("proptest_config(")) && !has("property(") {
        return Some("take the configuration from support::property");
    }
    None
}

#[test]
fn an_unseeded_property_test_is_noticed() {
    let bad = [
        "let config = Config { rng_seed: RngSeed::Random, ..Config::default() };",
        "let mut runner = TestRunner::default();",
        "TestRunner::new(Config::with_cases(3)).run(&walk(), |steps| {",
        "    #![proptest_config(ProptestConfig::with_cases(512))]",
    ];
    assert!(bad.iter().all(|line| fault_of(line).is_some()));
    let good = ["    #![proptest_config(property(512, file!()))]", "TestRunner::new(property(250, file!())).run("];
    assert!(good.iter().all(|line| fault_of(line).is_none()));
}
