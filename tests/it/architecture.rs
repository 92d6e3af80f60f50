//! The house rules that a compiler does not check: who may import whom, and who alone may name which crate.

use std::collections::BTreeSet;

use sources::{Source, is_crate, root, sources};

mod circles;
mod code;
pub mod sources;
mod words;

/// Every room, and the rooms it may import. The same table stands in ARCHITECTURE.md.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("lifecycle", &[]),
    ("telemetry", &[]),
    ("net", &[]),
    ("commit", &[]),
    ("video", &["domain"]),
    ("vision", &["domain"]),
    ("keys", &["domain"]),
    ("media", &["domain", "keys"]),
    ("store", &["domain"]),
    ("queue", &["domain", "lifecycle"]),
    ("docs", &["domain", "queue"]),
    ("eval", &["domain", "vision"]),
    ("identity", &["domain", "keys", "media", "net", "store"]),
    ("jobs", &["domain", "identity", "video", "vision"]),
    ("images", &["domain", "keys", "media", "store", "vision"]),
    ("webhooks", &["domain", "keys", "lifecycle", "net", "store"]),
    ("janitor", &["domain", "images", "lifecycle", "media", "store"]),
    ("intake", &["domain", "keys", "lifecycle", "media", "queue", "store", "vision"]),
    ("relay", &["domain", "lifecycle", "queue", "store"]),
    ("worker", &["domain", "identity", "jobs", "keys", "lifecycle", "media", "queue", "store", "vision"]),
    ("desk", &["domain", "images", "lifecycle", "store"]),
    ("api", &["desk", "docs", "domain", "images", "intake", "keys", "lifecycle", "media", "store", "webhooks"]),
    (
        "config",
        &[
            "domain",
            "identity",
            "intake",
            "keys",
            "media",
            "net",
            "queue",
            "store",
            "telemetry",
            "video",
            "vision",
            "webhooks",
        ],
    ),
    (
        "app",
        &[
            "api",
            "config",
            "desk",
            "domain",
            "identity",
            "images",
            "intake",
            "janitor",
            "jobs",
            "lifecycle",
            "net",
            "queue",
            "relay",
            "store",
            "vision",
            "webhooks",
            "worker",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "app",
            "config",
            "desk",
            "docs",
            "domain",
            "eval",
            "identity",
            "images",
            "intake",
            "media",
            "net",
            "queue",
            "store",
            "telemetry",
            "vision",
            "webhooks",
        ],
    ),
];

/// Crates that one place alone may name.
const SOLE_OWNERS: &[(&str, &[&str])] = &[
    ("lapin", &["queue"]),
    ("sqlx", &["store"]),
    ("ort", &["vision/session.rs"]),
    ("turbojpeg", &["vision/decode/reduced.rs"]),
    ("axum", &["api", "desk"]),
    ("object_store", &["media"]),
    ("reqwest", &["net"]),
];

/// The identifiers that follow `prefix` in code, comments left out: of `crate::{a, b::c}` both `a` and `b`.
fn names_after<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let identifier = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        &text[..end]
    };
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices(prefix) {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &line[at + prefix.len()..];
            match rest.strip_prefix('{') {
                None => drop(names.insert(identifier(rest))),
                Some(group) => names.extend(group.split(',').map(|part| identifier(part.trim()))),
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let mut faults = Vec::new();
    for source in sources() {
        let (file, room) = (&source.name, source.room());
        if room == "lib" || room == "main" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            faults.push(format!("{file}: the room {room} is not in the table"));
            continue;
        };
        // A group over several lines would hide what it imports.
        if source.text.contains("crate::{\n") {
            faults.push(format!("{file}: import each room by a `use` of its own"));
        }
        let prefixes: &[&str] = if is_crate(room) { &["visavis_"] } else { &["crate::", "visavis_"] };
        for import in prefixes.iter().flat_map(|prefix| names_after(&source.text, prefix)) {
            if import != room && !allowed.contains(&import) {
                faults.push(format!("{file}: {room} may not import {import}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_engine_crate_has_one_owner() {
    let mut faults = Vec::new();
    for source in sources() {
        let file = &source.name;
        for (name, owners) in SOLE_OWNERS {
            let owned = owners.iter().any(|owner| owner == file || *owner == source.room());
            // app runs the router that api made.
            let composes = *name == "axum" && file == "app/http.rs";
            if !owned && !composes && !names_after(&source.text, &format!("{name}::")).is_empty() {
                faults.push(format!("{file} names {name}, which belongs to {owners:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_is_the_one_in_architecture_md() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (room, allowed) in MAY_IMPORT {
        let imports = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
        let row = format!("| `{room}` | {imports} |");
        assert!(text.contains(&row), "ARCHITECTURE.md lacks the row {row}");
    }
}

#[test]
fn the_scanner_sees_groups_and_ignores_comments_and_longer_names() {
    let text = "use crate::store;\nuse crate::{intake, media::Media};\n// crate::api\nlet x = my_crate::queue();";
    assert_eq!(names_after(text, "crate::"), BTreeSet::from(["intake", "media", "store"]));
}

#[test]
fn no_file_has_grown_into_two_rooms() {
    let long = sources().into_iter().filter(|source| source.text.lines().count() > 500);
    let long: Vec<_> = long.map(|source| source.name).collect();
    assert!(long.is_empty(), "past 500 lines, look for the second purpose: {long:?}");
}

/// Whether a line of code compares a number that `get()` took out of a `Similarity` or a `Threshold`.
fn compares_a_score(line: &str) -> bool {
    line.match_indices(".get()").any(|(at, found)| {
        let after = line[at + found.len()..].trim_start();
        let path_begins = line[..at].rfind(|c: char| !c.is_alphanumeric() && !"_.".contains(c)).map_or(0, |i| i + 1);
        let before = line[..path_begins].trim_end();
        let operators = ["<", ">", "<=", ">=", "==", "!="];
        let is_arrow = before.ends_with("->") || before.ends_with("=>");
        operators.iter().any(|operator| after.starts_with(operator))
            || (!is_arrow && operators.iter().any(|operator| before.ends_with(operator)))
    })
}

#[test]
fn a_threshold_meets_a_score_in_policy_alone() {
    let mut faults = Vec::new();
    for Source { name: file, text } in sources() {
        let is_exempt = ["domain/policy.rs", "domain/policy/tests.rs"].contains(&file.as_str());
        if is_exempt || !(text.contains("Threshold") || text.contains("Similarity")) {
            continue;
        }
        let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
        let code = code.filter(|line| !line.trim_start().starts_with("//"));
        faults.extend(code.filter(|line| compares_a_score(line)).map(|line| format!("{file}: {}", line.trim())));
    }
    assert!(faults.is_empty(), "domain::policy alone compares scores:\n{}", faults.join("\n"));
}

#[test]
fn a_comparison_of_scores_is_seen_on_either_side() {
    for line in ["if score.get() >= limit {", "limit <= a.b.get()", "x.get() < y.get()", "if s.get()<t {"] {
        assert!(compares_a_score(line), "{line}");
    }
    for line in
        ["|s| s.get()", "fn f(x: T) -> f64 { x.get() }", "Some(s) => s.get(),", "score.get() * 100.0", "map.get(i)"]
    {
        assert!(!compares_a_score(line), "{line}");
    }
}
