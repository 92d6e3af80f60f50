//! Which known name was meant by one that is not known.

/// The least share of a name that must agree, in [0, 1], counted by edits of single characters. `treshold` and
/// `threshold` agree in 0.89, `photo` and `probe` in 0.4.
const ALIKE: f64 = 0.6;

/// Bytes of a name that is compared. Edit distances of longer ones take long, and no known name is near them.
const LONGEST: usize = 64;

/// The known name that is most like `name`, or that `name` abbreviates. `None` when no known name is near.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&name.to_ascii_lowercase(), known);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    if likeness(best) >= ALIKE {
        return Some(best);
    }
    known.iter().copied().find(|known| name.len() >= 4 && known.split('_').any(|word| word == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_a_wrong_case_and_a_part_of_a_name_are_understood_and_nothing_else_is_guessed() {
        let known = ["similarity_threshold", "source_image", "target_image", "os"];
        for (name, meant) in [
            ("source_imag", Some("source_image")),
            ("sourceImage", Some("source_image")),
            ("soruce_image", Some("source_image")),
            ("threshold", Some("similarity_threshold")),
            ("similarity", Some("similarity_threshold")),
            ("OS", Some("os")),
            ("extra", None),
            ("sim", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), meant, "{name}");
        }
        assert_eq!(nearest("anything", &[]), None);
        assert_eq!(nearest(&"os".repeat(33), &["os".repeat(33).as_str()]), None, "too long to compare");
    }
}
