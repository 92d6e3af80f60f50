//! A JSON body as bytes: of the right type, whole, and not too large.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;

/// The bytes of a JSON body; what is in them is the reader's business. A missing content type counts as JSON.
pub(super) struct JsonBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            let detail = "send JSON: Content-Type: application/json";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        whole(request, state).await.map(Self)
    }
}

/// For a whole body: each of its parts may come slowly, all together may not hold their memory for ever.
const PATIENCE: Duration = Duration::from_mins(2);

/// Reads a body within the route's limit.
pub(super) async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let late = |_| {
        let detail = "the body did not come within two minutes";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail)
    };
    let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await.map_err(late)?;
    read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = "the body is larger than this path takes: 80 MiB for a job, 14 MiB for a likeness check or an ID match, \
                          64 KiB for settings; upload images one by one (POST /v1/images) and name them in a job";
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        }
        _ => {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "unreadable_body", "the body did not come whole, or too slowly")
        }
    })
}

/// Reads a body that may be left out: no body counts as an object without fields.
pub(super) fn read_optional<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    read(if body.is_empty() { b"{}" } else { body })
}

/// Through a map, because serde takes a list for a struct too.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let object = serde_json::from_slice::<Map<String, Value>>(body);
    object.and_then(|it| serde_json::from_value(Value::Object(it))).map_err(|error| {
        let detail = format!("the body is not what this path takes: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", &detail)
    })
}

/// An object whose fields are taken out one by one, so that the one at fault can be named.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn of(body: &[u8]) -> Result<Self, ApiError> {
        read(body).map(Self)
    }

    /// Of a body that may be left out.
    pub(super) fn of_optional(body: &[u8]) -> Result<Self, ApiError> {
        read_optional(body).map(Self)
    }

    /// The field, where it is there; `expected` says what it must be. Null is a value of some types.
    pub(super) fn take<T: DeserializeOwned>(&mut self, field: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.0.remove(field) else { return Ok(None) };
        let wrong = |_| ApiError::of_field("invalid_field", field, &format!("{field} must be {expected}"));
        serde_json::from_value(value).map(Some).map_err(wrong)
    }

    /// Nothing may be left: a misspelt field that is passed over would mislead.
    pub(super) fn end(self, known: &str) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(field) => {
                let detail = format!("there is no field {field} here; there are: {known}");
                Err(ApiError::of_field("unknown_field", field, &detail))
            }
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(&*kind, "" | "application/json" | "text/json")
        || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_its_many_names_is_json_and_nothing_else_is() {
        let is = |kind: &str| is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(is_json(&HeaderMap::new()));
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
            assert!(is(kind), "{kind}");
        }
        for kind in ["image/jpeg", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"]
        {
            assert!(!is(kind), "{kind}");
        }
    }
}
