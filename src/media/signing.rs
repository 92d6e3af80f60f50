//! Signatures that anybody can check: detached JWS over JSON in its canonical spelling, and the public keys.
//!
//! Ed25519 (RFC 8037), one key derived from each master key: the first signs. A signature is `header..signature` (RFC
//! 7515, appendix F); its payload is the signed value as RFC 8785 spells it, so whoever has the value can check it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::Error;
use super::envelope::Keyring;

const PURPOSE: &str = "signature/ed25519/v1";

/// Signs with the first master key's own signing key.
pub struct Signer {
    keys: Vec<(PublicKey, Ed25519KeyPair)>,
}

/// What checks a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The key's thumbprint (RFC 7638).
    pub kid: String,
    /// 32 bytes.
    pub key: Vec<u8>,
}

impl Signer {
    pub(super) fn new(keyring: &Keyring) -> Result<Self, Error> {
        let pair = |seed: [u8; 32]| {
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
            let pair = pair.map_err(|_| Error::Keys("no signing key can be derived".to_owned()))?;
            Ok((PublicKey::new(pair.public_key().as_ref()), pair))
        };
        Ok(Self { keys: keyring.derive(PURPOSE)?.into_iter().map(pair).collect::<Result<_, Error>>()? })
    }

    /// Signs `value`, whose numbers must be such as JavaScript keeps.
    ///
    /// # Errors
    /// When the value has no canonical spelling.
    pub fn sign_detached(&self, value: &Value) -> Result<String, Error> {
        let (public, pair) = self.keys.first().ok_or_else(|| Error::Keys("there is none".to_owned()))?;
        let payload = serde_jcs::to_vec(value).map_err(|_| Error::Unsignable)?;
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": "EdDSA", "kid": public.kid }).to_string());
        let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(payload));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
        Ok(format!("{header}..{signature}"))
    }

    /// The keys of all present master keys.
    #[must_use]
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.keys.iter().map(|(public, _)| public.clone()).collect()
    }
}

impl PublicKey {
    fn new(key: &[u8]) -> Self {
        let x = BASE64_URL_SAFE_NO_PAD.encode(key);
        // The members that RFC 8037 names, in the order and spelling that RFC 7638 asks for.
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let thumbprint = digest::digest(&digest::SHA256, canonical.as_bytes());
        Self { kid: BASE64_URL_SAFE_NO_PAD.encode(thumbprint), key: key.to_owned() }
    }

    /// As an entry of a JWK set (RFC 7517).
    #[must_use]
    pub fn jwk(&self) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(&self.key);
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": x })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;
    use ring::signature::{ED25519, UnparsedPublicKey};

    fn signer(bytes: &[u8]) -> Signer {
        let keys = bytes.iter().map(|byte| format!("k{byte}:{}", BASE64_STANDARD.encode([*byte; 32])));
        Signer::new(&Keyring::parse(&keys.collect::<Vec<_>>().join(",")).unwrap()).unwrap()
    }

    /// As somebody would who knows nothing of this code: `canonical` is spelt by hand.
    fn verifies(jws: &str, canonical: &str, keys: &[Value]) -> bool {
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let [header, "", signature] = jws.split('.').collect::<Vec<_>>()[..] else { panic!("not detached: {jws}") };
        let parsed: Value = serde_json::from_slice(&decode(header)).unwrap();
        assert_eq!(parsed["alg"], "EdDSA");
        let jwk = keys.iter().find(|it| it["kid"] == parsed["kid"]).expect("the key is listed");
        let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(canonical));
        let key = UnparsedPublicKey::new(&ED25519, decode(jwk["x"].as_str().unwrap()));
        key.verify(signed.as_bytes(), &decode(signature)).is_ok()
    }

    #[test]
    fn a_signature_verifies_over_the_canonical_spelling_and_over_nothing_else() {
        let signer = signer(&[1]);
        let keys: Vec<_> = signer.public_keys().iter().map(PublicKey::jwk).collect();
        let jws = signer.sign_detached(&json!({ "b": 2.50, "a": "ü\n", "\u{20ac}": [1e21, true, null] })).unwrap();
        let canonical = "{\"a\":\"ü\\n\",\"b\":2.5,\"€\":[1e+21,true,null]}";
        assert!(verifies(&jws, canonical, &keys));
        assert!(!verifies(&jws, &canonical.replace("2.5", "2.50"), &keys));
        assert!(!verifies(&jws, "{}", &keys));
    }

    /// The example of RFC 8785, section 3.2.2, and its result, section 3.2.3.
    #[test]
    fn json_is_spelt_as_its_standard_does() {
        let value: Value = serde_json::from_str(
            r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#,
        )
        .unwrap();
        let expected = concat!(
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(serde_jcs::to_string(&value).unwrap(), expected);
    }

    /// The example of RFC 8037, appendices A.1 to A.3.
    #[test]
    fn a_kid_is_the_keys_thumbprint() {
        let key = BASE64_URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(PublicKey::new(&key).kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_first_master_key_signs_and_the_keys_of_all_are_published() {
        let (one, two) = (signer(&[1]), signer(&[2, 1]));
        let jws = one.sign_detached(&json!({})).unwrap();
        let keys: Vec<_> = two.public_keys().iter().map(PublicKey::jwk).collect();
        assert_eq!(keys.len(), 2);
        assert!(verifies(&jws, "{}", &keys), "what was signed before the rotation is still good");
        assert!(!two.sign_detached(&json!({})).unwrap().contains(&one.public_keys()[0].kid));
    }
}
