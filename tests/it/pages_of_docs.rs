//! The documents hold together: links lead somewhere, files that are named exist, and lines fit a screen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::architecture::sources::root;

/// Columns that a line of a document may have. Rows of tables and lines with a URL cannot be broken.
const MAX_COLUMNS: usize = 120;
/// Lines that the README may have: it must be read in minutes.
const MAX_README_LINES: usize = 250;

/// A document by its path from the root, with its lines.
type Pages = BTreeMap<String, Vec<String>>;

/// Every Markdown file of the repository; what is ignored or generated is not looked into.
fn pages() -> Pages {
    fn walk(folder: &Path, found: &mut Pages) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
                found.insert(path.strip_prefix(root()).unwrap().display().to_string(), lines);
            }
        }
    }
    let mut found = Pages::new();
    walk(root(), &mut found);
    found
}

/// The lines that are not code.
fn prose(lines: &[String]) -> Vec<&str> {
    let mut is_code = false;
    let mut prose = Vec::new();
    for line in lines {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.push(line.as_str());
        }
    }
    prose
}

/// The targets of links and pictures: what stands between `](` and `)`.
fn links(lines: &[String]) -> Vec<String> {
    // A link's text may go over a line end.
    let text = prose(lines).join("\n");
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a page's headings, as GitHub and most renderers make them.
fn anchors(lines: &[String]) -> BTreeSet<String> {
    let headings = prose(lines).into_iter().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

/// `target` as seen from the page `from`, without `.` and `..`.
fn resolved(from: &str, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in Path::new(from).parent().unwrap().join(target).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{target} in {from} leads out of the repository"),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    let mut faults = Vec::new();
    let mut seen = 0;
    for (page, lines) in &pages {
        for link in links(lines).iter().filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() { PathBuf::from(page) } else { resolved(page, file) };
            if !root().join(&path).exists() {
                faults.push(format!("{page}: {link} leads to no file"));
            } else if !anchor.is_empty() {
                let target = pages.get(&path.display().to_string());
                if !target.is_some_and(|lines| anchors(lines).contains(anchor)) {
                    faults.push(format!("{page}: {link} leads to no heading"));
                }
            }
        }
    }
    assert!(seen > 50, "links are read: {seen}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What looks like a file or a folder of the repository: a path below one of its folders, or a file at its top.
fn named_path(code: &str) -> Option<&str> {
    const FOLDERS: [&str; 11] = [
        ".ci/",
        "benches/",
        "crates/",
        "deploy/",
        "docs/",
        "migrations/",
        "models/",
        "src/",
        "templates/",
        "tests/",
        ".sqlx/",
    ];
    let path = code.split([' ', '#']).next()?.split("::").next()?;
    let is_pattern = path.contains(['*', '<', '{', '|', '…', '$']) || path.contains("NNNN") || path.contains("NAME");
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    let is_top = !path.contains('/') && matches!(extension, Some("md" | "toml"));
    (!is_pattern && (is_top || FOLDERS.iter().any(|folder| path.starts_with(folder)))).then_some(path)
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for (page, lines) in &pages() {
        // The changelog names files that are gone.
        if page == "CHANGELOG.md" {
            continue;
        }
        for line in prose(lines) {
            for path in line.split('`').skip(1).step_by(2).filter_map(named_path) {
                seen += 1;
                // Model cards name their neighbours.
                let beside = root().join(resolved(page, path));
                let with_extension = root().join(format!("{path}.rs"));
                if ![root().join(path), beside, with_extension].iter().any(|path| path.exists()) {
                    faults.push(format!("{page}: `{path}` is not there"));
                }
            }
        }
    }
    assert!(seen > 50, "paths are read: {seen}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_line_of_a_document_is_wider_than_a_screen() {
    let mut faults = Vec::new();
    for (page, lines) in &pages() {
        for (index, line) in lines.iter().enumerate() {
            let cannot_break = line.starts_with('|') || line.contains("://") || !line.trim().contains(' ');
            if line.chars().count() > MAX_COLUMNS && !(cannot_break && page != "README.md") {
                faults.push(format!("{page}:{}: {} columns", index + 1, line.chars().count()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_readme_is_short_and_leads_to_every_document() {
    let pages = pages();
    let readme = &pages["README.md"];
    assert!(readme.len() <= MAX_README_LINES, "README.md has {} lines, at most {MAX_README_LINES}", readme.len());
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut open = vec!["README.md".to_owned()];
    while let Some(page) = open.pop() {
        for link in links(&pages[&page]).iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            let target = resolved(&page, file).display().to_string();
            if pages.contains_key(&target) && reached.insert(target.clone()) {
                open.push(target);
            }
        }
    }
    let lost: Vec<_> = pages.keys().filter(|page| !reached.contains(*page)).collect();
    assert!(lost.is_empty(), "no way leads from README.md to {lost:?}");
}

#[test]
fn links_anchors_and_paths_are_read_as_renderers_do() {
    let lines: Vec<_> = ["# The `results` exchange, again", "[a", "b](c.md#d) `x`", "```", "[no](code)", "```"]
        .map(str::to_owned)
        .into();
    assert_eq!(links(&lines), ["c.md#d"]);
    assert_eq!(anchors(&lines), BTreeSet::from(["the-results-exchange-again".to_owned()]));
    assert_eq!(resolved("docs/integrate/http.md", "../operate/run.md"), Path::new("docs/operate/run.md"));
    assert_eq!(named_path("src/jobs.rs::run"), Some("src/jobs.rs"));
    assert_eq!(named_path("tests/it/contract_*.rs"), None);
    assert_eq!(named_path("deny.toml"), Some("deny.toml"));
    assert_eq!(named_path("application/json"), None);
}
