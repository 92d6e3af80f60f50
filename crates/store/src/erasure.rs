//! Erasure. The keys go first, with the rows that hold them: without a key the bytes are noise everywhere, in backups
//! too. The same commit writes the places of the blobs to `erasures`, from where they are deleted.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use super::erasures::insert_erasures;
use super::jobs::job_state;
use super::metadata::{StoredMetadata, summary};
use super::replies::{ReplyAddress, ReplyType};
use super::signals::Signal;
use super::{Error, Store, Tx};
use visavis_domain::blob::BlobPlace;
use visavis_domain::ids::{ImageId, JobId, TenantId};
use visavis_domain::job::{JobState, Verdict};
use visavis_domain::notice::{self, JobSummary};
use visavis_domain::tenant::Account;
use visavis_domain::webhook::EventType;

/// A job that nobody else can change until the transaction ends.
pub struct LockedJob {
    pub account: Account,
    pub summary: JobSummary,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    /// The time of this transaction.
    pub now: DateTime<Utc>,
    /// The receipt, if the job is erased already.
    pub receipt: Option<Value>,
    reply: Option<ReplyAddress>,
}

/// How much an erasure removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasedCounts {
    pub images: u64,
    pub renditions: u64,
    pub records: u64,
}

impl Tx {
    /// Locks one of the account's jobs in order to erase it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lock_job(&mut self, account: Account, id: JobId) -> Result<Option<LockedJob>, Error> {
        // The case is locked first, as in every decision. Two transactions that lock in different orders would wait for
        // each other.
        let decided = sqlx::query_scalar!(
            "SELECT verdict FROM review_cases WHERE job_id = $1 AND tenant_id = $2 FOR UPDATE",
            id.0,
            account.tenant_id.0,
        )
        .fetch_optional(&mut *self.inner)
        .await?
        .flatten();
        let row = sqlx::query!(
            r#"SELECT id, request_id, kind, sandbox, state, verdict, reply_to, correlation_id, now() AS "now!",
                      metadata AS "metadata: Json<StoredMetadata>", erasure_receipt
               FROM jobs WHERE tenant_id = $1 AND sandbox = $2 AND id = $3 FOR UPDATE"#,
            account.tenant_id.0,
            account.sandbox,
            id.0,
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(LockedJob {
            account,
            summary: summary(row.id, row.request_id, row.kind, row.sandbox, row.metadata),
            state: job_state(&row.state)?,
            verdict: decided.or(row.verdict).as_deref().and_then(Verdict::parse),
            now: row.now,
            receipt: row.erasure_receipt,
            reply: ReplyAddress::of(row.reply_to, row.correlation_id),
        }))
    }

    /// Erases the keys of the job's images and renditions, its sealed records and the perceptual hash of its probe.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_keys(&mut self, job: &LockedJob) -> Result<ErasedCounts, Error> {
        let (tenant_id, job_id) = (job.account.tenant_id.0, job.summary.id.0);
        // Images are locked first: making a rendition takes a lock on its image.
        let images = sqlx::query_scalar!(
            "SELECT id FROM images WHERE tenant_id = $1 AND job_id = $2 ORDER BY id FOR UPDATE",
            tenant_id,
            job_id,
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let (images, renditions) = self.delete_images(&images).await?;
        let records =
            sqlx::query!("DELETE FROM sealed_records WHERE tenant_id = $1 AND job_id = $2", tenant_id, job_id)
                .execute(&mut *self.inner)
                .await?
                .rows_affected();
        sqlx::query!("DELETE FROM probe_prints WHERE tenant_id = $1 AND job_id = $2", tenant_id, job_id)
            .execute(&mut *self.inner)
            .await?;
        let erased = BlobPlace::Job(job.account.tenant_id, job.summary.id).to_string();
        insert_erasures(self, &[(erased, Some(job_id))]).await?;
        Ok(ErasedCounts { images, renditions, records })
    }

    /// Deletes these images and their renditions with their keys, and writes down which blobs are to be deleted. The
    /// caller holds the locks of the images. Returns how many images and renditions had a key.
    pub(super) async fn delete_images(&mut self, ids: &[Uuid]) -> Result<(u64, u64), Error> {
        let renditions = sqlx::query!(
            r#"DELETE FROM renditions WHERE image_id = ANY($1)
               RETURNING tenant_id, id, image_id, wrapped_key IS NOT NULL AS "has_key!""#,
            ids,
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let images = sqlx::query!(
            r#"DELETE FROM images WHERE id = ANY($1)
               RETURNING tenant_id, id, job_id, wrapped_key IS NOT NULL AS "has_key!""#,
            ids,
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let jobs: BTreeMap<_, _> = images.iter().map(|image| (image.id, image.job_id)).collect();
        let counts = (
            images.iter().filter(|image| image.has_key).count() as u64,
            renditions.iter().filter(|rendition| rendition.has_key).count() as u64,
        );
        let renditions = renditions.into_iter().map(|row| {
            let job = jobs.get(&row.image_id).copied().flatten();
            (BlobPlace::Rendition(TenantId(row.tenant_id), row.id).to_string(), job)
        });
        let images = images
            .into_iter()
            .map(|row| (BlobPlace::Image(TenantId(row.tenant_id), ImageId(row.id)).to_string(), row.job_id));
        let places: Vec<_> = renditions.chain(images).collect();
        insert_erasures(self, &places).await?;
        Ok(counts)
    }

    /// Ends the job if it has not ended, and keeps only what the receipt needs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_erased(&mut self, job: &LockedJob, receipt: &Value) -> Result<(), Error> {
        let (tenant_id, job_id) = (job.account.tenant_id, job.summary.id);
        // A worker that runs the job finds another epoch and changes nothing.
        let rows = sqlx::query!(
            "UPDATE jobs
             SET epoch = epoch + CASE WHEN finished_at IS NULL THEN 1 ELSE 0 END,
                 state = CASE WHEN finished_at IS NULL THEN 'cancelled' ELSE state END,
                 lease_until = NULL, finished_at = coalesce(finished_at, now()), purge_at = coalesce(purge_at, now()),
                 result = NULL, metadata = '{}', reply_to = NULL, correlation_id = NULL,
                 erased_at = now(), erasure_receipt = $3
             WHERE tenant_id = $1 AND id = $2 AND erased_at IS NULL",
            tenant_id.0,
            job_id.0,
            receipt,
        )
        .execute(&mut *self.inner)
        .await?
        .rows_affected();
        if rows != 1 {
            return Err(Error::Unreadable { what: "job that was erased while it was locked" });
        }
        self.delete_doorbells(job_id).await?;
        self.erase_case(job.account, job_id).await?;
        self.thin_notices(tenant_id, job_id).await?;
        let cancelled = !job.state.is_terminal();
        if cancelled {
            self.news.push(Signal::Ending);
            let notice = notice::cancelled(&job.summary);
            self.insert_event(job.account, Some(job_id), EventType::JobFailed, &notice).await?;
            if let Some(reply) = &job.reply {
                self.insert_reply(ReplyType::Failed, Some((tenant_id, job_id)), reply, &notice).await?;
            }
        }
        let state = if cancelled { JobState::Cancelled } else { job.state };
        let notice = notice::erased(&job.summary, state, job.verdict, job.now);
        self.insert_event(job.account, Some(job_id), EventType::ImageErased, &notice).await
    }

    /// Reduces the job's published and waiting notices to its verdict.
    async fn thin_notices(&mut self, tenant_id: TenantId, job_id: JobId) -> Result<(), Error> {
        let kept: Vec<String> = notice::KEPT_AFTER_ERASURE.iter().map(|field| (*field).to_owned()).collect();
        let rest = json!({ "metadata": {} });
        sqlx::query!(
            "UPDATE events SET payload = $4 || (SELECT coalesce(jsonb_object_agg(key, value), '{}')
                                                FROM jsonb_each(payload) WHERE key = ANY($3))
             WHERE tenant_id = $1 AND job_id = $2",
            tenant_id.0,
            job_id.0,
            &kept,
            rest,
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "UPDATE outbox SET payload = $4 || (SELECT coalesce(jsonb_object_agg(key, value), '{}')
                                                FROM jsonb_each(payload) WHERE key = ANY($3))
             WHERE kind <> 'doorbell' AND (tenant_id = $1 OR tenant_id IS NULL)
               AND (job_id = $2 OR payload->>'id' = $2::text)",
            tenant_id.0,
            job_id.0,
            &kept,
            rest,
        )
        .execute(&mut *self.inner)
        .await?;
        // A receiver may have sent our own notice back in its answer.
        sqlx::query!(
            "UPDATE delivery_attempts SET answer = ''
             WHERE event_id IN (SELECT id FROM events WHERE tenant_id = $1 AND job_id = $2)",
            tenant_id.0,
            job_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Erases up to `limit` images whose retention has ended, and their renditions, past the first `skip` ones that
    /// are due. Nobody can read them from then on. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_due_images(&self, limit: i64, skip: i64) -> Result<u64, Error> {
        // One statement: a transaction that is dropped after a fault would keep its locks for longer. It fails if a
        // rendition is made at the same time, and the next one sees that rendition.
        let erased = sqlx::query_scalar!(
            r#"WITH due AS (SELECT id FROM images WHERE purge_at <= now()
                            ORDER BY purge_at, id LIMIT $1 OFFSET $2 FOR UPDATE SKIP LOCKED),
                    made AS (DELETE FROM renditions WHERE image_id IN (SELECT id FROM due)
                             RETURNING tenant_id, id, image_id),
                    gone AS (DELETE FROM images WHERE id IN (SELECT id FROM due) RETURNING tenant_id, id, job_id),
                    listed AS (INSERT INTO erasures (place, job_id)
                               SELECT 'images/' || tenant_id || '/' || id, job_id FROM gone
                               UNION ALL
                               SELECT 'renditions/' || made.tenant_id || '/' || made.id, job_id
                               FROM made JOIN gone ON gone.id = image_id
                               ON CONFLICT (place) DO NOTHING)
               SELECT count(*) AS "count!" FROM gone"#,
            limit,
            skip,
        );
        Ok(erased.fetch_one(&self.pool).await?.unsigned_abs())
    }

    /// Erases an upload and its renditions. Returns the places of their blobs, or `None` if the account has no such
    /// upload.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_upload(&self, account: Account, id: ImageId) -> Result<Option<Vec<String>>, Error> {
        let mut tx = self.begin().await?;
        let found = sqlx::query_scalar!(
            "SELECT id FROM images
             WHERE tenant_id = $1 AND sandbox = $2 AND id = $3 AND role = 'upload' AND wrapped_key IS NOT NULL
             FOR UPDATE",
            account.tenant_id.0,
            account.sandbox,
            id.0,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(found) = found else { return Ok(None) };
        let renditions = sqlx::query_scalar!("SELECT id FROM renditions WHERE image_id = $1", found)
            .fetch_all(&mut *tx.inner)
            .await?;
        tx.delete_images(&[found]).await?;
        tx.commit().await?;
        let tenant_id = account.tenant_id;
        let places = renditions.into_iter().map(|id| BlobPlace::Rendition(tenant_id, id));
        Ok(Some(places.chain([BlobPlace::Image(tenant_id, id)]).map(|place| place.to_string()).collect()))
    }
}
