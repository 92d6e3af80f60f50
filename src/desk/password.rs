//! Passwords: Argon2id with the parameters that OWASP recommends (19 MiB, 2 passes), stored as PHC strings.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

/// Characters, at least. There are no rules about digits or symbols: length protects best.
pub const SHORTEST: usize = 12;
/// Bytes, at most. It bounds the time that hashing takes.
pub const LONGEST: usize = 256;

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    #[error("a password needs at least {SHORTEST} characters; a few words are fine")]
    TooShort,
    #[error("a password may have at most {LONGEST} bytes")]
    TooLong,
    /// The system gave no random bytes.
    #[error("the password cannot be hashed right now; try again")]
    Hashing,
}

/// The hash to store, as a PHC string. Takes tens of milliseconds of a core.
///
/// # Errors
/// When the password is too short or too long, or the system has no random bytes.
pub fn hash(password: &str) -> Result<String, PasswordFault> {
    if password.chars().count() < SHORTEST {
        return Err(PasswordFault::TooShort);
    }
    if password.len() > LONGEST {
        return Err(PasswordFault::TooLong);
    }
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|_| PasswordFault::Hashing)?;
    Ok(hash.to_string())
}

/// Whether the password belongs to the hash. Without a hash the answer is no, but it takes the same time. Otherwise the
/// time would reveal which logins exist.
#[must_use]
pub fn verify(password: &str, hash: Option<&str>) -> bool {
    static DUMMY_HASH: LazyLock<String> = LazyLock::new(|| self::hash("nobody's password").unwrap_or_default());
    let could_be = hash.is_some() && password.len() <= LONGEST;
    let (password, stored) = if could_be { (password, hash.unwrap_or_default()) } else { ("", DUMMY_HASH.as_str()) };
    let verify = |hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
    let verified = PasswordHash::new(stored).is_ok_and(verify);
    verified && could_be
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_belongs_to_its_own_hash_only() {
        let stored = hash("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify("correct horse battery", Some(&stored)));
        assert!(!verify("correct horse batterz", Some(&stored)));
        assert!(!verify("", Some(&stored)) && !verify("correct horse battery", Some("")));
        assert_ne!(stored, hash("correct horse battery").unwrap(), "each hash has its own salt");
        assert!(!verify("nobody's password", None));
    }

    #[test]
    fn short_and_very_long_passwords_are_refused() {
        assert_eq!(hash("elevenchars"), Err(PasswordFault::TooShort));
        assert_eq!(hash(&"a".repeat(LONGEST + 1)), Err(PasswordFault::TooLong));
        assert!(hash("zwölf Zeichen").is_ok());
    }
}
