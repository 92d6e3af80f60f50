//! Signatures after Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>), over
//! `id.timestamp.body`: `v1` is HMAC-SHA256, `v1a` is Ed25519. No type here has a `Debug`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::net::{HeaderMap, HeaderName, HeaderValue, header};

/// Header names.
pub const ID: &str = "webhook-id";
pub const TIMESTAMP: &str = "webhook-timestamp";
pub const SIGNATURE: &str = "webhook-signature";

/// The headers of a delivery. `None` if the id or the signature is not a valid header value.
#[must_use]
pub fn headers(id: &str, timestamp: i64, signature: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [(ID, id), (TIMESTAMP, &timestamp.to_string()), (SIGNATURE, signature)] {
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).ok()?);
    }
    Some(headers)
}

const PREFIX: &str = "whsec_";
const PUBLIC_PREFIX: &str = "whpk_";
/// Bytes of a new secret and of an Ed25519 seed.
const LENGTH: usize = 32;
/// Bytes of a secret that the specification allows.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A shared secret: `whsec_` and 24 to 64 bytes in Base64.
pub struct Secret(Vec<u8>);

/// The keys that sign for an endpoint: a shared secret for `v1`, a key pair for `v1a`.
pub struct Keys {
    secret: Secret,
    seed: [u8; LENGTH],
    pair: Ed25519KeyPair,
}

impl Secret {
    #[must_use]
    pub fn from_random(bytes: [u8; LENGTH]) -> Self {
        Self(bytes.to_vec())
    }

    /// Reads `whsec_...`; `None` if the text is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        LENGTHS.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The secret in the form that receivers get.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// `v1,...`
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(tag))
    }
}

impl Keys {
    /// `None` if ring refuses the seed, which it does not do for 32 bytes.
    #[must_use]
    pub fn from_random(secret: [u8; LENGTH], seed: [u8; LENGTH]) -> Option<Self> {
        Self::new(Secret::from_random(secret), seed)
    }

    fn new(secret: Secret, seed: [u8; LENGTH]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self { secret, seed, pair })
    }

    /// The keys as bytes, to be encrypted.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.seed[..], &self.secret.0].concat()
    }

    /// Reads the bytes of [`Keys::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (seed, secret) = bytes.split_first_chunk()?;
        LENGTHS.contains(&secret.len()).then(|| Self::new(Secret(secret.to_vec()), *seed))?
    }

    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

/// A public key in the form that receivers get: `whpk_...`
#[must_use]
pub fn show_public_key(key: &[u8]) -> String {
    format!("{PUBLIC_PREFIX}{}", BASE64_STANDARD.encode(key))
}

/// The value of the signature header: every key signs in both schemes, and `v1` signatures come first. A receiver
/// accepts the message if any signature is valid. During a rotation there are two of each scheme.
#[must_use]
pub fn sign(keys: &[Keys], id: &str, timestamp: i64, body: &str) -> String {
    let symmetric = keys.iter().map(|key| key.secret.sign(id, timestamp, body));
    let asymmetric = keys.iter().map(|key| {
        let signature = key.pair.sign(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1a,{}", BASE64_STANDARD.encode(signature))
    });
    symmetric.chain(asymmetric).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    /// The example of the specification's reference implementations.
    #[test]
    fn the_specifications_own_example_has_its_signature() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(secret.reveal(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }

    #[test]
    fn a_secret_is_a_prefix_and_24_to_64_bytes_in_base64() {
        let of = |length: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![7; length]));
        assert!(Secret::parse(&of(24)).is_some() && Secret::parse(&of(64)).is_some());
        for text in [of(23), of(65), of(32)[6..].to_owned(), "whsec_".to_owned(), "whsec_!!!!".to_owned()] {
            assert!(Secret::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn every_key_signs_in_both_schemes_and_each_signature_verifies_under_its_own_key_alone() {
        let keys = [1_u8, 2].map(|byte| Keys::from_random([byte; 32], [byte + 10; 32]).unwrap());
        let header = sign(&keys, "id", 1_600_000_000, "{}");
        let signatures: Vec<_> = header.split(' ').collect();
        let [first, second, third, fourth] = signatures[..] else { panic!("{header}") };
        assert_eq!(
            [first, second],
            [1_u8, 2].map(|byte| Secret::from_random([byte; 32]).sign("id", 1_600_000_000, "{}"))
        );
        for (signature, key, other) in [(third, &keys[0], &keys[1]), (fourth, &keys[1], &keys[0])] {
            let bytes = BASE64_STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
            let by = |key: &Keys, message: &str| {
                UnparsedPublicKey::new(&ED25519, key.public_key()).verify(message.as_bytes(), &bytes).is_ok()
            };
            assert!(by(key, "id.1600000000.{}"));
            assert!(!by(other, "id.1600000000.{}") && !by(key, "id.1600000001.{}"));
        }
    }

    #[test]
    fn keys_come_back_from_their_bytes() {
        let keys = Keys::from_random([1; 32], [2; 32]).unwrap();
        let back = Keys::from_bytes(&keys.to_bytes()).unwrap();
        assert_eq!(back.public_key(), keys.public_key());
        assert_eq!(back.secret().reveal(), keys.secret().reveal());
        assert!(Keys::from_bytes(&[0; 55]).is_none());
    }
}
