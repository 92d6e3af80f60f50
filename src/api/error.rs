//! Errors of the native API: RFC 9457 problem documents with a stable `code`.

use std::any::Any;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;
use utoipa::ToSchema;

use crate::domain::request::RequestFault;
use crate::{intake, store};

/// An error: a problem document (RFC 9457) with a stable code.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's document alone")]
pub(super) struct Problem {
    r#type: String,
    title: String,
    status: u16,
    /// Stable, for programs.
    code: String,
    /// For people: what is wrong, and what to do.
    detail: String,
    /// The field at fault, as a path such as `request.photo`.
    field: Option<String>,
}

/// A problem, as it is answered.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    field: Option<String>,
    detail: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: &str) -> Self {
        Self { status, code, field: None, detail: detail.to_owned() }
    }

    pub(super) fn of_field(code: &'static str, field: &str, detail: &str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, code, detail) }
    }

    /// The same answer whether it does not exist or belongs to somebody else.
    pub(super) fn no_such_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such job")
    }

    /// The job is there, and of a kind that has no report.
    pub(super) fn no_report() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "this job is no face_match: read it at /v1/jobs/{id}")
    }

    fn of_request(status: StatusCode, fault: RequestFault) -> Self {
        Self { status, code: fault.code, field: fault.field, detail: fault.message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = json!(field);
        }
        let mut response =
            (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        error!(%error, "the database failed a request");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "a part of the service does not answer: try again")
    }
}

impl From<intake::Error> for ApiError {
    fn from(error: intake::Error) -> Self {
        match error {
            intake::Error::Refused(fault) => Self::of_request(StatusCode::BAD_REQUEST, fault),
            intake::Error::Forbidden(fault) => Self::of_request(StatusCode::FORBIDDEN, fault),
            intake::Error::InsufficientFunds(fault) => Self::of_request(StatusCode::PAYMENT_REQUIRED, fault),
            intake::Error::Conflict(fault) => Self::of_request(StatusCode::CONFLICT, fault),
            intake::Error::Store(error) => error.into(),
            intake::Error::Stopped => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "a part of the service does not answer: try again",
            ),
            intake::Error::Media(error) => {
                error!(%error, "the blob store failed a request");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "a part of the service does not answer: try again",
                )
            }
        }
    }
}

pub(super) async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take that method")
}

/// The panic's message may quote anything: it goes nowhere.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    error!("a handler panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an unexpected fault of ours").into_response()
}
