//! Signatures that anybody can check: JWS over canonical JSON, detached or as a token, and their public keys.
//!
//! Ed25519 (RFC 8037), with one key derived from each master key; the first signs. A detached signature is
//! `header..signature` (RFC 7515, appendix F). Its payload is the signed value as canonical JSON (RFC 8785), so
//! everybody who has the value can check it. A token carries its payload, and a type in its header: what was signed for
//! one purpose is refused for any other.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Value, json};

use super::Error;
use super::envelope::Keyring;

const PURPOSE: &str = "signature/ed25519/v1";

/// Signs with the key that the first master key gives.
pub struct Signer {
    keys: Vec<(PublicKey, Ed25519KeyPair)>,
}

/// The token was not signed here, or it was signed for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token's signature is wrong")]
pub struct ForgedToken;

/// A key that checks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The key's thumbprint (RFC 7638).
    pub kid: String,
    /// 32 bytes.
    pub key: Vec<u8>,
}

impl Signer {
    /// # Errors
    /// When no key can be derived.
    pub fn new(keyring: &Keyring) -> Result<Self, Error> {
        let pair = |seed: [u8; 32]| {
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
            let pair = pair.map_err(|_| Error::Master("no signing key can be derived".to_owned()))?;
            Ok((PublicKey::new(pair.public_key().as_ref()), pair))
        };
        Ok(Self { keys: keyring.derive(PURPOSE)?.into_iter().map(pair).collect::<Result<_, Error>>()? })
    }

    /// Signs `value`. Its numbers must be exact as JavaScript numbers.
    ///
    /// # Errors
    /// When the value cannot be written as canonical JSON.
    pub fn sign_detached(&self, value: &Value) -> Result<String, Error> {
        let [header, _, signature] = self.sign(value, &json!({ "alg": "EdDSA" }))?;
        Ok(format!("{header}..{signature}"))
    }

    /// Signs `value` as a token of type `typ`.
    ///
    /// # Errors
    /// As [`Self::sign_detached`].
    pub fn sign_token(&self, typ: &str, value: &Value) -> Result<String, Error> {
        Ok(self.sign(value, &json!({ "alg": "EdDSA", "typ": typ }))?.join("."))
    }

    /// The content of a token of type `typ`, if one of the present keys signed it.
    ///
    /// # Errors
    /// When it is not such a token.
    pub fn read_token(&self, typ: &str, token: &str) -> Result<Value, ForgedToken> {
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ForgedToken);
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).map_err(|_| ForgedToken);
        let (signed, signature) = token.rsplit_once('.').ok_or(ForgedToken)?;
        let (header, payload) = signed.split_once('.').ok_or(ForgedToken)?;
        let said = parse(&decode(header)?)?;
        let (public, _) = self.keys.iter().find(|(public, _)| said["kid"] == public.kid).ok_or(ForgedToken)?;
        let verified =
            UnparsedPublicKey::new(&ED25519, &public.key).verify(signed.as_bytes(), &decode(signature)?).is_ok();
        if !verified || said["typ"] != typ {
            return Err(ForgedToken);
        }
        parse(&decode(payload)?)
    }

    /// Header, payload and signature, each in Base64.
    fn sign(&self, value: &Value, header: &Value) -> Result<[String; 3], Error> {
        let (public, pair) = self.keys.first().ok_or_else(|| Error::Master("there is none".to_owned()))?;
        let mut header = header.clone();
        header["kid"] = json!(public.kid);
        let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        let payload = BASE64_URL_SAFE_NO_PAD.encode(serde_jcs::to_vec(value).map_err(|_| Error::Unsignable)?);
        let signature = BASE64_URL_SAFE_NO_PAD.encode(pair.sign(format!("{header}.{payload}").as_bytes()));
        Ok([header, payload, signature])
    }

    /// The public keys of all present master keys.
    #[must_use]
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.keys.iter().map(|(public, _)| public.clone()).collect()
    }
}

impl PublicKey {
    fn new(key: &[u8]) -> Self {
        let x = BASE64_URL_SAFE_NO_PAD.encode(key);
        // The members that RFC 8037 names, in the order and form that RFC 7638 requires.
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let thumbprint = digest::digest(&digest::SHA256, canonical.as_bytes());
        Self { kid: BASE64_URL_SAFE_NO_PAD.encode(thumbprint), key: key.to_owned() }
    }

    /// The key as an entry of a JWK set (RFC 7517).
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

    /// Checks like a stranger who does not know this code: `canonical` is written by hand.
    fn verifies(jws: &str, canonical: &str, keys: &[Value]) -> bool {
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let [header, "", signature] = jws.split('.').collect::<Vec<_>>()[..] else { panic!("not detached: {jws}") };
        let parsed: Value = serde_json::from_slice(&decode(header)).unwrap();
        assert_eq!(parsed["alg"], "EdDSA");
        let jwk = keys.iter().find(|key| key["kid"] == parsed["kid"]).expect("the key is listed");
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
    fn a_token_is_read_for_its_own_purpose_by_whoever_has_its_key_and_by_nobody_else() {
        let token = signer(&[1]).sign_token("a+jwt", &json!({ "n": 7 })).unwrap();
        for keys in [&[1][..], &[2, 1]] {
            assert_eq!(signer(keys).read_token("a+jwt", &token), Ok(json!({ "n": 7 })));
        }
        assert_eq!(signer(&[2]).read_token("a+jwt", &token), Err(ForgedToken));
        assert_eq!(signer(&[1]).read_token("b+jwt", &token), Err(ForgedToken));
        let detached = signer(&[1]).sign_detached(&json!({ "n": 7 })).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        for text in ["", "..", "a.b", "a.b.c", &detached, &detached.replacen("..", &format!(".{payload}."), 1)] {
            assert_eq!(signer(&[1]).read_token("a+jwt", text), Err(ForgedToken), "{text}");
        }
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(signer(&[1]).read_token("a+jwt", &altered), Err(ForgedToken), "{at}");
        }
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
