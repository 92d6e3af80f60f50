//! Proof that a change comes from one of our own pages: a token that each page carries, and the origin that the browser
//! states. Without it another website could make a signed-in reviewer's browser send a decision.

use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::domain::pepper::{HashPurpose, Pepper};

/// The script sends the token in this header. The header also says that the script made the request, not a form.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// Random bytes in each token. No two pages carry the same token, so the length of a compressed page reveals nothing
/// about the secret part (the BREACH attack).
const MASK_BYTES: usize = 16;

/// A new token for a page of this session: random bytes, then their HMAC together with the session's token.
pub(super) fn issue(pepper: &Pepper, session_token: &[u8]) -> String {
    let mask: [u8; MASK_BYTES] = rand::random();
    let digest = pepper.digest(HashPurpose::Csrf, &[session_token, &mask]);
    BASE64_URL_SAFE_NO_PAD.encode([mask.as_slice(), &digest].concat())
}

/// Whether [`issue`] made the token for this session.
pub(super) fn is_valid(pepper: &Pepper, session_token: &[u8], sent: &str) -> bool {
    let Ok(sent) = BASE64_URL_SAFE_NO_PAD.decode(sent) else { return false };
    let Some((mask, digest)) = sent.split_at_checked(MASK_BYTES) else { return false };
    pepper.verify(HashPurpose::Csrf, &[session_token, mask], digest)
}

/// Whether the browser says that the request comes from our own site. Every browser says so of a form; a client that
/// says nothing is not a browser, so it has no cookie that another site could abuse.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    // A proxy may rewrite the Host header. Then `Sec-Fetch-Site`, which was checked above, is enough.
    site.is_some() || host == text(header::HOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use base64::prelude::BASE64_STANDARD;

    #[test]
    fn every_page_has_its_own_token_and_a_token_is_valid_in_its_own_session_only() {
        let pepper = Pepper::parse(&BASE64_STANDARD.encode([7; 32])).unwrap();
        let (first, second) = (issue(&pepper, b"one"), issue(&pepper, b"one"));
        assert_ne!(first, second);
        assert!(is_valid(&pepper, b"one", &first) && is_valid(&pepper, b"one", &second));
        assert!(!is_valid(&pepper, b"other", &first));
        for wrong in ["", "AAAA", "not base64!", &first[1..], &format!("{first}A")] {
            assert!(!is_valid(&pepper, b"one", wrong), "{wrong}");
        }
    }

    #[test]
    fn only_the_desks_own_pages_may_post() {
        let same_origin = |pairs: &[(&'static str, &'static str)]| {
            let (name, value) = (HeaderName::from_static, HeaderValue::from_static);
            is_same_origin(&pairs.iter().map(|pair| (name(pair.0), value(pair.1))).collect())
        };
        let (site, origin, host) = ("sec-fetch-site", "origin", "host");
        assert!(same_origin(&[]));
        assert!(same_origin(&[(site, "same-origin"), (origin, "https://desk.example"), (host, "10.0.0.7")]));
        assert!(same_origin(&[(origin, "https://desk.example:8443"), (host, "desk.example:8443")]));
        assert!(!same_origin(&[(site, "cross-site")]));
        assert!(!same_origin(&[(site, "same-site"), (origin, "https://desk.example"), (host, "desk.example")]));
        assert!(!same_origin(&[(origin, "https://evil.example"), (host, "desk.example")]));
        assert!(!same_origin(&[(origin, "null"), (host, "desk.example")]));
    }
}
