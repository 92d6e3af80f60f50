//! The registry of identity records. It belongs to the deployment, so its rows name no organisation. Numbers arrive
//! here as keyed hashes, and attributes arrive sealed.

use uuid::Uuid;

use super::erasures::insert_erasures;
use super::{Error, Store, Tx};
use visavis_domain::blob::BlobPlace;
use visavis_domain::identity::IdType;

/// An entry as stored. The portrait is in the blob store, under the entry's id.
#[derive(Clone)]
pub struct RegistryEntry {
    pub id: Uuid,
    pub portrait_master_key_id: String,
    pub portrait_key: Vec<u8>,
    pub record_master_key_id: String,
    pub record_key: Vec<u8>,
    pub record: Vec<u8>,
}

impl Store {
    /// # Errors
    /// When the database fails.
    pub async fn find_registry_entry(
        &self,
        id_type: IdType,
        number_hmac: &[u8],
    ) -> Result<Option<RegistryEntry>, Error> {
        let entry = sqlx::query_as!(
            RegistryEntry,
            "SELECT id, portrait_master_key_id, portrait_key, record_master_key_id, record_key, record
             FROM identity_registry WHERE id_type = $1 AND number_hmac = $2",
            id_type.name(),
            number_hmac,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(entry)
    }

    /// The keyed hash of what was imported for that number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_registry_content(&self, id_type: IdType, number_hmac: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let content = sqlx::query_scalar!(
            "SELECT content_hmac FROM identity_registry WHERE id_type = $1 AND number_hmac = $2",
            id_type.name(),
            number_hmac,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(content)
    }

    /// Stores an entry. It replaces an earlier entry of the same number and returns that entry's id: its portrait can
    /// be deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn upsert_registry_entry(
        &self,
        id_type: IdType,
        number_hmac: &[u8],
        content_hmac: &[u8],
        entry: &RegistryEntry,
    ) -> Result<Option<Uuid>, Error> {
        let mut tx = self.begin().await?;
        let replaced = sqlx::query_scalar!(
            "SELECT id FROM identity_registry WHERE id_type = $1 AND number_hmac = $2 FOR UPDATE",
            id_type.name(),
            number_hmac,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "INSERT INTO identity_registry (id, id_type, number_hmac, content_hmac, portrait_master_key_id, portrait_key,
                                            record_master_key_id, record_key, record)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (id_type, number_hmac) DO UPDATE
             SET id = EXCLUDED.id, content_hmac = EXCLUDED.content_hmac, imported_at = now(),
                 portrait_master_key_id = EXCLUDED.portrait_master_key_id, portrait_key = EXCLUDED.portrait_key,
                 record_master_key_id = EXCLUDED.record_master_key_id, record_key = EXCLUDED.record_key,
                 record = EXCLUDED.record",
            entry.id,
            id_type.name(),
            number_hmac,
            content_hmac,
            entry.portrait_master_key_id,
            entry.portrait_key,
            entry.record_master_key_id,
            entry.record_key,
            entry.record,
        )
        .execute(&mut *tx.inner)
        .await?;
        erase_portraits(&mut tx, replaced.as_slice()).await?;
        tx.commit().await?;
        Ok(replaced)
    }

    /// The number of entries of each ID type that has any, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_registry(&self) -> Result<Vec<(String, i64)>, Error> {
        let rows = sqlx::query!(
            r#"SELECT id_type, count(*) AS "count!" FROM identity_registry GROUP BY id_type ORDER BY id_type"#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.id_type, row.count)).collect())
    }

    /// Removes an entry with its keys. Returns the id of the portrait, which can be deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_registry_entry(&self, id_type: IdType, number_hmac: &[u8]) -> Result<Option<Uuid>, Error> {
        let mut tx = self.begin().await?;
        let id = sqlx::query_scalar!(
            "DELETE FROM identity_registry WHERE id_type = $1 AND number_hmac = $2 RETURNING id",
            id_type.name(),
            number_hmac,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        erase_portraits(&mut tx, id.as_slice()).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Removes up to `limit` entries of a type.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_registry_entries(&self, id_type: IdType, limit: i64) -> Result<Vec<Uuid>, Error> {
        let mut tx = self.begin().await?;
        let ids = sqlx::query_scalar!(
            "DELETE FROM identity_registry WHERE id IN (SELECT id FROM identity_registry WHERE id_type = $1 LIMIT $2)
             RETURNING id",
            id_type.name(),
            limit,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        erase_portraits(&mut tx, &ids).await?;
        tx.commit().await?;
        Ok(ids)
    }
}

/// The caller deletes the blobs at once. If it fails to, the janitor does.
async fn erase_portraits(tx: &mut Tx, ids: &[Uuid]) -> Result<(), Error> {
    let places: Vec<_> = ids.iter().map(|id| (BlobPlace::Portrait(*id).to_string(), None)).collect();
    insert_erasures(tx, &places).await
}
