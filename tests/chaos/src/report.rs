//! What a run did and what the audit found, as a table.

use std::fmt::Write as _;

use crate::auditor::Check;

/// Violations of one promise that are shown.
const SHOWN: usize = 10;

/// The table: checks, how much was looked at, what was violated.
#[must_use]
pub fn table(checks: &[Check]) -> String {
    let mut text = format!("{:>9} {:>10}  {}\n", "COUNTED", "VIOLATIONS", "PROMISE");
    for check in checks {
        let _ = writeln!(text, "{:>9} {:>10}  {}", check.counted, check.violations.len(), check.name);
        for violation in check.violations.iter().take(SHOWN) {
            let _ = writeln!(text, "{:22}- {violation}", "");
        }
        if check.violations.len() > SHOWN {
            let _ = writeln!(text, "{:22}- and {} more", "", check.violations.len() - SHOWN);
        }
    }
    text
}

/// Violations of promises that mean a loss, and of those that mean that something took effect twice.
#[must_use]
pub fn lost_and_doubled(checks: &[Check]) -> (usize, usize) {
    let sum = |names: &[&str]| {
        let named = checks.iter().filter(|check| names.iter().any(|name| check.name.starts_with(name)));
        named.map(|check| check.violations.len()).sum()
    };
    let lost = [
        "what was accepted is there",
        "every job has ended",
        "every due webhook was delivered",
        "a message gets its acceptance",
        "the results exchange and the streams show",
    ];
    (sum(&lost), sum(&["a submission makes one job", "nothing takes effect twice"]))
}
