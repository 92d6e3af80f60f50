//! Who sits at the desk: a random token in a cookie, of which the database knows an HMAC; and the token that every change
//! must bring, so that no other site can make one.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Desk;
use super::error::DeskError;
use super::pages::{Frame, Reader};
use crate::domain::pepper::{HashPurpose, Pepper};
use crate::domain::review::Reviewer;
use crate::store::reviewers::SignedIn;

/// Over TLS the browser itself sees to it that no other host or path set the cookie.
const SECURE_NAME: &str = "__Host-visavis_desk";
const NAME: &str = "visavis_desk";
/// Random bytes of a token.
const TOKEN: usize = 32;
/// Random bytes that make two pages' tokens differ: what is compressed beside a secret must not reveal it.
const MASK: usize = 16;

/// A reviewer who is signed in, and does something: the session lives on.
pub(super) struct Session {
    signed_in: SignedIn,
    token: Vec<u8>,
    pepper: Pepper,
}

/// The same of a page that asks by itself, which keeps no session alive.
pub(super) struct Glance(pub(super) Session);

impl Session {
    pub(super) fn reviewer(&self) -> &Reviewer {
        &self.signed_in.reviewer
    }

    /// Of the cookie, as stored.
    pub(super) fn hmac(&self) -> Vec<u8> {
        hmac(&self.pepper, &self.token)
    }

    /// The reviewer does something: the session lives on.
    pub(super) async fn act(&self, desk: &Desk) -> Result<(), DeskError> {
        desk.0.store.find_session(&self.hmac(), true).await?.map(drop).ok_or(DeskError::SignedOut)
    }

    /// A token for a page's changes.
    pub(super) fn csrf(&self) -> String {
        let mask: [u8; MASK] = rand::random();
        let digest = self.pepper.digest(HashPurpose::Csrf, &[&self.token, &mask]);
        BASE64_URL_SAFE_NO_PAD.encode([mask.as_slice(), &digest].concat())
    }

    /// Whether a page of this session got that token.
    pub(super) fn is_csrf(&self, sent: &str) -> bool {
        let Ok(sent) = BASE64_URL_SAFE_NO_PAD.decode(sent) else { return false };
        let Some((mask, digest)) = sent.split_at_checked(MASK) else { return false };
        self.pepper.verify(HashPurpose::Csrf, &[&self.token, mask], digest)
    }

    pub(super) fn frame(&self, title: &str, active: &'static str) -> Frame {
        let reader = Reader {
            name: self.reviewer().name.clone(),
            organisation: self.signed_in.organisation.clone(),
            sandbox: self.reviewer().account.sandbox,
            is_lead: self.reviewer().is_lead,
            csrf: self.csrf(),
        };
        Frame { title: title.to_owned(), reader: Some(reader), active, assets: super::assets::version() }
    }

    async fn find(parts: &Parts, desk: &Desk, acts: bool) -> Result<Self, DeskError> {
        let over = || DeskError::SignedOut;
        let token = token(&parts.headers, desk.0.is_secure).ok_or_else(over)?;
        let pepper = desk.0.pepper.clone();
        let signed_in = desk.0.store.find_session(&hmac(&pepper, &token), acts).await?.ok_or_else(over)?;
        Ok(Self { signed_in, token, pepper })
    }
}

impl FromRequestParts<Desk> for Session {
    type Rejection = DeskError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, DeskError> {
        Self::find(parts, desk, true).await
    }
}

impl FromRequestParts<Desk> for Glance {
    type Rejection = DeskError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, DeskError> {
        Session::find(parts, desk, false).await.map(Self)
    }
}

/// The cookie's token, where a request brings one.
pub(super) fn token(headers: &HeaderMap, is_secure: bool) -> Option<Vec<u8>> {
    let jar = CookieJar::from_headers(headers);
    // Never the other name: a neighbour without TLS could have set that.
    let cookie = jar.get(name(is_secure))?;
    BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok().filter(|it| it.len() == TOKEN)
}

pub(super) fn hmac(pepper: &Pepper, token: &[u8]) -> Vec<u8> {
    pepper.digest(HashPurpose::Session, &[token])
}

/// A new token, and the cookie that carries it.
pub(super) fn begin(is_secure: bool) -> (Vec<u8>, Cookie<'static>) {
    let token: [u8; TOKEN] = rand::random();
    let cookie = cookie(is_secure, BASE64_URL_SAFE_NO_PAD.encode(token));
    (token.to_vec(), cookie)
}

/// What takes the cookie away.
pub(super) fn end(is_secure: bool) -> Cookie<'static> {
    let mut cookie = cookie(is_secure, String::new());
    cookie.make_removal();
    cookie
}

fn name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_NAME } else { NAME }
}

fn cookie(is_secure: bool, value: String) -> Cookie<'static> {
    // It ends with the browser, or earlier: the database knows when. Lax: who follows a colleague's link to a case is still signed in. Changes need more than the cookie.
    Cookie::build((name(is_secure), value)).path("/").http_only(true).secure(is_secure).same_site(SameSite::Lax).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::http::header::COOKIE;
    use base64::prelude::BASE64_STANDARD;
    use uuid::Uuid;

    use crate::domain::ids::TenantId;
    use crate::domain::review::ReviewerId;
    use crate::domain::tenant::Account;

    fn session(token: u8) -> Session {
        let reviewer = Reviewer {
            id: ReviewerId(Uuid::nil()),
            account: Account::live(TenantId(Uuid::nil())),
            login: "ada".to_owned(),
            name: "Ada".to_owned(),
            is_lead: false,
        };
        let pepper = Pepper::parse(&BASE64_STANDARD.encode([7; 32])).unwrap();
        Session { signed_in: SignedIn { reviewer, organisation: "acme".to_owned() }, token: vec![token; TOKEN], pepper }
    }

    #[test]
    fn every_page_has_a_token_of_its_own_and_each_is_of_its_session_alone() {
        let (one, other) = (session(1), session(2));
        let (first, second) = (one.csrf(), one.csrf());
        assert_ne!(first, second);
        assert!(one.is_csrf(&first) && one.is_csrf(&second));
        assert!(!other.is_csrf(&first));
        for wrong in ["", "AAAA", "not base64!", &first[1..], &format!("{first}A")] {
            assert!(!one.is_csrf(wrong), "{wrong}");
        }
    }

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
