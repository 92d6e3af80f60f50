//! Errors of the native API: RFC 9457 problem documents with a stable `code`.

use std::any::Any;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;
use utoipa::ToSchema;

use crate::domain::ids::RequestId;
use crate::domain::request::RequestFault;
use crate::{images, intake, store, webhooks};

/// An error: a problem document (RFC 9457) with a stable code.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's document alone")]
pub(super) struct Problem {
    #[schema(format = "uri-reference", examples("about:blank"))]
    r#type: String,
    /// The status in words.
    #[schema(examples("Bad Request"))]
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable, for programs.
    #[schema(examples("missing_field"))]
    code: String,
    /// For people: what is wrong, and what to do.
    detail: String,
    /// The field at fault, as a path such as `request.photo`; absent where none is.
    #[schema(nullable = false)]
    field: Option<String>,
    /// The 12 characters to quote, where there is a job.
    request_id: Option<String>,
}

/// An error, as it is answered: as a problem document, or in a face's own words.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) field: Option<String>,
    pub(super) detail: String,
    /// Of the job that ended like this.
    pub(super) request_id: Option<RequestId>,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
}

impl ApiError {
    /// Another try makes sense after this time.
    pub(super) fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    pub(super) fn new(status: StatusCode, code: &'static str, detail: &str) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(5);
        Self { status, code, field: None, detail: detail.to_owned(), request_id: None, retry_after }
    }

    pub(super) fn of_field(code: &'static str, field: &str, detail: &str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, code, detail) }
    }

    /// The same answer whether it does not exist or belongs to somebody else.
    pub(super) fn no_such_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such job")
    }

    /// What is there already stands in the way.
    pub(super) fn conflict(code: &'static str, field: Option<&str>, detail: &str) -> Self {
        Self { field: field.map(str::to_owned), ..Self::new(StatusCode::CONFLICT, code, detail) }
    }

    /// Likewise, of anything else.
    pub(super) fn no_such(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", &format!("there is no such {what}"))
    }

    /// The job is there, and of a kind that has no report.
    pub(super) fn no_report() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "this job is no face_match: read it at /v1/jobs/{id}")
    }

    /// At fault is that field of the request.
    pub(super) fn at(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    pub(super) fn of_request(status: StatusCode, fault: RequestFault) -> Self {
        Self { field: fault.field, ..Self::new(status, fault.code, &fault.message) }
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
        if let Some(field) = &self.field {
            body["field"] = json!(field);
        }
        if let Some(request_id) = &self.request_id {
            body["request_id"] = json!(request_id);
        }
        let mut response =
            (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
        }
        // For `faces`, which may spell it otherwise.
        response.extensions_mut().insert(self);
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

impl From<webhooks::Error> for ApiError {
    fn from(error: webhooks::Error) -> Self {
        match error {
            webhooks::Error::Store(error) => error.into(),
            other => {
                error!(error = %other, "a webhook secret could not be made");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an unexpected fault of ours")
            }
        }
    }
}

impl From<images::Error> for ApiError {
    fn from(error: images::Error) -> Self {
        let detail = error.to_string();
        match error {
            images::Error::Image(fault) => {
                let status = match fault.code() {
                    "image_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                Self::new(status, fault.code(), &detail)
            }
            images::Error::Forged => Self::new(StatusCode::FORBIDDEN, "forged_url", &detail),
            images::Error::Expired => {
                Self::new(StatusCode::GONE, "url_expired", "the URL has expired: read the report again for a new one")
            }
            images::Error::Erased => Self::new(StatusCode::GONE, "image_erased", &detail),
            images::Error::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many images are being made: try again")
            }
            images::Error::Store(error) => error.into(),
            images::Error::Media(error) => intake::Error::Media(error).into(),
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
