//! What names and lines must keep to, so that a stranger can read them.

use std::collections::BTreeMap;

use super::code::code;
use super::sources::{files_below, root, sources};

/// As in rustfmt.toml. Documents are held to it by `pages_of_docs.rs`.
const COLUMNS: usize = 120;

#[test]
fn no_type_name_occurs_twice() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for name in code(&source.text).lines().filter_map(defined_type) {
            places.entry(name.to_owned()).or_default().push(source.name.clone());
        }
    }
    // Each folder has its own Error: the module says whose it is.
    places.retain(|name, files| files.len() > 1 && name != "Error");
    let faults: Vec<_> = places.iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect();
    assert!(faults.is_empty(), "one name, one type:\n{}", faults.join("\n"));
}

/// The type that a line of code defines. Associated types and aliases of a function's own are no definitions.
fn defined_type(line: &str) -> Option<&str> {
    let words: Vec<_> =
        line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|word| !matches!(*word, "pub" | "crate" | "super" | "in" | "self" | "unsafe"))?;
    let name = words.get(at + 1).filter(|name| name.starts_with(char::is_uppercase))?;
    match words[at] {
        "struct" | "enum" | "trait" | "union" => Some(name),
        "type" if !line.starts_with(' ') => Some(name),
        _ => None,
    }
}

#[test]
fn comments_are_at_most_120_columns() {
    let mut faults = Vec::new();
    for path in ["src", "crates", "tests", "benches"].iter().flat_map(|folder| files_below(&root().join(folder), "rs"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if line.contains("//") && line.chars().count() > COLUMNS {
                faults.push(format!("{}:{}", path.strip_prefix(root()).unwrap().display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "rustfmt leaves comments alone, so break them by hand:\n{}", faults.join("\n"));
}

#[test]
fn closures_name_their_argument() {
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if ["|it|", "|mut it|", "|&it|", "|it:"].iter().any(|argument| line.contains(argument)) {
                faults.push(format!("{}:{}", source.name, number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "name the argument after what it is:\n{}", faults.join("\n"));
}
