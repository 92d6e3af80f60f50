//! What the lists have in common: choices above them, and pages that follow each other.

use url::form_urlencoded::Serializer;

use super::pages::Filter;

/// Rows of a page. One more is asked for, to see whether there is another page.
pub(super) const PAGE: usize = 50;
pub(super) const ASKED: i64 = 51;

/// Cuts the rows to a page; the last one, where there are more behind it.
pub(super) fn cut<T>(rows: &mut Vec<T>) -> Option<&T> {
    let is_full = rows.len() > PAGE;
    rows.truncate(PAGE);
    rows.last().filter(|_| is_full)
}

/// What was asked for, and the place to go on from, as a query; empty values are left out.
pub(super) fn query(chosen: &[(&str, &str)], place: Option<(&str, String)>) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(chosen.iter().filter(|(_, value)| !value.is_empty()));
    query.extend_pairs(place);
    query.finish()
}

/// A choice of that name: any, or one of those known by value and words.
pub(super) fn filter(
    (name, label): (&'static str, &'static str),
    any: &str,
    chosen: &str,
    known: impl IntoIterator<Item = (String, String)>,
) -> Filter {
    let known = known.into_iter().map(|(value, words)| {
        let is_chosen = value == chosen;
        (value, words, is_chosen)
    });
    let any = (String::new(), any.to_owned(), chosen.is_empty());
    Filter { name, label, choices: std::iter::once(any).chain(known).collect() }
}
