//! Request bodies: their declared type, their size, and JSON objects read field by field.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::domain::suggestion::nearest;

/// The bytes of a JSON body, not parsed yet. A missing content type counts as JSON.
pub(super) struct JsonBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let declared = declared_type(request.headers());
        if !is_json(&declared) {
            return Err(unsupported_type(&declared, SEND_JSON));
        }
        whole(request, state).await.map(Self)
    }
}

/// The time limit for a whole body. A slow sender must not hold its share of memory for ever.
const PATIENCE: Duration = Duration::from_mins(2);

/// Characters of an unknown field's name that its error repeats.
const SHOWN: usize = 64;

/// Reads a body within the route's limit.
pub(super) async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let late = |_| {
        let detail = "the body did not arrive within two minutes: send it again over a faster connection";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail)
    };
    let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await.map_err(late)?;
    read.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = "the body is too large. The limits are 80 MiB for a job, 14 MiB for a likeness check or an ID \
                          match, and 64 KiB for settings. Upload large images one by one (POST /v1/images) and name \
                          them in a job";
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
        }
        let detail = "the body ended early or came too slowly: send it again";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "unreadable_body", detail)
    })
}

/// Reads a body that may be absent. An absent body counts as an empty object.
pub(super) fn read_optional<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    read(if body.is_empty() { b"{}" } else { body })
}

/// Reads a JSON object. It goes through a map, because serde would also read a struct from an array.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let object = serde_json::from_slice::<Map<String, Value>>(body);
    object.and_then(|fields| serde_json::from_value(Value::Object(fields))).map_err(|error| {
        let detail = format!("the body is not a JSON object that this path takes: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", &detail)
    })
}

/// A JSON object whose fields are taken out one by one, so that an error can name the field at fault.
pub(super) struct BodyFields(Map<String, Value>);

impl BodyFields {
    pub(super) fn of(body: &[u8]) -> Result<Self, ApiError> {
        read(body).map(Self)
    }

    /// Reads a body that may be absent.
    pub(super) fn of_optional(body: &[u8]) -> Result<Self, ApiError> {
        read_optional(body).map(Self)
    }

    /// Takes out a field, if it is there; `expected` says what it must be. For some types null is a value.
    pub(super) fn take<T: DeserializeOwned>(&mut self, field: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.0.remove(field) else { return Ok(None) };
        let wrong = |_| ApiError::of_field("invalid_field", field, &format!("{field} must be {expected}"));
        serde_json::from_value(value).map(Some).map_err(wrong)
    }

    /// Refuses fields that are left over: ignoring a mistyped name would do something else than the caller asked for.
    pub(super) fn end(self, known: &str) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let shown: String = name.chars().take(SHOWN).collect();
                let field = shown.as_str();
                let detail = match nearest(name, &known.split(", ").collect::<Vec<_>>()) {
                    Some(meant) => format!("unknown field {field}, did you mean {meant}? This path takes {known}"),
                    None => format!("unknown field {field}: this path takes {known}"),
                };
                Err(ApiError::of_field("unknown_field", field, &detail))
            }
        }
    }
}

/// How to send JSON, for the error that refuses another type.
const SEND_JSON: &str = "send JSON, with images in Base64: \
                         curl -H 'Content-Type: application/json' --data @request.json ...";

/// The media type of `Content-Type` in lower case, without parameters; empty without that header.
pub(super) fn declared_type(headers: &HeaderMap) -> String {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// 415: says which type was found and what to send instead.
pub(super) fn unsupported_type(declared: &str, instead: &str) -> ApiError {
    let found = match declared {
        "" => "the request has no Content-Type".to_owned(),
        // Echoed into an error: no longer than a media type needs.
        found => format!("the body's Content-Type is {}", found.chars().take(100).collect::<String>()),
    };
    let why = match declared {
        "multipart/form-data" => " (curl -F sends that)",
        "application/x-www-form-urlencoded" => " (curl -d sends that unless a header says otherwise)",
        _ => "",
    };
    let detail = format!("{found}{why}, which this path does not take: {instead}");
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", &detail)
}

fn is_json(declared: &str) -> bool {
    matches!(declared, "" | "application/json" | "text/json")
        || (declared.starts_with("application/") && declared.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_its_many_names_is_json_and_nothing_else_is() {
        let of = |kind: &str| declared_type(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]));
        let is = |kind: &str| is_json(&of(kind));
        assert!(is_json(&declared_type(&HeaderMap::new())));
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
            assert!(is(kind), "{kind}");
        }
        for kind in ["image/jpeg", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"]
        {
            assert!(!is(kind), "{kind}");
        }
    }

    #[test]
    fn an_unsupported_type_is_named_with_what_to_send_instead() {
        for (declared, found) in [
            ("", "the request has no Content-Type, "),
            ("multipart/form-data", "the body's Content-Type is multipart/form-data (curl -F sends that), "),
            ("application/x-www-form-urlencoded", "x-www-form-urlencoded (curl -d sends that unless a header says"),
            ("text/plain", "the body's Content-Type is text/plain, which this path does not take: "),
        ] {
            let error = unsupported_type(declared, SEND_JSON);
            assert_eq!((error.status.as_u16(), error.code), (415, "unsupported_media_type"));
            assert!(error.detail.contains(found), "{}", error.detail);
            assert!(error.detail.ends_with(SEND_JSON), "{}", error.detail);
        }
        assert!(unsupported_type(&"x".repeat(10_000), SEND_JSON).detail.len() < 400);
    }
}
