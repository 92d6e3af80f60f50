//! Keyed hashes: what must be recognised but not kept. Without the pepper the database's hashes say nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

/// The key of all keyed hashes; deployment-wide, outside the database.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

/// What a hash is for: equal inputs give unequal hashes under two purposes.
#[derive(Debug, Clone, Copy)]
pub enum HashPurpose {
    ApiKey,
    Request,
    /// An ID number, to find its registry entry.
    IdNumber,
    /// All of a registry entry, to see whether it changed.
    RegistryEntry,
    /// A picture, to know it again; and whose face it was said to be.
    PerceptualHash,
    /// A session's cookie.
    Session,
    /// What a page of a session sends back with each change.
    Csrf,
}

impl Pepper {
    /// Reads a Base64 secret of at least 32 bytes; `None` when it is not that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        (bytes.len() >= 32).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// HMAC-SHA256 of `parts`, 32 bytes. Parts are length-prefixed: ("ab", "c") is not ("a", "bc").
    #[must_use]
    pub fn digest(&self, purpose: HashPurpose, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose.label());
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(&self, purpose: HashPurpose, parts: &[&[u8]], digest: &[u8]) -> bool {
        let mut message = purpose.label().to_vec();
        for part in parts {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        hmac::verify(&self.0, &message, digest).is_ok()
    }
}

impl HashPurpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::ApiKey => b"api-key\0",
            Self::Request => b"request\0",
            Self::IdNumber => b"id-number\0",
            Self::RegistryEntry => b"registry-entry\0",
            Self::PerceptualHash => b"image-print\0",
            Self::Session => b"session\0",
            Self::Csrf => b"csrf\0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_key_purpose_and_the_cut_between_parts() {
        let pepper = |byte| Pepper::parse(&BASE64_STANDARD.encode([byte; 32])).unwrap();
        let digest = pepper(1).digest(HashPurpose::ApiKey, &[b"ab", b"c"]);
        assert!(pepper(1).verify(HashPurpose::ApiKey, &[b"ab", b"c"], &digest));
        assert!(!pepper(2).verify(HashPurpose::ApiKey, &[b"ab", b"c"], &digest));
        assert!(!pepper(1).verify(HashPurpose::Request, &[b"ab", b"c"], &digest));
        assert!(!pepper(1).verify(HashPurpose::ApiKey, &[b"a", b"bc"], &digest));
        assert!(!pepper(1).verify(HashPurpose::ApiKey, &[b"ab", b"c"], &digest[..31]));
    }

    #[test]
    fn a_short_or_malformed_pepper_is_refused() {
        assert!(Pepper::parse(&BASE64_STANDARD.encode([1; 31])).is_none());
        assert!(Pepper::parse("not base64!").is_none());
    }
}
