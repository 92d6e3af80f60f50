//! Reads JSON objects without building a tree of values: each field is a slice of the body until it is taken out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{RequestFault, fault};
use crate::evidence::Mode;
use crate::suggestion::nearest;

/// The fields of a JSON object, as slices of the body. A tree of values would take many times the body's memory.
pub(super) struct Fields<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// Stands before a field's name in messages: `request.` for fields of that object.
    pub(super) prefix: String,
}

/// More fields than any request has.
const MAX_FIELDS: usize = 32;

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of few fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if fields.len() == MAX_FIELDS {
                        return Err(serde::de::Error::custom("too many fields"));
                    }
                    fields.push((name.0, value));
                }
                Ok(Fields { fields, prefix: String::new() })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string, borrowed from the body where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The items of a JSON array, as slices of the body. An array of more than `MAX` items is refused.
pub(super) struct Items<'a, const MAX: usize>(pub(super) Vec<&'a RawValue>);

impl<'de, const MAX: usize> Deserialize<'de> for Items<'de, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for Array<MAX> {
            type Value = Items<'de, MAX>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "an array of at most {MAX} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Items<'de, MAX>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element::<&'de RawValue>()? {
                    if items.len() == MAX {
                        return Err(serde::de::Error::custom("too many items"));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

impl<'a> Fields<'a> {
    /// The fields of a body.
    pub(super) fn of(body: &'a [u8]) -> Result<Self, RequestFault> {
        serde_json::from_slice(body).map_err(|error| {
            let place = format!("(line {}, column {})", error.line(), error.column());
            fault("malformed_json", None, format!("the body is not a JSON object that we can read {place}"))
        })
    }

    /// The field's path, for messages.
    pub(super) fn path(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// Whether a field is present; null counts as absent.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(found, value)| found == name && value.get() != "null")
    }

    /// Takes a field out; null counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<&'a RawValue>, RequestFault> {
        let Some(at) = self.fields.iter().position(|(found, _)| found == name) else { return Ok(None) };
        let (_, value) = self.fields.swap_remove(at);
        if self.fields.iter().any(|(found, _)| found == name) {
            let path = format!("{}{name}", self.prefix);
            return Err(fault("duplicate_field", Some(&path), format!("{path} is given twice")));
        }
        Ok(Some(value).filter(|value| value.get() != "null"))
    }

    /// Refuses the first field that is not among `known`, and names the one that was probably meant. Callers do this
    /// before they miss required fields, so that a misspelt one is named as it was sent. Ignoring a misspelt threshold
    /// would give wrong verdicts.
    pub(super) fn refuse_unknown(&self, known: &[&str]) -> Result<(), RequestFault> {
        let unknown = self.fields.iter().find(|(name, _)| !known.contains(&&**name));
        let Some((name, _)) = unknown else { return Ok(()) };
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        let path = self.path(&name);
        let absent: Vec<&str> = known.iter().copied().filter(|field| !self.has(field)).collect();
        let hint = match nearest(&name, &absent) {
            Some(meant) => format!(", did you mean {}?", self.path(meant)),
            None => format!(": the fields here are {}", known.join(", ")),
        };
        Err(fault("unknown_field", Some(&path), format!("unknown field {path}{hint}")))
    }
}

pub(super) fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

pub(super) fn required<'a>(value: Option<&'a RawValue>, path: &str) -> Result<&'a RawValue, RequestFault> {
    value.ok_or_else(|| fault("missing_field", Some(path), format!("{path} is required")))
}

pub(super) fn string<'a>(value: &'a RawValue, path: &str) -> Result<Cow<'a, str>, RequestFault> {
    let text: Option<Text<'a>> = read(value);
    text.map(|text| text.0).ok_or_else(|| fault("invalid_type", Some(path), format!("{path} must be a string")))
}

pub(super) fn metadata(value: Option<&RawValue>) -> Result<BTreeMap<String, String>, RequestFault> {
    const MESSAGE: &str =
        "metadata must be an object of at most 16 strings, names up to 64 and values up to 512 characters";
    let wrong = || fault("invalid_metadata", Some("metadata"), MESSAGE.to_owned());
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    let Fields { fields, .. } = read(value).ok_or_else(wrong)?;
    let read = fields.iter().map(|(name, value)| {
        let Text(text) = read(value)?;
        // Postgres cannot store U+0000 in JSON.
        let fits =
            name.chars().count() <= 64 && text.chars().count() <= 512 && !name.contains('\0') && !text.contains('\0');
        fits.then(|| (name.clone().into_owned(), text.into_owned()))
    });
    let metadata: BTreeMap<_, _> = read.collect::<Option<_>>().ok_or_else(wrong)?;
    if fields.len() <= 16 && metadata.len() == fields.len() { Ok(metadata) } else { Err(wrong()) }
}

/// The caller's `search_mode`, where it is given.
pub(super) fn search_mode(request: &mut Fields<'_>) -> Result<Option<Mode>, RequestFault> {
    let path = request.path("search_mode");
    let Some(value) = request.take("search_mode")? else { return Ok(None) };
    read(value)
        .map(Some)
        .ok_or_else(|| fault("invalid_search_mode", Some(&path), "search_mode must be FAST or ACCURATE".to_owned()))
}
