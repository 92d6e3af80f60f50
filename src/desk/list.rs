//! What the desk's lists have in common: filters above them, and pages that follow each other.

use url::form_urlencoded::Serializer;

use super::pages::{Filter, FilterOption};

/// Rows on one page.
pub(super) const PAGE_ROWS: usize = 50;
/// Rows to fetch: one more than a page shows. The extra row tells whether another page follows.
pub(super) const FETCH_ROWS: i64 = 51;

/// Cuts the rows to one page. Returns the page's last row if another page follows.
pub(super) fn cut<T>(rows: &mut Vec<T>) -> Option<&T> {
    let has_more = rows.len() > PAGE_ROWS;
    rows.truncate(PAGE_ROWS);
    rows.last().filter(|_| has_more)
}

/// The query string of the chosen filters and of the position to continue from. Empty values are left out.
pub(super) fn query(chosen: &[(&str, &str)], position: Option<(&str, String)>) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(chosen.iter().filter(|(_, value)| !value.is_empty()));
    query.extend_pairs(position);
    query.finish()
}

/// A filter before its options are known.
pub(super) struct FilterField<'a> {
    /// The parameter's name in the query string.
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// The words for "no filter".
    pub(super) any: &'static str,
    /// The chosen value; empty for none.
    pub(super) chosen: &'a str,
}

impl FilterField<'_> {
    /// The filter with these options, given as value and words, after "no filter".
    pub(super) fn with(self, options: impl IntoIterator<Item = (String, String)>) -> Filter {
        let any = (String::new(), self.any.to_owned());
        let options = std::iter::once(any).chain(options).map(|(value, words)| {
            let is_chosen = value == self.chosen;
            FilterOption { value, words, is_chosen }
        });
        Filter { name: self.name, label: self.label, options: options.collect() }
    }
}
