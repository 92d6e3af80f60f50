//! API keys: `vv_live_<id>_<secret>` or `vv_test_<id>_<secret>`, with an id of 64 and a secret of 256 bits in
//! hexadecimal.

use super::pepper::{HashPurpose, Pepper};

const LIVE: &str = "vv_live_";
const TEST: &str = "vv_test_";

/// A key as its owner holds it. It has no `Debug`, so that it cannot reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyText {
    /// A key for the sandbox: its jobs use no models and cost nothing.
    pub sandbox: bool,
    pub id: String,
    secret: String,
}

impl ApiKeyText {
    /// Makes a key of random bytes.
    #[must_use]
    pub fn from_random(sandbox: bool, id: [u8; 8], secret: [u8; 32]) -> Self {
        Self { sandbox, id: hex::encode(id), secret: hex::encode(secret) }
    }

    /// Reads a key. `None` when the text does not have the form of a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let live = text.strip_prefix(LIVE);
        let (id, secret) = live.or_else(|| text.strip_prefix(TEST))?.split_once('_')?;
        let hexadecimal = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (id.len() == 16 && secret.len() == 64 && hexadecimal(id) && hexadecimal(secret)).then(|| Self {
            sandbox: live.is_none(),
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The keyed hash that the database stores in place of the secret.
    #[must_use]
    pub fn hmac(&self, pepper: &Pepper) -> Vec<u8> {
        pepper.digest(HashPurpose::ApiKey, &[self.id.as_bytes(), self.secret.as_bytes()])
    }

    /// Whether this is the key with the stored hash.
    #[must_use]
    pub fn matches(&self, pepper: &Pepper, hmac: &[u8]) -> bool {
        pepper.verify(HashPurpose::ApiKey, &[self.id.as_bytes(), self.secret.as_bytes()], hmac)
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        let prefix = if self.sandbox { TEST } else { LIVE };
        format!("{prefix}{}_{}", self.id, self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_a_changed_one_does_not_match() {
        let pepper = Pepper::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let key = ApiKeyText::from_random(false, [7; 8], [9; 32]);
        let read = ApiKeyText::parse(&key.reveal()).unwrap();
        assert!(read.matches(&pepper, &key.hmac(&pepper)) && !read.sandbox);
        let other = ApiKeyText::from_random(false, [7; 8], [8; 32]);
        assert!(!other.matches(&pepper, &key.hmac(&pepper)));
        for text in ["", "vv_live_", "vv_live_x_y", &key.reveal()[1..], &key.reveal().to_uppercase()] {
            assert!(ApiKeyText::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_prefix_marks_a_test_key() {
        let key = ApiKeyText::from_random(true, [7; 8], [9; 32]).reveal();
        assert!(key.starts_with("vv_test_") && ApiKeyText::parse(&key).unwrap().sandbox);
    }
}
