//! The desk's errors, as a page for people and as JSON for the script; and the security headers of every answer.

use askama::Template as _;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::json;
use tracing::error;
use url::form_urlencoded::byte_serialize;

use super::Desk;
use super::csrf;
use super::pages::{OnwardLink, PageFrame, ProblemPage};
use crate::domain::review::OpinionFault;
use crate::{images, store};

/// Allows our own files only: no inline script or style, no framing by other pages, no form to another site.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Set on every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Why the desk refused a request or could not answer it.
#[derive(Debug, Clone)]
pub(super) enum DeskError {
    /// No session, or it has ended.
    SignedOut,
    /// The CSRF token or the origin is wrong.
    Forged,
    /// This reviewer may not do it; in a sentence, who may.
    Forbidden(&'static str),
    NoSuchCase,
    /// The case's state or holder does not allow it; in a sentence, why.
    Conflict(String),
    /// A field of the form is not valid.
    Invalid {
        field: Option<&'static str>,
        detail: String,
    },
    /// Too many requests at the same time.
    Busy,
    /// The database or the blob store does not answer.
    Unavailable,
}

impl DeskError {
    fn status(&self) -> StatusCode {
        match self {
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::Forged | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NoSuchCase => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Forged => "forged",
            Self::Forbidden(_) => "forbidden",
            Self::NoSuchCase => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Invalid { .. } => "invalid",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }

    /// What happened.
    fn heading(&self) -> &'static str {
        match self {
            Self::SignedOut => "Your session has ended",
            Self::Forged => "This request did not come from the desk",
            Self::Forbidden(_) => "You may not do this",
            Self::NoSuchCase => "Case not found",
            Self::Conflict(_) => "This case has changed",
            Self::Invalid { .. } => "Please check the form",
            Self::Busy | Self::Unavailable => "The desk cannot answer right now",
        }
    }

    /// Why, and what to do.
    fn detail(&self) -> String {
        match self {
            Self::SignedOut => "Sign in again to continue.".to_owned(),
            Self::Forged => {
                "Nothing was changed. Perhaps you signed in again in another tab. Reload the page, then try again."
                    .to_owned()
            }
            Self::Forbidden(why) => (*why).to_owned(),
            Self::NoSuchCase => "Check the address. The case may also belong to another organisation.".to_owned(),
            Self::Conflict(why) => why.clone(),
            Self::Invalid { detail, .. } => sentence(detail),
            Self::Busy => "Too many people use the desk at this moment. Wait a few seconds, then try again.".to_owned(),
            Self::Unavailable => {
                "A part of the service does not respond. Nothing that you saved is lost. Wait a moment, then try again."
                    .to_owned()
            }
        }
    }
}

/// The text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

impl IntoResponse for DeskError {
    /// Only the status. [`finish`] adds the body, because it knows whether a person or the script asked.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::Error> for DeskError {
    fn from(error: store::Error) -> Self {
        error!(%error, "the database did not answer the desk");
        Self::Unavailable
    }
}

impl From<images::Error> for DeskError {
    fn from(error: images::Error) -> Self {
        error!(%error, "the desk's pictures cannot be prepared");
        Self::Unavailable
    }
}

impl From<askama::Error> for DeskError {
    fn from(error: askama::Error) -> Self {
        error!(%error, "a page of the desk could not be rendered");
        Self::Unavailable
    }
}

impl From<OpinionFault> for DeskError {
    fn from(fault: OpinionFault) -> Self {
        Self::Invalid { field: Some(fault.field), detail: fault.what }
    }
}

/// Refuses POST requests from other sites, gives errors their body, and sets the security headers.
pub(super) async fn finish(State(_): State<Desk>, request: Request, next: Next) -> Response {
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
    let mut response = match method {
        Method::POST if !csrf::is_same_origin(&headers) => DeskError::Forged.into_response(),
        _ => next.run(request).await,
    };
    if let Some(error) = response.extensions_mut().remove::<DeskError>() {
        response = error_response(&error, &method, &uri, &headers);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn error_response(error: &DeskError, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    if is_by_script(headers) {
        let field = if let DeskError::Invalid { field, .. } = error { *field } else { None };
        let body = json!({ "code": error.code(), "detail": error.detail(), "field": field });
        return (error.status(), Json(body)).into_response();
    }
    if matches!(error, DeskError::SignedOut) {
        return to_sign_in(method, uri).into_response();
    }
    let page = ProblemPage {
        frame: PageFrame::signed_out(error.heading()),
        heading: error.heading(),
        detail: error.detail(),
        onward: way_on(error, uri),
    };
    match page.render() {
        Ok(page) => (error.status(), Html(page)).into_response(),
        Err(_) => error.status().into_response(),
    }
}

fn is_by_script(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    headers.contains_key(csrf::HEADER)
        || accepts.starts_with("application/json")
        || accepts.starts_with("text/event-stream")
}

/// To the sign-in page, which leads back to the page that was asked for. A form is not sent again.
fn to_sign_in(method: &Method, uri: &Uri) -> Redirect {
    let page = uri.path_and_query().filter(|_| *method == Method::GET).map_or("/desk/queue", PathAndQuery::as_str);
    let next: String = byte_serialize(page.as_bytes()).collect();
    Redirect::to(&format!("/desk/sign-in?ended=1&next={next}"))
}

/// Back to the case, where the reviewer can repair what was refused; else to the queue.
fn way_on(error: &DeskError, uri: &Uri) -> OnwardLink {
    let case = uri.path().strip_prefix("/desk/cases/").and_then(|rest| rest.split_once('/')).map(|(id, _)| id);
    match case.filter(|_| matches!(error, DeskError::Invalid { .. } | DeskError::Conflict(_))) {
        Some(id) => OnwardLink { path: format!("/desk/cases/{id}"), words: "Back to the case" },
        None => OnwardLink { path: "/desk/queue".to_owned(), words: "Go to the queue" },
    }
}
