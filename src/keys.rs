//! The master keys, and what is made with them: sealed bytes, signatures and signed URLs.

pub mod envelope;
pub mod links;
pub mod signing;

pub use envelope::{Keyring, WrappedKey};
pub use links::{Grant, SignedLinks};
pub use signing::{ForgedToken, PublicKey, Signer};

/// Why something could not be sealed, opened or signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a list of keys, or no key can be derived.
    #[error("master keys: {0}")]
    Master(String),
    #[error("the master key {0} is not among VISAVIS_MASTER_KEYS")]
    UnknownMasterKey(String),
    /// The bytes, their key or their place were altered.
    #[error("stored bytes do not decrypt: they or their key were altered")]
    Altered,
    #[error("a value cannot be written as canonical JSON (RFC 8785), so it cannot be signed")]
    Unsignable,
}
