//! The TOML file that names the source of each ID type. It is read strictly at start. No message quotes a value.
//!
//! ```toml
//! [sources.nin]
//! kind = "registry"
//!
//! [sources.bvn]
//! kind = "http"
//! url = "https://id.example.com/v1/people/{id_number}"
//! portrait = "/data/photo"
//! attributes = { name = "/data/full_name", date_of_birth = "/data/born" }
//! headers = { Authorization = { env = "BVN_TOKEN", prefix = "Bearer " } }
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use toml::Table;

use crate::domain::identity::IdType;
use crate::net::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The source of each ID type. Types that are not named use the registry.
pub struct Settings {
    pub sources: BTreeMap<IdType, SourceSettings>,
}

pub enum SourceSettings {
    Registry,
    Http(Box<HttpSettings>),
}

/// How to ask a source over HTTP. Has no `Debug`, because headers hold secrets.
pub struct HttpSettings {
    pub method: Method,
    /// URL with the placeholders `{id_number}` and `{id_type}`.
    pub url: String,
    /// JSON body with the same placeholders in its strings.
    pub body: Option<Value>,
    pub headers: HeaderMap,
    pub timeout: Duration,
    /// JSON pointer to the portrait in Base64 or as a data URL.
    pub portrait: String,
    pub attributes: Attributes,
    pub not_found: Option<NotFound>,
    pub breaker: Breaker,
    /// Calls that the source gets at once from one worker. One organisation makes at most half of them.
    pub calls_at_once: usize,
}

/// Which part of an answer becomes the identity record.
pub enum Attributes {
    /// The object at a JSON pointer, without the portrait.
    Whole(String),
    /// Names and their JSON pointers. A pointer without a value is left out.
    Named(Vec<(String, String)>),
}

/// The sign in an answer other than 404 that the source has no such number.
pub struct NotFound {
    pub pointer: String,
    /// The value of the sign. Without it, any value but `null` and `false` is the sign.
    pub equals: Option<Value>,
}

/// When a failing source is not called for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// The number of last calls that count.
    pub calls: usize,
    /// The share of them, in [0, 1], that must have failed.
    pub failure_rate: f32,
    /// How long the source is then not called.
    pub open: Duration,
}

/// Half of 20 calls: a short outage does not suspend a source, and a long one does within a minute's work.
impl Default for Breaker {
    fn default() -> Self {
        Self { calls: 20, failure_rate: 0.5, open: Duration::from_secs(30) }
    }
}

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SourcesFault {
    /// Path of the key at fault, such as `sources.bvn.url`.
    pub key: String,
    pub problem: String,
}

impl SourcesFault {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// Where the values of secret headers come from.
pub struct Secrets<'a> {
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Folder that paths of secret files are relative to.
    pub folder: &'a Path,
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// Enough for 16 answers a second from a source that takes a second, and few enough for most contracts.
const CALLS_AT_ONCE: usize = 16;
/// Half of the time that a whole job has.
const MAX_TIMEOUT: i64 = 30;
/// A header with one of these words in its name holds a secret, which must not be in the file.
const SECRET_NAMES: [&str; 7] = ["auth", "cookie", "credential", "key", "password", "secret", "token"];

/// Parses the file's text and reads the secrets that it names.
///
/// # Errors
/// When the text is malformed, or a secret is missing. The fault names the key.
pub fn parse(text: &str, secrets: &Secrets<'_>) -> Result<Settings, SourcesFault> {
    let root: Table = text.parse().map_err(|error: toml::de::Error| {
        // The error's own text would quote the line.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        SourcesFault::new(format!("line {}", before.matches('\n').count() + 1), error.message().to_owned())
    })?;
    let mut root = Section { path: String::new(), table: root };
    let mut sources = BTreeMap::new();
    if let Some(named) = root.section("sources")? {
        for (name, value) in named.table {
            let path = format!("sources.{name}");
            let id_type = IdType::parse(&name).ok_or_else(|| {
                SourcesFault::new(&path, "the ID types are nin, bvn, vnin, drivers_license and passport")
            })?;
            let source = source(Section::of(value, path.clone())?, secrets)?;
            if sources.insert(id_type, source).is_some() {
                return Err(SourcesFault::new(path, "this ID type has a source already"));
            }
        }
    }
    root.refuse_rest()?;
    Ok(Settings { sources })
}

fn source(mut section: Section, secrets: &Secrets<'_>) -> Result<SourceSettings, SourcesFault> {
    let kind = section.required("kind")?;
    let source = match kind.as_str() {
        "registry" => SourceSettings::Registry,
        "http" => SourceSettings::Http(Box::new(http(&mut section, secrets)?)),
        _ => return Err(section.fault("kind", "must be \"registry\" or \"http\"")),
    };
    section.refuse_rest()?;
    Ok(source)
}

fn http(section: &mut Section, secrets: &Secrets<'_>) -> Result<HttpSettings, SourcesFault> {
    let method = match section.string("method")?.as_deref() {
        None | Some("GET") => Method::GET,
        Some("POST") => Method::POST,
        Some(_) => return Err(section.fault("method", "must be \"GET\" or \"POST\"")),
    };
    let url = section.required("url")?;
    let body = match section.string("body")? {
        None => None,
        Some(_) if method == Method::GET => {
            return Err(section.fault("body", "a GET has none: set method = \"POST\""));
        }
        Some(text) => {
            let body = serde_json::from_str(&text);
            Some(body.map_err(|_| section.fault("body", "must be JSON, with {id_number} inside a string"))?)
        }
    };
    let asks = |text: &str| text.contains("{id_number}");
    if !asks(&url) && !body.as_ref().is_some_and(|body: &Value| asks(&body.to_string())) {
        return Err(section.fault("url", "{id_number} must be in the URL or in the body"));
    }
    let timeout = section.integer("timeout_seconds", 1, MAX_TIMEOUT)?.map_or(TIMEOUT, seconds);
    let calls_at_once = section.integer("calls_at_once", 1, 1000)?.and_then(|calls| usize::try_from(calls).ok());
    let portrait = section.required("portrait")?;
    let portrait = section.pointer("portrait", portrait)?;
    Ok(HttpSettings {
        method,
        url,
        body,
        headers: headers(section.section("headers")?, secrets)?,
        timeout,
        portrait,
        attributes: attributes(section)?,
        not_found: not_found(section.section("not_found")?)?,
        breaker: breaker(section.section("breaker")?)?,
        calls_at_once: calls_at_once.unwrap_or(CALLS_AT_ONCE),
    })
}

fn attributes(section: &mut Section) -> Result<Attributes, SourcesFault> {
    let path = section.key("attributes");
    match section.table.remove("attributes") {
        Some(toml::Value::String(pointer)) => Ok(Attributes::Whole(section.pointer("attributes", pointer)?)),
        Some(toml::Value::Table(table)) if !table.is_empty() => {
            let mut section = Section { path, table };
            let names: Vec<String> = section.table.keys().cloned().collect();
            let pointers = names.into_iter().map(|name| {
                let pointer = section.required(&name)?;
                let pointer = section.pointer(&name, pointer)?;
                Ok((name, pointer))
            });
            Ok(Attributes::Named(pointers.collect::<Result<_, SourcesFault>>()?))
        }
        _ => Err(SourcesFault::new(path, "must be a JSON pointer to an object, or a table of names and JSON pointers")),
    }
}

fn not_found(section: Option<Section>) -> Result<Option<NotFound>, SourcesFault> {
    let Some(mut section) = section else { return Ok(None) };
    let pointer = section.required("pointer")?;
    let pointer = section.pointer("pointer", pointer)?;
    let equals = match section.table.remove("equals") {
        None => None,
        Some(toml::Value::String(text)) => Some(Value::from(text)),
        Some(toml::Value::Integer(number)) => Some(Value::from(number)),
        Some(toml::Value::Boolean(truth)) => Some(Value::from(truth)),
        Some(_) => return Err(section.fault("equals", "must be a string, an integer or a boolean")),
    };
    section.refuse_rest()?;
    Ok(Some(NotFound { pointer, equals }))
}

fn breaker(section: Option<Section>) -> Result<Breaker, SourcesFault> {
    let mut breaker = Breaker::default();
    let Some(mut section) = section else { return Ok(breaker) };
    if let Some(calls) = section.integer("calls", 1, 1000)? {
        breaker.calls = usize::try_from(calls).unwrap_or(breaker.calls);
    }
    if let Some(percent) = section.integer("failure_percent", 1, 100)? {
        breaker.failure_rate = f32::from(u8::try_from(percent).unwrap_or(100)) / 100.0;
    }
    if let Some(open) = section.integer("open_seconds", 1, 3600)? {
        breaker.open = seconds(open);
    }
    section.refuse_rest()?;
    Ok(breaker)
}

fn headers(section: Option<Section>, secrets: &Secrets<'_>) -> Result<HeaderMap, SourcesFault> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let Some(section) = section else { return Ok(headers) };
    for (name, value) in section.table {
        let path = format!("{}.{name}", section.path);
        let header: HeaderName =
            name.parse().map_err(|_| SourcesFault::new(&path, "is not a name of an HTTP header"))?;
        let value = match value {
            toml::Value::String(_) if SECRET_NAMES.iter().any(|word| header.as_str().contains(word)) => {
                let advice = "secrets must not be in this file: write { env = \"NAME\" } or { file = \"path\" }";
                return Err(SourcesFault::new(path, advice));
            }
            toml::Value::String(text) => header_value(&text, &path)?,
            other => {
                let mut value = secret(Section::of(other, path.clone())?, secrets)?;
                value.set_sensitive(true);
                value
            }
        };
        headers.insert(header, value);
    }
    Ok(headers)
}

/// `{ env = "NAME" }` or `{ file = "path" }`, with an optional `prefix`.
fn secret(mut section: Section, secrets: &Secrets<'_>) -> Result<HeaderValue, SourcesFault> {
    let prefix = section.string("prefix")?.unwrap_or_default();
    let (key, found) = match (section.string("env")?, section.string("file")?) {
        (Some(name), None) => {
            let value = (secrets.env)(&name);
            ("env", value.ok_or_else(|| section.fault("env", "the environment has no variable of that name"))?)
        }
        (None, Some(file)) => {
            let value = std::fs::read_to_string(secrets.folder.join(file));
            ("file", value.map_err(|error| section.fault("file", format!("cannot be read: {}", error.kind())))?)
        }
        _ => return Err(SourcesFault::new(section.path, "must be { env = \"NAME\" } or { file = \"path\" }")),
    };
    let path = section.key(key);
    section.refuse_rest()?;
    let secret = found.trim();
    if secret.is_empty() {
        return Err(SourcesFault::new(path, "the secret is empty"));
    }
    header_value(&format!("{prefix}{secret}"), &path)
}

fn header_value(text: &str, path: &str) -> Result<HeaderValue, SourcesFault> {
    HeaderValue::from_str(text).map_err(|_| SourcesFault::new(path, "a header's value must be visible ASCII"))
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// A table of the file. Known keys are taken out of it; keys that remain are unknown.
struct Section {
    path: String,
    table: Table,
}

impl Section {
    fn of(value: toml::Value, path: String) -> Result<Self, SourcesFault> {
        match value {
            toml::Value::Table(table) => Ok(Self { path, table }),
            _ => Err(SourcesFault::new(path, "must be a table")),
        }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn fault(&self, key: &str, problem: impl Into<String>) -> SourcesFault {
        SourcesFault::new(self.key(key), problem)
    }

    fn section(&mut self, key: &str) -> Result<Option<Self>, SourcesFault> {
        let path = self.key(key);
        self.table.remove(key).map(|value| Self::of(value, path)).transpose()
    }

    fn string(&mut self, key: &str) -> Result<Option<String>, SourcesFault> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.fault(key, "must be a string")),
        }
    }

    fn required(&mut self, key: &str) -> Result<String, SourcesFault> {
        self.string(key)?.ok_or_else(|| self.fault(key, "is missing"))
    }

    fn integer(&mut self, key: &str, low: i64, high: i64) -> Result<Option<i64>, SourcesFault> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(toml::Value::Integer(number)) if (low..=high).contains(&number) => Ok(Some(number)),
            Some(_) => Err(self.fault(key, format!("must be a whole number from {low} to {high}"))),
        }
    }

    /// A JSON pointer (RFC 6901) to a value below the root.
    fn pointer(&self, key: &str, text: String) -> Result<String, SourcesFault> {
        let is_pointer = text.is_empty() && key == "attributes" || text.starts_with('/');
        if is_pointer { Ok(text) } else { Err(self.fault(key, "must be a JSON pointer such as /data/photo")) }
    }

    fn refuse_rest(self) -> Result<(), SourcesFault> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.fault(key, "there is no such setting")),
        }
    }
}
