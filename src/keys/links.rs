//! Signed URLs. A client that has one may read one image until it expires, and nothing else.
//!
//! `/media/<organisation>/<image>/<variant>.jpg?expires=<unix seconds>&key=<key id>&signature=<base64url>`. The
//! signature is an HMAC-SHA256 over method, path, organisation, expiry and key id, under a key derived from a master
//! key. It is in the query, which is never logged.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;

use super::Error;
use super::envelope::Keyring;
use crate::domain::ids::{ImageId, TenantId};
use crate::domain::image::Variant;

const PURPOSE: &str = "media-url/hmac-sha256/v1";
const KEY_ID: &str = "media-url/key-id/v1";
/// Seconds that a URL lives, counted from the second in which it was issued.
pub const LIFETIME: i64 = 3600;
/// All signed paths begin with this.
pub const ROOT: &str = "/media/";

/// Makes and checks signed URLs. The first master key signs; URLs of all master keys are accepted.
pub struct SignedLinks {
    base: String,
    keys: Vec<(String, hmac::Key)>,
}

/// What a genuine URL gives access to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub tenant_id: TenantId,
    pub image_id: ImageId,
    pub variant: Variant,
    expires: i64,
}

/// The URL was not signed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL's signature is wrong")]
pub struct ForgedLink;

impl SignedLinks {
    /// Links below `base`, the address at which clients reach this API.
    ///
    /// # Errors
    /// When no key can be derived.
    pub fn new(keyring: &Keyring, base: &str) -> Result<Self, Error> {
        let base = base.trim_end_matches('/').to_owned();
        let ids = keyring.derive(KEY_ID)?;
        let keys = keyring.derive(PURPOSE)?;
        let key = |(id, key): ([u8; 32], [u8; 32])| {
            // The id is derived too, so that URLs do not reveal the names of master keys.
            (BASE64_URL_SAFE_NO_PAD.encode(&id[..6]), hmac::Key::new(hmac::HMAC_SHA256, &key))
        };
        Ok(Self { base, keys: ids.into_iter().zip(keys).map(key).collect() })
    }

    /// A URL that expires [`LIFETIME`] after `now`, in seconds of the Unix epoch.
    ///
    /// # Errors
    /// When there is no key.
    pub fn issue(&self, tenant_id: TenantId, image_id: ImageId, variant: Variant, now: i64) -> Result<String, Error> {
        Ok(format!("{}{}", self.base, self.issue_path(tenant_id, image_id, variant, now)?))
    }

    /// The path of such a URL, for our own pages.
    ///
    /// # Errors
    /// When there is no key.
    pub fn issue_path(
        &self,
        tenant_id: TenantId,
        image_id: ImageId,
        variant: Variant,
        now: i64,
    ) -> Result<String, Error> {
        let (id, key) = self.keys.first().ok_or_else(|| Error::Master("there is none".to_owned()))?;
        let (tenant, expires) = (tenant_id.to_string(), now.saturating_add(LIFETIME).to_string());
        let path = format!("{ROOT}{tenant}/{image_id}/{}.jpg", variant.name());
        let signature = hmac::sign(key, message(&path, &tenant, &expires, id).as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok(format!("{path}?expires={expires}&key={id}&signature={signature}"))
    }

    /// What the URL of `path` and `query` gives access to. The caller checks the expiry by the database's clock.
    /// Signatures are compared in constant time.
    ///
    /// # Errors
    /// When any byte differs from what was issued.
    pub fn verify(&self, path: &str, query: &str) -> Result<Grant, ForgedLink> {
        let (expires, rest) =
            query.strip_prefix("expires=").and_then(|rest| rest.split_once("&key=")).ok_or(ForgedLink)?;
        let (id, signature) = rest.split_once("&signature=").ok_or(ForgedLink)?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| ForgedLink)?;
        let mut parts = path.strip_prefix(ROOT).ok_or(ForgedLink)?.split('/');
        let (Some(tenant), Some(image), Some(file), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ForgedLink);
        };
        let (_, key) = self.keys.iter().find(|(known, _)| known == id).ok_or(ForgedLink)?;
        hmac::verify(key, message(path, tenant, expires, id).as_bytes(), &signature).map_err(|_| ForgedLink)?;
        Ok(Grant {
            tenant_id: TenantId(tenant.parse().map_err(|_| ForgedLink)?),
            image_id: ImageId(image.parse().map_err(|_| ForgedLink)?),
            variant: file.strip_suffix(".jpg").and_then(Variant::parse).ok_or(ForgedLink)?,
            expires: expires.parse().map_err(|_| ForgedLink)?,
        })
    }
}

impl Grant {
    /// Whether the URL has expired at `now`, in seconds of the Unix epoch.
    #[must_use]
    pub fn is_over(&self, now: i64) -> bool {
        now >= self.expires
    }
}

/// The text to sign. GET stands for HEAD too. Parts are signed exactly as they stand in the URL, so a URL written in
/// another way is refused.
fn message(path: &str, tenant: &str, expires: &str, key: &str) -> String {
    let mut message = String::from("GET");
    for part in [path, tenant, expires, key] {
        // With its length in front, no part can be read as two.
        let _ = write!(message, "\n{}:{part}", part.len());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;
    use uuid::Uuid;

    const NOW: i64 = 1_800_000_000;

    fn links(bytes: &[u8]) -> SignedLinks {
        let keys = bytes.iter().map(|byte| format!("k{byte}:{}", BASE64_STANDARD.encode([*byte; 32])));
        SignedLinks::new(&Keyring::parse(&keys.collect::<Vec<_>>().join(",")).unwrap(), "").unwrap()
    }

    fn url(links: &SignedLinks) -> String {
        let (tenant, image) = (TenantId(Uuid::from_u128(7)), ImageId(Uuid::from_u128(8)));
        links.issue(tenant, image, Variant::Portrait, NOW).unwrap()
    }

    fn verify(links: &SignedLinks, url: &str) -> Result<Grant, ForgedLink> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        links.verify(path, query)
    }

    #[test]
    fn a_genuine_url_says_what_it_lets_read_and_lives_sixty_minutes_exactly() {
        let links = links(&[1]);
        let grant = verify(&links, &url(&links)).unwrap();
        assert_eq!((grant.tenant_id.0, grant.image_id.0), (Uuid::from_u128(7), Uuid::from_u128(8)));
        assert_eq!(grant.variant, Variant::Portrait);
        assert!(!grant.is_over(NOW) && !grant.is_over(NOW + 3599));
        assert!(grant.is_over(NOW + 3600) && grant.is_over(i64::MAX));
    }

    #[test]
    fn urls_survive_the_first_step_of_a_key_rotation_and_die_with_their_key() {
        let old = url(&links(&[1]));
        assert!(verify(&links(&[2, 1]), &old).is_ok());
        assert_eq!(verify(&links(&[2]), &old), Err(ForgedLink));
        assert!(!url(&links(&[1])).contains("k1"), "a URL does not name the master key");
    }

    #[test]
    fn another_spelling_of_the_same_url_is_a_forgery() {
        let links = links(&[1]);
        let good = url(&links);
        for (from, to) in [
            ("expires=", "expires=+"),
            ("expires=", "expires=0"),
            ("/media/", "/media//"),
            (".jpg", ".JPG"),
            (".jpg", ".jpg/"),
            ("0000-0000", "00000000"),
            ("expires=", "x=1&expires="),
            ("&signature=", "&x=1&signature="),
        ] {
            assert!(good.contains(from));
            assert_eq!(verify(&links, &good.replacen(from, to, 1)), Err(ForgedLink), "{from} as {to}");
        }
        for suffix in ["=", "&", "A", "&x=1"] {
            assert_eq!(verify(&links, &format!("{good}{suffix}")), Err(ForgedLink), "{suffix}");
        }
        let whole = good.replace("portrait", "whole");
        assert_eq!(verify(&links, &whole), Err(ForgedLink));
        assert_eq!(verify(&links, &good.replace("1800003600", "1800003601")), Err(ForgedLink));
    }

    proptest! {
        #[test]
        fn any_altered_byte_is_a_forgery(at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7F) {
            let links = links(&[1]);
            let good = url(&links);
            let mut altered = good.clone().into_bytes();
            let at = at.index(altered.len());
            prop_assume!(altered[at] != byte);
            altered[at] = byte;
            prop_assert_eq!(verify(&links, &String::from_utf8(altered).unwrap()), Err(ForgedLink));
        }

        #[test]
        fn no_text_passes_for_a_url_and_none_makes_it_panic(path in "(/media/)?.{0,80}", query in "(expires=)?.{0,80}") {
            prop_assert_eq!(links(&[1]).verify(&path, &query), Err(ForgedLink));
        }
    }
}
