//! The commit that is built, for `visavis --version`.
//!
//! A build script would rebuild the whole package at every commit, because all of its targets depend on the script.
//! This macro makes the files of Git inputs of the one file that calls it, which is `main.rs`.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use proc_macro::TokenStream;

/// Hexadecimal digits of a commit that people need.
const DIGITS: usize = 12;

/// The commit of the checkout as a string: its first 12 digits, or `unknown` outside of a Git checkout.
#[proc_macro]
pub fn commit(_input: TokenStream) -> TokenStream {
    #[expect(clippy::disallowed_methods, reason = "Cargo says in this variable where the package is")]
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let (commit, inputs) = find(Path::new(&package)).unwrap_or_else(|| ("unknown".to_owned(), Vec::new()));
    let include = |input: &PathBuf| format!("const _: &[u8] = include_bytes!({:?});", input.to_string_lossy());
    let includes: Vec<_> = inputs.iter().map(include).collect();
    format!("{{ {} {commit:?} }}", includes.join(" ")).parse().unwrap_or_default()
}

/// The commit, and the files whose change means another commit.
fn find(checkout: &Path) -> Option<(String, Vec<PathBuf>)> {
    let dot_git = checkout.join(".git");
    // In a worktree `.git` is a file that names the folder.
    let folder = if dot_git.is_dir() {
        dot_git
    } else {
        checkout.join(read_to_string(dot_git).ok()?.strip_prefix("gitdir:")?.trim())
    };
    // Branches of a worktree are in the main checkout.
    let common = read_to_string(folder.join("commondir")).map_or_else(|_| folder.clone(), |to| folder.join(to.trim()));
    let head = folder.join("HEAD");
    let text = read_to_string(&head).ok()?;
    // The log of HEAD grows with every commit, also of a branch whose file does not exist yet.
    let mut inputs = vec![head];
    inputs.extend(Some(folder.join("logs/HEAD")).filter(|log| log.is_file()));
    let commit = match text.trim().strip_prefix("ref: ") {
        None => text.trim().to_owned(),
        Some(branch) => {
            let (loose, packed) = (common.join(branch), common.join("packed-refs"));
            if let Ok(commit) = read_to_string(&loose) {
                inputs.push(loose);
                commit.trim().to_owned()
            } else {
                let line = format!(" {branch}");
                let refs = read_to_string(&packed).ok()?;
                inputs.push(packed);
                refs.lines().find_map(|known| known.strip_suffix(&line))?.to_owned()
            }
        }
    };
    let is_hash = commit.len() >= DIGITS && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| (commit[..DIGITS].to_owned(), inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_commit_is_found_in_a_checkout_in_a_worktree_and_among_packed_branches() {
        let root = std::env::temp_dir().join(format!("visavis-commit-{}", std::process::id()));
        let git = root.join("main/.git");
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        std::fs::create_dir_all(git.join("worktrees/w")).unwrap();
        std::fs::create_dir_all(root.join("w")).unwrap();
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(git.join("packed-refs"), format!("# pack-refs\n{COMMIT} refs/heads/main\n")).unwrap();
        let found = || find(&root.join("main")).map(|(commit, inputs)| (commit, inputs.len()));
        assert_eq!(found(), Some(("0123456789ab".to_owned(), 2)));
        std::fs::write(git.join("refs/heads/main"), "fedcba9876543210fedcba9876543210fedcba98\n").unwrap();
        assert_eq!(found(), Some(("fedcba987654".to_owned(), 2)));
        std::fs::write(root.join("w/.git"), format!("gitdir: {}\n", git.join("worktrees/w").display())).unwrap();
        std::fs::write(git.join("worktrees/w/commondir"), "../..\n").unwrap();
        std::fs::write(git.join("worktrees/w/HEAD"), format!("{COMMIT}\n")).unwrap();
        assert_eq!(find(&root.join("w")).unwrap().0, "0123456789ab");
        assert_eq!(find(&root), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
