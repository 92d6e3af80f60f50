//! Passwords: Argon2id with the parameters that OWASP advises (19 MiB, 2 passes), as PHC strings.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

/// Characters, at least. Length is what counts; no rule asks for digits.
pub const SHORTEST: usize = 12;
/// Bytes, at most: nobody types more, and hashing them costs time.
pub const LONGEST: usize = 256;

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    #[error("a password needs at least {SHORTEST} characters: a few words do")]
    TooShort,
    #[error("a password may have at most {LONGEST} bytes")]
    TooLong,
    /// The system gave no random bytes.
    #[error("a password cannot be hashed at the moment")]
    Hashing,
}

/// The hash to store. Takes tens of milliseconds of a core.
///
/// # Errors
/// When it is too short or too long.
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

/// Whether it is the password of that hash. Without one it takes as long, and is not: nobody learns which logins exist.
#[must_use]
pub fn verify(password: &str, hash: Option<&str>) -> bool {
    static NOBODYS: LazyLock<String> = LazyLock::new(|| self::hash("nobody's password").unwrap_or_default());
    let could_be = hash.is_some() && password.len() <= LONGEST;
    let (password, stored) = if could_be { (password, hash.unwrap_or_default()) } else { ("", NOBODYS.as_str()) };
    let verified =
        PasswordHash::new(stored).is_ok_and(|it| Argon2::default().verify_password(password.as_bytes(), &it).is_ok());
    verified && could_be
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_right_for_its_own_hash_alone() {
        let stored = hash("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify("correct horse battery", Some(&stored)));
        assert!(!verify("correct horse batterz", Some(&stored)));
        assert!(!verify("", Some(&stored)) && !verify("correct horse battery", Some("")));
        assert_ne!(stored, hash("correct horse battery").unwrap(), "each has a salt of its own");
        assert!(!verify("nobody's password", None));
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert_eq!(hash("elevenchars"), Err(PasswordFault::TooShort));
        assert_eq!(hash(&"a".repeat(LONGEST + 1)), Err(PasswordFault::TooLong));
        assert!(hash("zwölf Zeichen").is_ok());
    }
}
