//! Browsers that have signed in before. Each keeps a signed cookie for the login that was used. Wrong passwords from
//! elsewhere do not lock it out, and it does not wait behind strangers. Source: OWASP, "Slow Down Online Guessing
//! Attacks with Device Cookies".

use std::fmt::Write as _;

use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Desk;
use crate::domain::pepper::{HashPurpose, Pepper};

const ID_BYTES: usize = 16;

/// A browser that has signed in as one login.
pub(super) struct Device {
    id: [u8; ID_BYTES],
}

impl Device {
    pub(super) fn new() -> Self {
        Self { id: rand::random() }
    }

    /// The browser that a request comes from, if somebody has signed in there with that login.
    pub(super) fn find(desk: &Desk, jar: &CookieJar, login: &str) -> Option<Self> {
        let cookie = jar.get(&name(&desk.0.pepper, desk.0.is_secure, login))?;
        let value = BASE64_URL_SAFE_NO_PAD.decode(cookie.value()).ok()?;
        let (id, signature) = value.split_first_chunk::<ID_BYTES>()?;
        let is_ours = desk.0.pepper.verify(HashPurpose::Device, &[login.as_bytes(), id], signature);
        is_ours.then_some(Self { id: *id })
    }

    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    /// The cookie by which the browser is known. Browsers keep such a cookie for 400 days after the last sign-in.
    pub(super) fn cookie(&self, desk: &Desk, login: &str) -> Cookie<'static> {
        let signature = desk.0.pepper.digest(HashPurpose::Device, &[login.as_bytes(), &self.id]);
        let value = BASE64_URL_SAFE_NO_PAD.encode([self.id.as_slice(), &signature].concat());
        let cookie = Cookie::build((name(&desk.0.pepper, desk.0.is_secure, login), value));
        let cookie = cookie.path("/").http_only(true).secure(desk.0.is_secure).same_site(SameSite::Strict);
        cookie.permanent().build()
    }
}

/// A name for each login, because reviewers may share a browser. It does not reveal the login.
fn name(pepper: &Pepper, is_secure: bool, login: &str) -> String {
    let mut name = if is_secure { "__Host-visavis-device-" } else { "visavis-device-" }.to_owned();
    for byte in &pepper.digest(HashPurpose::Device, &[login.as_bytes()])[..4] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}
