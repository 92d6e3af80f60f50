//! What a job knows about a person besides images. It is encrypted before it arrives here, and gone when its row is.

use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};

/// What a sealed record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealPurpose {
    /// The ID number that was asked for.
    IdNumber,
    /// What the source knows about the holder of the number.
    Identity,
}

impl SealPurpose {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IdNumber => "id_number",
            Self::Identity => "identity",
        }
    }

    /// The place that is authenticated with the record. A record that is moved to another job does not decrypt.
    #[must_use]
    pub fn place(self, tenant_id: TenantId, job_id: JobId) -> String {
        format!("sealed/{tenant_id}/{job_id}/{}", self.name())
    }
}

/// A sealed record and its wrapped key.
#[derive(Clone)]
pub struct SealedRecord {
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

impl Tx {
    /// # Errors
    /// When the job has a record of that purpose, or the database fails.
    pub async fn insert_sealed(
        &mut self,
        tenant_id: TenantId,
        job_id: JobId,
        purpose: SealPurpose,
        record: &SealedRecord,
    ) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO sealed_records (job_id, purpose, tenant_id, master_key_id, wrapped_key, sealed)
             VALUES ($1, $2, $3, $4, $5, $6)",
            job_id.0,
            purpose.name(),
            tenant_id.0,
            record.master_key_id,
            record.wrapped_key,
            record.sealed,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Gives the job's records the same last day as its images.
    pub(super) async fn end_sealed(&mut self, job_id: JobId) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE sealed_records SET purge_at = jobs.purge_at FROM jobs
             WHERE sealed_records.job_id = $1 AND jobs.id = $1",
            job_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

impl Store {
    /// The job's record of that purpose. `None` if there is none, or it is erased.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_sealed(
        &self,
        tenant_id: TenantId,
        job_id: JobId,
        purpose: SealPurpose,
    ) -> Result<Option<SealedRecord>, Error> {
        let record = sqlx::query_as!(
            SealedRecord,
            "SELECT master_key_id, wrapped_key, sealed FROM sealed_records
             WHERE tenant_id = $1 AND job_id = $2 AND purpose = $3",
            tenant_id.0,
            job_id.0,
            purpose.name(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(record)
    }

    /// Erases up to `limit` records whose retention has ended, past the first `skip` ones. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_due_sealed(&self, limit: i64, skip: i64) -> Result<u64, Error> {
        let erased = sqlx::query!(
            "DELETE FROM sealed_records WHERE (job_id, purpose) IN
                 (SELECT job_id, purpose FROM sealed_records WHERE purge_at <= now()
                  ORDER BY purge_at, job_id LIMIT $1 OFFSET $2 FOR UPDATE SKIP LOCKED)",
            limit,
            skip,
        )
        .execute(&self.pool)
        .await?;
        Ok(erased.rows_affected())
    }
}
