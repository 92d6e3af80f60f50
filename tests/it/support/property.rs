//! How many cases a property test draws.

use proptest::test_runner::Config;

/// What proptest draws unless `PROPTEST_CASES` says otherwise.
const USUAL: u32 = 256;

/// For a property test of `file` with so many cases; `./dev explore` asks for more, in proportion.
pub fn property(cases: u32, file: &'static str) -> Config {
    let asked = Config::default().cases;
    let cases = u64::from(cases) * u64::from(asked) / u64::from(USUAL);
    Config { cases: u32::try_from(cases).unwrap_or(u32::MAX).max(1), source_file: Some(file), ..Config::default() }
}
