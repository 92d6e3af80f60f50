//! Erases again what the erasure log names, after an older backup of the database was restored.

use uuid::Uuid;

use super::erasures::insert_erasures;
use super::{Error, Store};
use visavis_domain::blob::BlobPlace;
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::tenant::Account;

/// What was there again and is erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedAgain {
    pub images: u64,
    /// Entries of the registry of identity records.
    pub entries: u64,
    /// Bodies of dead letters.
    pub bodies: u64,
    /// Jobs that have not ended in this database, although their images were erased.
    pub open_jobs: Vec<(TenantId, JobId)>,
}

impl Store {
    /// Erases those of these that exist, with their keys. Their blobs are to be deleted afterwards.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_again(&self, images: &[Uuid], entries: &[Uuid], letters: &[Uuid]) -> Result<ErasedAgain, Error> {
        let mut tx = self.begin().await?;
        let found = sqlx::query!(
            r#"SELECT images.id, images.tenant_id, images.job_id, jobs.id IS NOT NULL AND jobs.finished_at IS NULL AS "is_open!"
               FROM images LEFT JOIN jobs ON jobs.id = images.job_id
               WHERE images.id = ANY($1) ORDER BY images.id FOR UPDATE OF images"#,
            images,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        let ids: Vec<_> = found.iter().map(|image| image.id).collect();
        tx.delete_images(&ids).await?;
        let entries = sqlx::query_scalar!("DELETE FROM identity_registry WHERE id = ANY($1) RETURNING id", entries)
            .fetch_all(&mut *tx.inner)
            .await?;
        let bodies = sqlx::query_scalar!(
            "UPDATE dead_letters SET wrapped_key = NULL, master_key_id = NULL
             WHERE id = ANY($1) AND wrapped_key IS NOT NULL RETURNING id",
            letters,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        let places = entries.iter().map(|id| BlobPlace::Portrait(*id));
        let places = places.chain(bodies.iter().map(|id| BlobPlace::DeadLetter(*id)));
        let places: Vec<_> = places.map(|place| (place.to_string(), None)).collect();
        insert_erasures(&mut tx, &places).await?;
        tx.commit().await?;
        let mut open_jobs: Vec<_> = found
            .into_iter()
            .filter(|image| image.is_open)
            .filter_map(|image| Some((TenantId(image.tenant_id), JobId(image.job_id?))))
            .collect();
        open_jobs.dedup_by_key(|job| job.1);
        Ok(ErasedAgain {
            images: ids.len() as u64,
            entries: entries.len() as u64,
            bodies: bodies.len() as u64,
            open_jobs,
        })
    }

    /// The account of a job that is not erased. `None` if there is no such job.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_unerased_job(&self, tenant_id: TenantId, job_id: JobId) -> Result<Option<Account>, Error> {
        let sandbox = sqlx::query_scalar!(
            "SELECT sandbox FROM jobs WHERE tenant_id = $1 AND id = $2 AND erased_at IS NULL",
            tenant_id.0,
            job_id.0,
        );
        let sandbox = sandbox.fetch_optional(&self.pool).await?;
        Ok(sandbox.map(|sandbox| Account { tenant_id, sandbox }))
    }
}
