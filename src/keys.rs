//! The master keys and what is made with them: sealed bytes, signatures, signed URLs.

pub mod envelope;
pub mod links;
pub mod signing;

pub use envelope::{Keyring, WrappedKey};
pub use links::{Grant, SignedLinks};
pub use signing::{ForgedToken, PublicKey, Signer};

/// Why something could not be sealed, opened or signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is not a list of keys, or a key that cannot be made.
    #[error("master keys: {0}")]
    Master(String),
    #[error("the master key {0} is not among VISAVIS_MASTER_KEYS")]
    UnknownMasterKey(String),
    /// The bytes, their key or their place were changed.
    #[error("stored bytes do not decrypt: they or their key were altered")]
    Altered,
    #[error("a value cannot be written as canonical JSON (RFC 8785), so it cannot be signed")]
    Unsignable,
}
