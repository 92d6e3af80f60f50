//! Identifiers: sortable UUIDs for programs, and twelve characters for people to quote.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier. Later ones sort after earlier ones.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "two calls differ: not a default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// One comparison job.
    JobId
);
uuid_id!(
    /// One organisation.
    TenantId
);
uuid_id!(
    /// One stored image.
    ImageId
);
uuid_id!(
    /// One webhook endpoint.
    EndpointId
);

/// The 12 characters that people quote, in Crockford's base 32, which leaves out I, L, O and U because they are
/// misread.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(String);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl RequestId {
    /// Makes an identifier of the low 60 bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let character = |i: u32| char::from(CROCKFORD[usize::try_from((bits >> (5 * i)) & 31).unwrap_or_default()]);
        Self((0..12).rev().map(character).collect())
    }

    /// An identifier read from the database.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_request_id_has_twelve_readable_characters_and_keeps_all_sixty_bits(bits in 0_u64..1 << 60) {
            let id = RequestId::from_bits(bits);
            prop_assert_eq!(id.as_str().len(), 12);
            prop_assert!(!id.as_str().contains(['I', 'L', 'O', 'U']));
            let back = id.as_str().bytes().fold(0, |n, c| {
                n << 5 | CROCKFORD.iter().position(|&x| x == c).unwrap() as u64
            });
            prop_assert_eq!(back, bits);
        }
    }
}
