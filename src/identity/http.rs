//! An identity source over HTTP: one call gives one JSON answer, and JSON pointers find the portrait and the record in
//! it.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use recloser::{AsyncRecloser, Recloser};
use serde_json::{Map, Value};

use super::settings::{Attributes, HttpSettings, SourcesFault};
use super::{FoundIdentity, MAX_ATTRIBUTES, Permanent, SourceError, Transient, portrait};
use crate::domain::fair_limit::FairLimit;
use crate::domain::identity::{IdNumber, IdType, IdentityRecord};
use crate::domain::ids::TenantId;
use crate::net::{self, Client, HeaderValue, Request, Response, StatusCode, Target, header};

/// Most bytes of an answer: a portrait in Base64, and attributes.
const MAX_ANSWER: usize = 16 << 20;
/// Calls that test whether a failed source works again.
const TRIALS: usize = 1;
/// Everything but the unreserved characters of RFC 3986, so that a number stays within its part of the URL.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An identity source over HTTP.
pub(super) struct HttpSource {
    id_type: IdType,
    settings: HttpSettings,
    client: Client,
    breaker: AsyncRecloser,
    limit: FairLimit<TenantId>,
}

impl HttpSource {
    /// # Errors
    /// When the URL must not be called, or the number could change the host.
    pub(super) fn new(id_type: IdType, settings: HttpSettings, client: Client) -> Result<Self, SourcesFault> {
        let wrong = |problem: String| SourcesFault::new(format!("sources.{}.url", id_type.name()), problem);
        let fill = |number: &str| fill_url(&settings.url, id_type, number);
        let unknown = ["{id_number}", "{id_type}"]
            .iter()
            .fold(settings.url.clone(), |url, placeholder| url.replace(placeholder, ""));
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
        let limit = FairLimit::new(settings.calls_at_once);
        Ok(Self { id_type, settings, client, breaker: breaker.into(), limit })
    }

    pub(super) fn limit(&self) -> &FairLimit<TenantId> {
        &self.limit
    }

    pub(super) async fn find(&self, number: &IdNumber) -> Result<Option<FoundIdentity>, SourceError> {
        // ".." would lead to another path even when it is encoded. No number looks like this.
        if !number.reveal().contains(char::is_alphanumeric) {
            return Ok(None);
        }
        let url = fill_url(&self.settings.url, self.id_type, number.reveal());
        let target = self.client.guard().check(&url).map_err(Permanent::Address)?;
        // Only faults that may pass count against the source.
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
        if body.as_ref().is_some_and(|body| self.says_not_found(body)) {
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
        // The portrait is removed first, so that it is not among the attributes.
        let portrait = match take(&mut body, &self.settings.portrait) {
            // A person without a photo counts as not found, because there is nothing to compare with.
            Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text,
            // An absent value is a fault: the pointer may be wrong, and then nobody would ever be found.
            _ => return Err(Permanent::Malformed("there is no text at the portrait's place")),
        };
        let portrait = portrait::read(&portrait);
        let portrait =
            portrait.ok_or(Permanent::Malformed("the portrait is not Base64 of a JPEG, PNG or WebP file"))?;
        let attributes: Map<String, Value> = match &self.settings.attributes {
            Attributes::Whole(pointer) => match body.pointer_mut(pointer).map(Value::take) {
                Some(Value::Object(attributes)) => attributes,
                _ => return Err(Permanent::Malformed("there is no object at the attributes' place")),
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

/// Removes the value at a JSON pointer and returns it. In an array, null takes its place.
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
    template
        .replace("{id_type}", id_type.name())
        .replace("{id_number}", &utf8_percent_encode(number, RESERVED).to_string())
}

fn fill_body(template: &Value, id_type: IdType, number: &str) -> Value {
    match template {
        Value::String(text) => Value::String(text.replace("{id_type}", id_type.name()).replace("{id_number}", number)),
        Value::Array(items) => items.iter().map(|item| fill_body(item, id_type, number)).collect(),
        Value::Object(fields) => {
            let filled = fields.iter().map(|(name, value)| (name.clone(), fill_body(value, id_type, number)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_stays_within_its_part_of_the_url() {
        for (number, encoded) in [
            ("12-3.x_y~", "12-3.x_y~"),
            ("\u{e9} ", "%C3%A9%20"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("{id_type}", "%7Bid_type%7D"),
        ] {
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
    fn a_value_that_is_taken_is_removed() {
        let mut value = json!({ "a": { "b/c": 1, "d": [2, 3] } });
        assert_eq!(take(&mut value, "/a/b~1c"), Some(json!(1)));
        assert_eq!(take(&mut value, "/a/d/1"), Some(json!(3)));
        assert_eq!(take(&mut value, "/a/x"), None);
        assert_eq!(take(&mut value, "/x/y"), None);
        assert_eq!(value, json!({ "a": { "d": [2, null] } }));
    }
}
