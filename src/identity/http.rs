//! A source asked over HTTP: one call, one JSON answer, a portrait and a record picked out of it by JSON pointers.

use bytes::Bytes;
use recloser::{AsyncRecloser, Recloser};
use serde_json::{Map, Value};

use super::settings::{Attributes, HttpSettings, SettingsFault};
use super::{FoundIdentity, MAX_ATTRIBUTES, Permanent, SourceError, Transient, portrait};
use crate::domain::identity::{IdNumber, IdType, IdentityRecord};
use crate::net::{self, Client, HeaderValue, Request, Response, StatusCode, Target, header};

/// A portrait in Base64, and room for the rest.
const MAX_ANSWER: usize = 16 << 20;
/// Calls that are let through when a broken circuit is tried again.
const TRIALS: usize = 1;

/// A source that is asked over HTTP.
pub(super) struct HttpSource {
    id_type: IdType,
    settings: HttpSettings,
    client: Client,
    breaker: AsyncRecloser,
}

impl HttpSource {
    /// # Errors
    /// When the URL may not be called, or the number could change whom it calls.
    pub(super) fn new(id_type: IdType, settings: HttpSettings, client: Client) -> Result<Self, SettingsFault> {
        let wrong = |problem: String| SettingsFault::new(format!("sources.{}.url", id_type.name()), problem);
        let fill = |number: &str| fill_url(&settings.url, id_type, number);
        let unknown = ["{id_number}", "{id_type}"].iter().fold(settings.url.clone(), |url, it| url.replace(it, ""));
        if unknown.contains(['{', '}']) {
            return Err(wrong("the only placeholders are {id_number} and {id_type}".to_owned()));
        }
        let target = client.guard().check(&fill("1")).map_err(|refusal| wrong(refusal.to_string()))?;
        let other = client.guard().check(&fill("2"));
        if !other.is_ok_and(|other| other.origin() == target.origin()) {
            return Err(wrong("the ID number must not stand in the host".to_owned()));
        }
        let breaker = Recloser::custom()
            .closed_len(settings.breaker.calls)
            .error_rate_closed(settings.breaker.failure_rate)
            .half_open_len(TRIALS)
            .open_wait(settings.breaker.open)
            .build();
        Ok(Self { id_type, settings, client, breaker: breaker.into() })
    }

    pub(super) async fn find(&self, number: &IdNumber) -> Result<Option<FoundIdentity>, SourceError> {
        // ".." would lead to another path, however it is encoded. There is no such number.
        if !number.reveal().contains(char::is_alphanumeric) {
            return Ok(None);
        }
        let url = fill_url(&self.settings.url, self.id_type, number.reveal());
        let target = self.client.guard().check(&url).map_err(Permanent::Address)?;
        // Only what another attempt may mend says that the source is in trouble.
        let is_trouble = |fault: &SourceError| matches!(fault, SourceError::Transient(_));
        self.breaker.call_with(is_trouble, self.ask(target, number)).await.map_err(|fault| match fault {
            recloser::Error::Inner(fault) => fault,
            recloser::Error::Rejected => Transient::Suspended.into(),
        })
    }

    async fn ask(&self, target: Target, number: &IdNumber) -> Result<Option<FoundIdentity>, SourceError> {
        let settings = &self.settings;
        let mut headers = settings.headers.clone();
        let body = settings.body.as_ref().map(|template| {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Bytes::from(fill_body(template, self.id_type, number.reveal()).to_string())
        });
        let (method, timeout) = (settings.method.clone(), settings.timeout);
        let request = Request { method, target, headers, body, timeout, max_answer: MAX_ANSWER };
        match self.client.send(request).await {
            Ok(answer) => self.read(&answer),
            Err(net::Error::Refused(refusal)) => Err(Permanent::Address(refusal).into()),
            Err(net::Error::TooLarge { .. }) => Err(Permanent::Malformed("it is too large").into()),
            Err(fault) => Err(Transient::Call(fault).into()),
        }
    }

    fn read(&self, answer: &Response) -> Result<Option<FoundIdentity>, SourceError> {
        let status = answer.status;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
            return Err(Transient::Status(status.as_u16()).into());
        }
        let refused = Permanent::Refused(status.as_u16());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(refused.into());
        }
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if body.as_ref().is_some_and(|it| self.says_not_found(it)) {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(refused.into());
        }
        let body = body.ok_or(Permanent::Malformed("it is not JSON"))?;
        Ok(self.pick(body)?)
    }

    fn says_not_found(&self, body: &Value) -> bool {
        let Some(sign) = &self.settings.not_found else { return false };
        match (body.pointer(&sign.pointer), &sign.equals) {
            (None, _) => false,
            (Some(value), Some(wanted)) => value == wanted,
            (Some(value), None) => !matches!(value, Value::Null | Value::Bool(false)),
        }
    }

    fn pick(&self, mut body: Value) -> Result<Option<FoundIdentity>, Permanent> {
        // Taken out first, so that it is not among the attributes.
        let portrait = match take(&mut body, &self.settings.portrait) {
            // A person without a photo is not found: there is nothing to compare with.
            Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text,
            // Absent is something else: the pointer may be wrong, and nobody would ever be found.
            _ => return Err(Permanent::Malformed("there is no text where the portrait should be")),
        };
        let portrait = portrait::read(&portrait);
        let portrait =
            portrait.ok_or(Permanent::Malformed("the portrait is not Base64 of a JPEG, PNG or WebP file"))?;
        let attributes: Map<String, Value> = match &self.settings.attributes {
            Attributes::Whole(pointer) => match body.pointer_mut(pointer).map(Value::take) {
                Some(Value::Object(attributes)) => attributes,
                _ => return Err(Permanent::Malformed("there is no object where the attributes should be")),
            },
            Attributes::Named(named) => {
                let found = named.iter().filter_map(|(name, at)| Some((name.clone(), body.pointer(at)?.clone())));
                found.collect()
            }
        };
        let record = IdentityRecord { attributes };
        if Value::Object(record.attributes.clone()).to_string().len() > MAX_ATTRIBUTES {
            return Err(Permanent::Malformed("the attributes are too large"));
        }
        Ok(Some(FoundIdentity { record, portrait }))
    }
}

/// Removes the value at a JSON pointer from its object.
fn take(root: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, name) = pointer.rsplit_once('/')?;
    let name = name.replace("~1", "/").replace("~0", "~");
    match root.pointer_mut(parent)? {
        Value::Object(object) => object.shift_remove(&name),
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?).map(Value::take),
        _ => None,
    }
}

fn fill_url(template: &str, id_type: IdType, number: &str) -> String {
    template.replace("{id_type}", id_type.name()).replace("{id_number}", &percent_encoded(number))
}

fn fill_body(template: &Value, id_type: IdType, number: &str) -> Value {
    match template {
        Value::String(text) => Value::String(text.replace("{id_type}", id_type.name()).replace("{id_number}", number)),
        Value::Array(items) => items.iter().map(|it| fill_body(it, id_type, number)).collect(),
        Value::Object(fields) => {
            let filled = fields.iter().map(|(name, it)| (name.clone(), fill_body(it, id_type, number)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    }
}

/// Everything but the unreserved characters of RFC 3986, so that a number stays within its part of the URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => {
                encoded.push('%');
                encoded.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_stays_within_its_part_of_the_url() {
        for (number, encoded) in [("12-3", "12-3"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("{id_type}", "%7Bid_type%7D")] {
            let url = fill_url("https://x.example/{id_type}/{id_number}", IdType::Bvn, number);
            assert_eq!(url, format!("https://x.example/bvn/{encoded}"));
        }
    }

    #[test]
    fn a_number_stays_within_its_string_of_the_body() {
        let template = json!({ "who": ["{id_type}:{id_number}", 7, null], "deep": { "n": "{id_number}" } });
        let number = r#""},"admin":true,"x":{"y":""#;
        let filled = fill_body(&template, IdType::Nin, number);
        assert_eq!(filled, json!({ "who": [format!("nin:{number}"), 7, null], "deep": { "n": number } }));
        assert_eq!(serde_json::from_str::<Value>(&filled.to_string()).unwrap(), filled);
    }

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut value = json!({ "a": { "b/c": 1, "d": [2, 3] } });
        assert_eq!(take(&mut value, "/a/b~1c"), Some(json!(1)));
        assert_eq!(take(&mut value, "/a/d/1"), Some(json!(3)));
        assert_eq!(take(&mut value, "/a/x"), None);
        assert_eq!(take(&mut value, "/x/y"), None);
        assert_eq!(value, json!({ "a": { "d": [2, null] } }));
    }
}
