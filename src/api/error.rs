//! Errors of the API: RFC 9457 problem documents with a stable `code`.

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use crate::domain::ids::RequestId;
use crate::domain::request::RequestFault;
use crate::{images, intake, store, webhooks};

/// An error: a problem document (RFC 9457) with a stable code.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    #[schema(format = "uri-reference", examples("about:blank"))]
    r#type: &'static str,
    /// The status in words.
    #[schema(examples("Bad Request"))]
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable, for programs.
    #[schema(examples("missing_field"))]
    code: &'static str,
    /// For people: what is wrong, and what to do.
    detail: String,
    /// The field at fault, as a path such as `request.photo`. Absent if no field is at fault.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The 12 characters to quote. Absent if there is no job.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// An error before it is written: as a problem document, or in the words of another product.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) field: Option<String>,
    pub(super) detail: String,
    /// The request id of the job that ended with this error.
    pub(super) request_id: Option<RequestId>,
    /// Seconds to wait before another try.
    pub(super) retry_after: Option<u64>,
}

impl ApiError {
    /// The same error with `Retry-After`: another try makes sense after this time.
    pub(super) fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    pub(super) fn new(status: StatusCode, code: &'static str, detail: &str) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(5);
        Self { status, code, field: None, detail: detail.to_owned(), request_id: None, retry_after }
    }

    /// 400: a field of the request is at fault.
    pub(super) fn of_field(code: &'static str, field: &str, detail: &str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, code, detail) }
    }

    /// 404: the same answer whether the job does not exist or belongs to somebody else.
    pub(super) fn no_such_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such job")
    }

    /// 409: the request contradicts what is stored already.
    pub(super) fn conflict(code: &'static str, field: Option<&str>, detail: &str) -> Self {
        Self { field: field.map(str::to_owned), ..Self::new(StatusCode::CONFLICT, code, detail) }
    }

    /// 404: the same answer whether the thing does not exist or belongs to somebody else.
    pub(super) fn no_such(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", &format!("there is no such {what}"))
    }

    /// 404: the job exists, but its kind has no report.
    pub(super) fn no_report() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "this job is not a face_match and has no report: read it at /v1/jobs/{id}",
        )
    }

    /// 503: the database or the blob store does not answer.
    fn unavailable() -> Self {
        let detail = "a part of the service does not answer: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// 500: a fault of ours that the caller cannot help.
    pub(super) fn internal() -> Self {
        let detail = "an unexpected fault of ours: try again, and tell your operator if it stays";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The same error, with the field at fault.
    pub(super) fn at(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// A fault that the domain found in a request.
    pub(super) fn of_request(status: StatusCode, fault: RequestFault) -> Self {
        Self { field: fault.field, ..Self::new(status, fault.code, &fault.message) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail.clone(),
            field: self.field.clone(),
            request_id: self.request_id.as_ref().map(ToString::to_string),
        };
        let mut response = (self.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
        }
        // `compat` may write it in the words of another product.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        error!(%error, "the database failed a request");
        Self::unavailable()
    }
}

impl From<intake::Error> for ApiError {
    fn from(error: intake::Error) -> Self {
        match error {
            intake::Error::Refused(fault) => Self::of_request(StatusCode::BAD_REQUEST, fault),
            intake::Error::Forbidden(fault) => Self::of_request(StatusCode::FORBIDDEN, fault),
            intake::Error::InsufficientFunds(fault) => Self::of_request(StatusCode::PAYMENT_REQUIRED, fault),
            intake::Error::TooManyJobs(fault) => {
                Self::of_request(StatusCode::TOO_MANY_REQUESTS, fault).after(Duration::from_secs(5))
            }
            intake::Error::Conflict(fault) => Self::of_request(StatusCode::CONFLICT, fault),
            intake::Error::Store(error) => error.into(),
            intake::Error::Stopped => Self::unavailable(),
            intake::Error::Media(error) => {
                error!(%error, "the blob store failed a request");
                Self::unavailable()
            }
        }
    }
}

impl From<webhooks::Error> for ApiError {
    fn from(error: webhooks::Error) -> Self {
        match error {
            webhooks::Error::Store(error) => error.into(),
            other => {
                error!(error = %other, "a webhook secret could not be created");
                Self::internal()
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
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many images are being rendered: try again")
            }
            // Neither arises while requests are served.
            images::Error::Unbound(_) | images::Error::ManyUnknown { .. } => Self::internal(),
            images::Error::Store(error) => error.into(),
            images::Error::Media(error) => intake::Error::Media(error).into(),
        }
    }
}

pub(super) async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path: / leads to the documentation")
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take that method: see /docs",
    )
}

/// Answers 500 after a panic. The panic's message may quote anything, so it is not shown or logged here.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    error!("a handler panicked");
    ApiError::internal().into_response()
}
