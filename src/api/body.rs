//! A JSON body as bytes: of the right type, whole, and not too large.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};

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
