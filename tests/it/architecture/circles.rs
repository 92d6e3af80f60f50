//! No circles between the files of a room: if one file uses another, the other does not use the first, on any way.
//!
//! A folder's head (`jobs.rs` beside `jobs/`) holds what the files in the folder share, and puts them together. So what
//! a head uses from its own folder does not count.

use std::collections::{BTreeMap, BTreeSet};

use super::code::code;
use super::sources::{Source, is_crate, sources};

/// A path of names: `crate::domain::job`.
type Path = Vec<String>;

/// What a file says about other modules.
struct Module {
    place: Path,
    file: String,
    room: String,
    /// Paths that the file's code uses, from the root of all rooms.
    uses: Vec<Path>,
    /// Names that the file passes on, and the paths where they come from; `*` passes on everything.
    passed_on: Vec<(String, Path)>,
}

#[test]
fn no_two_files_of_a_room_stand_on_each_other() {
    let sources = sources();
    let circles = circles(&arrows(&modules(&sources)));
    assert!(circles.is_empty(), "move what both sides need into a file of its own:\n{}", circles.join("\n"));
}

fn modules(sources: &[Source]) -> BTreeMap<Path, Module> {
    let names: BTreeSet<Path> = sources.iter().map(path_of).collect();
    let mut modules = BTreeMap::new();
    for source in sources {
        let place = path_of(source);
        if place == ["main"] || place == ["lib"] || place.last().is_some_and(|name| name == "tests") {
            continue;
        }
        let code = code(&source.text);
        let mut module = Module {
            place: place.clone(),
            file: source.name.clone(),
            room: source.room().to_owned(),
            uses: Vec::new(),
            passed_on: Vec::new(),
        };
        let (statements, rest) = use_statements(&code);
        for (public, tree) in statements {
            for (path, name) in flattened(&tree) {
                let Some(path) = absolute(&path, &place, &names) else { continue };
                if public { module.passed_on.push((name, path)) } else { module.uses.push(path) }
            }
        }
        module.uses.extend(inline_paths(&rest).iter().filter_map(|path| absolute(path, &place, &names)));
        modules.insert(place, module);
    }
    modules
}

/// From each file to the files of its room that it takes something from.
fn arrows(modules: &BTreeMap<Path, Module>) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for module in modules.values() {
        let from = arrows.entry(&module.file).or_default();
        for path in &module.uses {
            for target in definers(path, modules, 0) {
                if target.room == module.room && !target.place.starts_with(&module.place) {
                    from.insert(&target.file);
                }
            }
        }
    }
    arrows
}

/// The modules where the thing at that path is defined; names that are passed on lead further.
fn definers<'a>(path: &[String], modules: &'a BTreeMap<Path, Module>, depth: usize) -> Vec<&'a Module> {
    let Some(length) = (1..=path.len()).rev().find(|&length| modules.contains_key(&path[..length])) else {
        return Vec::new();
    };
    let module = &modules[&path[..length]];
    let Some(name) = path.get(length).filter(|_| depth < 5) else { return vec![module] };
    for (passed, from) in &module.passed_on {
        if passed == name {
            return definers(from, modules, depth + 1);
        }
    }
    vec![module]
}

/// Each set of files that all reach each other.
fn circles(arrows: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows.keys().map(|file| (*file, reach(file, arrows))).collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for file in arrows.keys() {
        if !reached[file].contains(file) || seen.contains(file) {
            continue;
        }
        let circle: Vec<_> = reached[file].iter().filter(|other| reached[*other].contains(file)).copied().collect();
        let within = |from: &str| {
            let others = arrows[from].iter().filter(|to| circle.contains(to)).copied().collect::<Vec<_>>();
            format!("  {from} uses {}", others.join(", "))
        };
        circles.push(circle.iter().map(|from| within(from)).collect::<Vec<_>>().join("\n"));
        seen.extend(circle);
    }
    circles
}

fn reach<'a>(start: &str, arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = arrows[start].iter().copied().collect();
    while let Some(file) = waiting.pop() {
        if reached.insert(file) {
            waiting.extend(&arrows[file]);
        }
    }
    reached
}

/// The trees of the `use` statements, each with whether it passes names on; and the code without them.
fn use_statements(code: &str) -> (Vec<(bool, String)>, String) {
    let mut statements = Vec::new();
    let mut rest = String::new();
    let mut open: Option<(bool, String)> = None;
    for line in code.lines() {
        let line = line.trim();
        let head = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
        if open.is_none()
            && let Some(tree) = head.strip_prefix("use ")
        {
            open = Some((head.len() < line.len(), tree.to_owned()));
        } else if let Some((_, tree)) = &mut open {
            tree.push_str(line);
        } else {
            rest.push_str(line);
            rest.push('\n');
        }
        if open.as_ref().is_some_and(|(_, tree)| tree.contains(';')) {
            statements.extend(open.take().map(|(public, tree)| (public, tree.replace(';', ""))));
        }
    }
    (statements, rest)
}

/// The paths of a tree, `a::{b, c::d as e}`, each with the name under which it is known afterwards.
fn flattened(tree: &str) -> Vec<(Path, String)> {
    let tree = tree.trim();
    if let Some((prefix, group)) = tree.split_once('{') {
        let group = group.trim().trim_end_matches('}').trim_end();
        let group = if group.matches('{').count() > group.matches('}').count() {
            format!("{group}}}")
        } else {
            group.to_owned()
        };
        let prefix: Path =
            prefix.trim_end_matches("::").split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let inner = branches(&group).into_iter().flat_map(|branch| flattened(&branch));
        return inner
            .map(|(path, name)| {
                let own = if path == ["self"] { Vec::new() } else { path };
                let name = if name == "self" { prefix.last().cloned().unwrap_or_default() } else { name };
                ([prefix.clone(), own].concat(), name)
            })
            .collect();
    }
    if tree.is_empty() {
        return Vec::new();
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let path: Path = path.trim().split("::").map(str::to_owned).collect();
    let name = alias.map_or_else(|| path.last().cloned().unwrap_or_default(), str::to_owned);
    vec![(path, name)]
}

/// What commas part at the outermost level.
fn branches(group: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut depth = 0;
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if letter == ',' && depth == 0 { found.push(String::new()) } else { found.last_mut().unwrap().push(letter) }
    }
    found
}

/// Every `a::b` within code.
fn inline_paths(code: &str) -> Vec<Path> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = code.split(|letter: char| !is_part(letter)).filter(|word| word.contains("::"));
    words.map(|word| word.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()).collect()
}

/// A path as seen from the root of all rooms; nothing for paths into other crates.
fn absolute(path: &[String], place: &[String], names: &BTreeSet<Path>) -> Option<Path> {
    let (first, rest) = path.split_first()?;
    let joined = |base: &[String], rest: &[String]| Some([base, rest].concat());
    match first.as_str() {
        "crate" if is_crate(&place[0]) => joined(&place[..1], rest),
        "crate" => joined(&[], rest),
        "self" => joined(place, rest),
        "super" => {
            let ups = path.iter().take_while(|name| *name == "super").count();
            joined(&place[..place.len().checked_sub(ups)?], &path[ups..])
        }
        name if name.starts_with("visavis_") => joined(&[name["visavis_".len()..].to_owned()], rest),
        // A module below this one.
        _ if names.contains(&[place, &path[..1]].concat()) => joined(place, path),
        _ => None,
    }
}

/// The modules that lead to a file: `store`, `jobs`. A crate's `lib.rs` is the module of the crate's name.
fn path_of(source: &Source) -> Path {
    let is_lib = |part: &str| part == "lib" && is_crate(source.room());
    let parts = source.name.trim_end_matches(".rs").split('/');
    parts.filter(|part| !is_lib(part)).map(str::to_owned).collect()
}

/// A house of files for the tests of these checks.
fn house(files: &[(&str, &str)]) -> Vec<String> {
    let source = |(name, text): &(&str, &str)| Source { name: (*name).to_owned(), text: (*text).to_owned() };
    circles(&arrows(&modules(&files.iter().map(source).collect::<Vec<_>>())))
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    for (first, second) in [
        ("use super::b::B;", "use super::a::A;"),
        ("use crate::room::b::B;", "fn f() { crate::room::a::f(1) }"),
        ("use crate::{\n    room::{\n        b::{self, B},\n    },\n};", "type A = super::a::A;"),
        ("use super::B;", "use crate::room::a::A;"),
    ] {
        let found = house(&[("room.rs", "mod a;\nmod b;\npub use b::B;"), ("room/a.rs", first), ("room/b.rs", second)]);
        assert_eq!(found.len(), 1, "{first} {second}");
    }
    let long = house(&[
        ("room/a.rs", "use super::b;"),
        ("room/b.rs", "use super::c::C;"),
        ("room/c.rs", "use super::a;"),
        ("room/d.rs", "use super::a;"),
    ]);
    assert_eq!(long, ["  room/a.rs uses room/b.rs\n  room/b.rs uses room/c.rs\n  room/c.rs uses room/a.rs"]);
}

#[test]
fn heads_of_folders_tests_and_other_rooms_make_no_circle() {
    let passed = house(&[("room.rs", "mod a;\npub use a::A;\npub struct B;"), ("room/a.rs", "use super::B;")]);
    let head = house(&[("room.rs", "mod a;\nfn f() { a::g() }"), ("room/a.rs", "use super::f;")]);
    let tested = house(&[
        ("room.rs", "pub fn f() {}\n#[cfg(test)]\nmod tests {\n use super::a; }"),
        ("room/a.rs", "use super::f;"),
    ]);
    let apart = house(&[("one/a.rs", "use crate::two::b;"), ("two/b.rs", "use crate::one::a;")]);
    assert_eq!([passed, head, tested, apart].concat(), Vec::<String>::new());
}
