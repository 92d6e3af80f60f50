//! Checks signatures with the public keys and the standards alone, without our code.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;

/// Whether the detached JWS is a good signature over `canonical` by one of the keys of `jwks`.
pub fn verifies(signature: &str, canonical: &str, jwks: &Value) -> bool {
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url without padding");
    let parts: Vec<_> = signature.split('.').collect();
    let [header, "", signature] = parts[..] else { panic!("not detached: {signature}") };
    let parsed: Value = serde_json::from_slice(&decode(header)).expect("the header is JSON");
    assert_eq!(parsed["alg"], "EdDSA");
    let keys = jwks["keys"].as_array().expect("a JWK set");
    let Some(jwk) = keys.iter().find(|key| key["kid"] == parsed["kid"]) else { return false };
    let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(canonical));
    let key = UnparsedPublicKey::new(&ED25519, decode(jwk["x"].as_str().expect("a public key")));
    key.verify(signed.as_bytes(), &decode(signature)).is_ok()
}

/// A receipt of erasure in the form of RFC 8785, without its signature: sorted names, no spaces.
pub fn canonical_receipt(receipt: &Value) -> String {
    format!(
        r#"{{"erased_at":{},"images":{},"job_id":{},"records":{},"renditions":{},"request_id":{}}}"#,
        receipt["erased_at"],
        receipt["images"],
        receipt["job_id"],
        receipt["records"],
        receipt["renditions"],
        receipt["request_id"],
    )
}
