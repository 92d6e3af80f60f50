//! Forms that reviewers send. A form is accepted only in a valid session and only with the CSRF token of one of that
//! session's pages.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Desk;
use super::csrf;
use super::error::DeskError;
use super::session::{BackgroundSession, Session};

/// How long a form's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A form that a reviewer sent, with a valid CSRF token.
pub(super) struct SignedForm<T> {
    pub(super) session: Session,
    pub(super) fields: T,
    /// The script sent it and expects JSON or an empty answer instead of a page.
    pub(super) by_script: bool,
}

/// A form that a page sends by itself, such as a heartbeat. It does not extend the session.
pub(super) struct BackgroundForm<T>(pub(super) SignedForm<T>);

/// A form with no field except the CSRF token.
#[derive(Deserialize)]
pub(super) struct NoFields {}

#[derive(Deserialize)]
struct CsrfField {
    csrf: Option<String>,
}

impl<T: DeserializeOwned> FromRequest<Desk> for SignedForm<T> {
    type Rejection = DeskError;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, DeskError> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, desk).await?;
        read(session, &parts.headers.clone(), Request::from_parts(parts, body), desk).await
    }
}

impl<T: DeserializeOwned> FromRequest<Desk> for BackgroundForm<T> {
    type Rejection = DeskError;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, DeskError> {
        let (mut parts, body) = request.into_parts();
        let BackgroundSession(session) = BackgroundSession::from_request_parts(&mut parts, desk).await?;
        read(session, &parts.headers.clone(), Request::from_parts(parts, body), desk).await.map(Self)
    }
}

async fn read<T: DeserializeOwned>(
    session: Session,
    headers: &HeaderMap,
    request: Request,
    desk: &Desk,
) -> Result<SignedForm<T>, DeskError> {
    let malformed = |what: &str| DeskError::Invalid { field: None, detail: what.to_owned() };
    let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, desk)).await;
    let body = body.map_err(|_| malformed("the form arrived too slowly: check your connection and send it again"))?;
    let body = body.map_err(|_| malformed("the form is too large: shorten the note"))?;
    let by_script = headers.contains_key(csrf::HEADER);
    let sent = match headers.get(csrf::HEADER).and_then(|value| value.to_str().ok()) {
        Some(token) => Some(token.to_owned()),
        None => serde_html_form::from_bytes::<CsrfField>(&body).ok().and_then(|field| field.csrf),
    };
    if !sent.is_some_and(|token| session.is_csrf(&token)) {
        return Err(DeskError::Forged);
    }
    let fields =
        serde_html_form::from_bytes(&body).map_err(|_| malformed("a field of the form is missing or not valid"))?;
    Ok(SignedForm { session, fields, by_script })
}
