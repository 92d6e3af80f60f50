//! Sessions: who is signed in. The cookie holds a random token; the database stores only the token's HMAC.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Desk;
use super::csrf;
use super::error::DeskError;
use super::pages::{PageFrame, Reader};
use crate::domain::pepper::{HashPurpose, Pepper};
use crate::domain::review::Reviewer;
use crate::store::reviewers::SignedIn;

/// The cookie's name over TLS. Browsers accept a `__Host-` cookie only over TLS and from this very host.
const SECURE_NAME: &str = "__Host-visavis_desk";
const NAME: &str = "visavis_desk";
/// Random bytes in a session's token.
const TOKEN_BYTES: usize = 32;

/// The session of a reviewer who does something. As an extractor it extends the session.
pub(super) struct Session {
    signed_in: SignedIn,
    token: Vec<u8>,
    pepper: Pepper,
}

/// The session of a request that a page makes by itself. As an extractor it does not extend the session.
pub(super) struct BackgroundSession(pub(super) Session);

impl Session {
    pub(super) fn reviewer(&self) -> &Reviewer {
        &self.signed_in.reviewer
    }

    /// The HMAC of the cookie's token, as the database stores it.
    pub(super) fn hmac(&self) -> Vec<u8> {
        hmac(&self.pepper, &self.token)
    }

    /// Extends the session: the reviewer did something.
    pub(super) async fn extend(&self, desk: &Desk) -> Result<(), DeskError> {
        desk.0.store.find_session(&self.hmac(), true).await?.map(drop).ok_or(DeskError::SignedOut)
    }

    /// A CSRF token for a page of this session.
    pub(super) fn csrf(&self) -> String {
        csrf::issue(&self.pepper, &self.token)
    }

    /// Whether the CSRF token was issued for this session.
    pub(super) fn is_csrf(&self, sent: &str) -> bool {
        csrf::is_valid(&self.pepper, &self.token, sent)
    }

    /// What every page of a signed-in reviewer shows.
    pub(super) fn frame(&self, title: &str, active: &'static str) -> PageFrame {
        let reader = Reader {
            name: self.reviewer().name.clone(),
            organisation: self.signed_in.organisation.clone(),
            sandbox: self.reviewer().account.sandbox,
            is_lead: self.reviewer().is_lead,
            csrf: self.csrf(),
        };
        PageFrame { title: title.to_owned(), reader: Some(reader), active, assets: super::assets::version() }
    }

    async fn find(parts: &Parts, desk: &Desk, extend: bool) -> Result<Self, DeskError> {
        let token = token(&parts.headers, desk.0.is_secure).ok_or(DeskError::SignedOut)?;
        let pepper = desk.0.pepper.clone();
        let signed_in = desk.0.store.find_session(&hmac(&pepper, &token), extend).await?.ok_or(DeskError::SignedOut)?;
        Ok(Self { signed_in, token, pepper })
    }
}

impl FromRequestParts<Desk> for Session {
    type Rejection = DeskError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, DeskError> {
        Self::find(parts, desk, true).await
    }
}

impl FromRequestParts<Desk> for BackgroundSession {
    type Rejection = DeskError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, DeskError> {
        Session::find(parts, desk, false).await.map(Self)
    }
}

/// The session's token from the cookie; `None` without a well-formed cookie.
pub(super) fn token(headers: &HeaderMap, is_secure: bool) -> Option<Vec<u8>> {
    let jar = CookieJar::from_headers(headers);
    // The other name is never read: over TLS, somebody on the network could have set it by plain HTTP.
    let cookie = jar.get(name(is_secure))?;
    BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok().filter(|token| token.len() == TOKEN_BYTES)
}

pub(super) fn hmac(pepper: &Pepper, token: &[u8]) -> Vec<u8> {
    pepper.digest(HashPurpose::Session, &[token])
}

/// A new session: its token, and the cookie that carries it.
pub(super) fn begin(is_secure: bool) -> (Vec<u8>, Cookie<'static>) {
    let token: [u8; TOKEN_BYTES] = rand::random();
    let cookie = cookie(is_secure, BASE64_URL_SAFE_NO_PAD.encode(token));
    (token.to_vec(), cookie)
}

/// A cookie that removes the session's cookie from the browser.
pub(super) fn end(is_secure: bool) -> Cookie<'static> {
    let mut cookie = cookie(is_secure, String::new());
    cookie.make_removal();
    cookie
}

fn name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_NAME } else { NAME }
}

fn cookie(is_secure: bool, value: String) -> Cookie<'static> {
    // The cookie has no end of its own: the database ends sessions. `Lax` keeps reviewers signed in when they follow a
    // link to a case from elsewhere; that is safe because changes also need a CSRF token.
    Cookie::build((name(is_secure), value)).path("/").http_only(true).secure(is_secure).same_site(SameSite::Lax).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::http::header::COOKIE;

    #[test]
    fn a_cookie_is_read_back_and_scripts_and_other_sites_do_not_get_it() {
        for is_secure in [true, false] {
            let (made, cookie) = begin(is_secure);
            let text = cookie.to_string();
            assert!(text.contains("HttpOnly") && text.contains("SameSite=Lax") && text.contains("Path=/"), "{text}");
            assert_eq!(text.contains("Secure"), is_secure);
            let mut headers = HeaderMap::new();
            let sent = format!("theme=dark; {}={}", cookie.name(), cookie.value());
            headers.insert(COOKIE, HeaderValue::try_from(sent).unwrap());
            assert_eq!(token(&headers, is_secure), Some(made));
            assert_eq!(token(&headers, !is_secure), None);
        }
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("visavis_desk=AAAA"));
        assert_eq!(token(&headers, false), None);
    }
}
