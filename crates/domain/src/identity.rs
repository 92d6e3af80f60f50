//! Identity documents: a number and its type, and the record that a source has of the holder.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

/// The kinds of identity numbers.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", ascii_case_insensitive)]
pub enum IdType {
    /// National identity database.
    Nin,
    /// Bank verification number.
    Bvn,
    /// Virtual national identity number.
    Vnin,
    /// Driver's licence, from the road safety authority.
    DriversLicense,
    /// Passport, from the immigration authority.
    Passport,
}

impl IdType {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in settings and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The type of that name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// A person's number on a document. It has no `Debug`, so that it cannot reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct IdNumber(String);

impl IdNumber {
    /// Trims white space. `None` unless 1 to 64 printable characters remain.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// The number itself, for the source and for encryption.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The number without spaces and hyphens, in upper case. Numbers that differ only in these are the same number.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.0.chars().filter(|c| !c.is_whitespace() && *c != '-').flat_map(char::to_uppercase).collect()
    }
}

/// A source's record of a number's holder. It has no `Debug`, so that it cannot reach a log.
#[derive(Clone, PartialEq)]
pub struct IdentityRecord {
    /// Name, date of birth, address and all else that the source gives, in its own order.
    pub attributes: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_types_are_matched_without_regard_to_case() {
        for (name, id_type) in [("BVN", IdType::Bvn), ("bvn", IdType::Bvn), ("Drivers_License", IdType::DriversLicense)]
        {
            assert_eq!(IdType::parse(name), Some(id_type));
        }
        assert_eq!(IdType::parse("ssn"), None);
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let canonical = |text| IdNumber::parse(text).unwrap().canonical();
        assert_eq!(canonical("ab 12-34"), canonical("AB1234"));
        assert_ne!(canonical("AB1234"), canonical("AB1235"));
    }

    #[test]
    fn an_id_number_is_short_and_printable() {
        assert_eq!(IdNumber::parse(" 123 ").map(|number| number.reveal().to_owned()).as_deref(), Some("123"));
        for text in ["", "   ", "1\u{0}2", &"1".repeat(65)] {
            assert!(IdNumber::parse(text).is_none());
        }
    }
}
