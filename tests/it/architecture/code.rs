//! What of a Rust file is code of the product: no comments, no texts, no tests.

/// The code of a file. Line comments and the contents of one-line texts are left out, and everything from the
/// first test module (`#[cfg(test)]` and then `mod`) on, which stands at the end of our files.
pub fn code(text: &str) -> String {
    let product = text.find("#[cfg(test)]\nmod ").map_or(text, |end| &text[..end]);
    product.lines().map(without_texts).collect::<Vec<_>>().join("\n")
}

fn without_texts(line: &str) -> String {
    let mut kept = String::new();
    let mut in_text = false;
    let mut letters = line.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if in_text => drop(letters.next()),
            // A character, not the begin of a text.
            '\'' if !in_text && line[at..].starts_with("'\"'") => drop((letters.next(), letters.next())),
            '"' => in_text = !in_text,
            '/' if !in_text && line[at..].starts_with("//") => break,
            _ if in_text => {}
            _ => kept.push(letter),
        }
    }
    kept
}

#[test]
fn code_has_no_comments_texts_or_tests() {
    let text = "let a = \"x // y\"; // z\n/// w\nlet b = '\"';\n#[cfg(test)]\nmod tests {}\n";
    assert_eq!(code(text), "let a = ; \n\nlet b = ;");
}
