//! Keyed hashes of values that must be recognised but not stored. Without the key (the pepper) the hashes in the
//! database reveal nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

/// The key of all keyed hashes. A deployment has one, and stores it outside the database.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

/// The purpose of a hash. Equal inputs give different hashes for different purposes.
#[derive(Debug, Clone, Copy)]
pub enum HashPurpose {
    ApiKey,
    Request,
    /// Hash of an ID number, to find its registry entry.
    IdNumber,
    /// Hash of a whole registry entry, to see whether it changed.
    RegistryEntry,
    /// Hashes that recognise a resent picture, and the ID number that it was sent with.
    PerceptualHash,
    /// Hash of a session's cookie.
    Session,
    /// The token that a page sends back with each change.
    Csrf,
    /// The signature and the name of the cookie by which a browser is known.
    Device,
}

impl Pepper {
    /// Reads a secret of at least 32 bytes in Base64. `None` when the text is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        (bytes.len() >= 32).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// HMAC-SHA256 of `parts`, 32 bytes. Each part is prefixed by its length, so that ("ab", "c") and ("a", "bc")
    /// differ.
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

    /// Whether `digest` is the hash of `parts`. Compares in constant time.
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
            Self::Device => b"device\0",
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
