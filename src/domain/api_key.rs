//! API keys: `vv_live_<id>_<secret>`, 64 bits of id and 256 bits of secret in hexadecimal.

use super::pepper::{Pepper, Purpose};

const PREFIX: &str = "vv_live_";

/// A key as its owner holds it. Has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyText {
    pub id: String,
    secret: String,
}

impl ApiKeyText {
    /// A key of the given random bytes.
    #[must_use]
    pub fn from_random(id: [u8; 8], secret: [u8; 32]) -> Self {
        Self { id: hex::encode(id), secret: hex::encode(secret) }
    }

    /// Reads a key; `None` when it is not of our shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let hexadecimal = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (id.len() == 16 && secret.len() == 64 && hexadecimal(id) && hexadecimal(secret))
            .then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// What the database keeps of the secret.
    #[must_use]
    pub fn hmac(&self, pepper: &Pepper) -> Vec<u8> {
        pepper.digest(Purpose::ApiKey, &[self.id.as_bytes(), self.secret.as_bytes()])
    }

    /// Whether this is the key whose HMAC was kept.
    #[must_use]
    pub fn matches(&self, pepper: &Pepper, hmac: &[u8]) -> bool {
        pepper.verify(Purpose::ApiKey, &[self.id.as_bytes(), self.secret.as_bytes()], hmac)
    }

    /// The key in full, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_a_changed_one_does_not_match() {
        let pepper = Pepper::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let key = ApiKeyText::from_random([7; 8], [9; 32]);
        let read = ApiKeyText::parse(&key.reveal()).unwrap();
        assert!(read.matches(&pepper, &key.hmac(&pepper)));
        let other = ApiKeyText::from_random([7; 8], [8; 32]);
        assert!(!other.matches(&pepper, &key.hmac(&pepper)));
        for text in ["", "vv_live_", "vv_live_x_y", &key.reveal()[1..], &key.reveal().to_uppercase()] {
            assert!(ApiKeyText::parse(text).is_none(), "{text}");
        }
    }
}
