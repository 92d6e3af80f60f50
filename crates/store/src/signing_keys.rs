//! Public keys of our signatures. They are kept for good, because a signature outlives the master key behind it.

use super::{Error, Store};

/// A public key and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    pub kid: String,
    /// 32 bytes.
    pub public_key: Vec<u8>,
}

impl Store {
    /// Stores keys. Known ones stay as they are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_signing_keys(&self, keys: &[SigningKey]) -> Result<(), Error> {
        for key in keys {
            sqlx::query!(
                "INSERT INTO signing_keys (kid, public_key) VALUES ($1, $2) ON CONFLICT (kid) DO NOTHING",
                key.kid,
                key.public_key,
            )
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }

    /// Every key that ever signed, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_signing_keys(&self) -> Result<Vec<SigningKey>, Error> {
        let keys =
            sqlx::query_as!(SigningKey, "SELECT kid, public_key FROM signing_keys ORDER BY created_at DESC, kid");
        Ok(keys.fetch_all(&self.pool).await?)
    }
}
