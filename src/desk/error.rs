//! What can go wrong at the desk, told as a page to people and as JSON to the script; and the headers of every answer.

use askama::Template as _;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::json;
use tracing::error;
use url::form_urlencoded::byte_serialize;

use super::Desk;
use super::deed::CSRF;
use super::pages::{Frame, ProblemPage};
use crate::domain::review::OpinionFault;
use crate::{images, store};

/// Nothing but what we serve: no script or style within a page, no frame around it, no form to elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Of every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Why something was not done.
#[derive(Debug, Clone)]
pub(super) enum DeskError {
    /// Nobody is signed in, or no longer.
    SignedOut,
    /// The change did not come from a page of ours.
    Forged,
    /// For leads alone, or for who decided.
    Forbidden(&'static str),
    NoSuchCase,
    /// Somebody else has the case, or it is over: what to know about it.
    Conflict(String),
    /// A field of a form cannot be that.
    Invalid {
        field: Option<&'static str>,
        detail: String,
    },
    /// Too much to do.
    Busy,
    /// A part of ours does not answer.
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

    fn heading(&self) -> &'static str {
        match self {
            Self::SignedOut => "Your session has ended",
            Self::Forged => "This did not come from the desk",
            Self::Forbidden(_) => "Not yours to do",
            Self::NoSuchCase => "There is no such case",
            Self::Conflict(_) => "The case has moved on",
            Self::Invalid { .. } => "Something is missing",
            Self::Busy | Self::Unavailable => "The desk does not answer",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::SignedOut => "Sign in again to go on.".to_owned(),
            Self::Forged => {
                "Load the page again and repeat what you did: it may be that you signed in anew.".to_owned()
            }
            Self::Forbidden(why) => (*why).to_owned(),
            Self::NoSuchCase => "It may belong to somebody else, or its address was mistyped.".to_owned(),
            Self::Conflict(what) => what.clone(),
            Self::Invalid { detail, .. } => sentence(detail),
            Self::Busy => "Too many people sign in at this moment: try again.".to_owned(),
            Self::Unavailable => {
                "A part of the service does not answer. Nothing of yours was lost: try again.".to_owned()
            }
        }
    }
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

impl IntoResponse for DeskError {
    /// For [`finish`], which knows who asked.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::Error> for DeskError {
    fn from(error: store::Error) -> Self {
        error!(%error, "the database failed the desk");
        Self::Unavailable
    }
}

impl From<images::Error> for DeskError {
    fn from(error: images::Error) -> Self {
        error!(%error, "the desk's pictures failed");
        Self::Unavailable
    }
}

impl From<askama::Error> for DeskError {
    fn from(error: askama::Error) -> Self {
        error!(%error, "a page of the desk could not be written");
        Self::Unavailable
    }
}

impl From<OpinionFault> for DeskError {
    fn from(fault: OpinionFault) -> Self {
        Self::Invalid { field: Some(fault.field), detail: fault.what }
    }
}

/// Refuses changes that another site asks for, words errors for who asked, and sets the headers.
pub(super) async fn finish(State(_): State<Desk>, request: Request, next: Next) -> Response {
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
    let mut response = match method {
        Method::POST if !is_ours(&headers) => DeskError::Forged.into_response(),
        _ => next.run(request).await,
    };
    if let Some(error) = response.extensions_mut().remove::<DeskError>() {
        response = worded(&error, &method, &uri, &headers);
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Browsers say from where a form comes. Whoever says nothing is no browser, and has no cookie to abuse.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|it| it != "same-origin" && it != "none") {
        return false;
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    // Behind a proxy that rewrites the host, the browser's own word above decides.
    site.is_some() || host == text(header::HOST)
}

fn worded(error: &DeskError, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let by_script = headers.contains_key(CSRF)
        || accepts.starts_with("application/json")
        || accepts.starts_with("text/event-stream");
    if by_script {
        let field = if let DeskError::Invalid { field, .. } = error { *field } else { None };
        let body = json!({ "code": error.code(), "detail": error.detail(), "field": field });
        return (error.status(), Json(body)).into_response();
    }
    if matches!(error, DeskError::SignedOut) {
        let next = if *method == Method::GET {
            uri.path_and_query().map_or("/desk/queue", |it| it.as_str())
        } else {
            "/desk/queue"
        };
        let next: String = byte_serialize(next.as_bytes()).collect();
        return Redirect::to(&format!("/desk/sign-in?ended=1&next={next}")).into_response();
    }
    let back = uri
        .path()
        .strip_prefix("/desk/cases/")
        .and_then(|rest| rest.split_once('/'))
        .map(|(id, _)| format!("/desk/cases/{id}"));
    let onward = match back.filter(|_| matches!(error, DeskError::Invalid { .. } | DeskError::Conflict(_))) {
        Some(path) => (path, "Back to the case".to_owned()),
        None => ("/desk/queue".to_owned(), "To the queue".to_owned()),
    };
    let page = ProblemPage {
        frame: Frame::of_nobody(error.heading()),
        heading: error.heading().to_owned(),
        detail: error.detail(),
        onward,
    };
    match page.render() {
        Ok(page) => (error.status(), Html(page)).into_response(),
        Err(_) => error.status().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_desks_own_pages_may_post() {
        let ours = |pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_ours(&pairs.collect())
        };
        assert!(ours(&[]));
        assert!(ours(&[("sec-fetch-site", "same-origin"), ("origin", "https://desk.example"), ("host", "10.0.0.7")]));
        assert!(ours(&[("origin", "https://desk.example:8443"), ("host", "desk.example:8443")]));
        assert!(!ours(&[("sec-fetch-site", "cross-site")]));
        assert!(!ours(&[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://desk.example"),
            ("host", "desk.example")
        ]));
        assert!(!ours(&[("origin", "https://evil.example"), ("host", "desk.example")]));
        assert!(!ours(&[("origin", "null"), ("host", "desk.example")]));
    }
}
