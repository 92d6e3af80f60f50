//! Something that somebody at the desk does: read only from a form, and only with the token of a page of theirs.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Desk;
use super::error::DeskError;
use super::session::{Glance, Session};

/// For a form to come in.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the script sends the token in; its presence says that the script asks.
pub(super) const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// A form that a reviewer sent, with the reviewer.
pub(super) struct Deed<T> {
    pub(super) session: Session,
    pub(super) form: T,
    /// The script asks, and wants no page.
    pub(super) by_script: bool,
}

/// The same of what a page does by itself: it keeps no session alive.
pub(super) struct Quiet<T>(pub(super) Deed<T>);

/// A form without a field of its own.
#[derive(Deserialize)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
struct Token {
    csrf: Option<String>,
}

impl<T: DeserializeOwned> FromRequest<Desk> for Deed<T> {
    type Rejection = DeskError;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, DeskError> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, desk).await?;
        read(session, &parts.headers.clone(), Request::from_parts(parts, body), desk).await
    }
}

impl<T: DeserializeOwned> FromRequest<Desk> for Quiet<T> {
    type Rejection = DeskError;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, DeskError> {
        let (mut parts, body) = request.into_parts();
        let Glance(session) = Glance::from_request_parts(&mut parts, desk).await?;
        read(session, &parts.headers.clone(), Request::from_parts(parts, body), desk).await.map(Self)
    }
}

async fn read<T: DeserializeOwned>(
    session: Session,
    headers: &HeaderMap,
    request: Request,
    desk: &Desk,
) -> Result<Deed<T>, DeskError> {
    let malformed = |what: &str| DeskError::Invalid { field: None, detail: what.to_owned() };
    let body = tokio::time::timeout(PATIENCE, Bytes::from_request(request, desk)).await;
    let body = body.map_err(|_| malformed("the form came too slowly"))?;
    let body = body.map_err(|_| malformed("the form is too large"))?;
    let by_script = headers.contains_key(CSRF);
    let sent = match headers.get(CSRF).and_then(|it| it.to_str().ok()) {
        Some(token) => Some(token.to_owned()),
        None => serde_html_form::from_bytes::<Token>(&body).ok().and_then(|it| it.csrf),
    };
    if !sent.is_some_and(|it| session.is_csrf(&it)) {
        return Err(DeskError::Forged);
    }
    let form =
        serde_html_form::from_bytes(&body).map_err(|_| malformed("a field of the form is missing or malformed"))?;
    Ok(Deed { session, form, by_script })
}
