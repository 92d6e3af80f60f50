//! Erasure. The keys go first, in one commit: without them the bytes are noise everywhere, in backups too. Blobs and
//! rows follow. Until then they are listed as a batch that the janitor works through.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use super::jobs::{job_state, summary};
use super::replies::{ReplyAddress, ReplyType};
use super::signals::Signal;
use super::{Error, Store, Tx};
use visavis_domain::ids::{ImageId, JobId, TenantId};
use visavis_domain::job::{JobState, Verdict};
use visavis_domain::notice::{self, JobSummary};
use visavis_domain::tenant::Account;
use visavis_domain::webhook::EventType;

/// Images and renditions that have no key any more. Their blobs and rows are to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasureBatch {
    pub images: Vec<(TenantId, ImageId)>,
    pub renditions: Vec<(TenantId, Uuid)>,
}

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
                      metadata AS "metadata: Json<BTreeMap<String, String>>", erasure_receipt
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
        // Images first: making a rendition takes a lock on its image.
        let images = sqlx::query!(
            "UPDATE images SET wrapped_key = NULL, purge_at = now()
             WHERE tenant_id = $1 AND job_id = $2 AND wrapped_key IS NOT NULL",
            tenant_id,
            job_id,
        )
        .execute(&mut *self.inner)
        .await?
        .rows_affected();
        let renditions = sqlx::query!(
            "UPDATE renditions SET wrapped_key = NULL
             WHERE tenant_id = $1 AND image_id IN (SELECT id FROM images WHERE tenant_id = $1 AND job_id = $2)
               AND wrapped_key IS NOT NULL",
            tenant_id,
            job_id,
        )
        .execute(&mut *self.inner)
        .await?
        .rows_affected();
        let records =
            sqlx::query!("DELETE FROM sealed_records WHERE tenant_id = $1 AND job_id = $2", tenant_id, job_id)
                .execute(&mut *self.inner)
                .await?
                .rows_affected();
        sqlx::query!("DELETE FROM probe_prints WHERE tenant_id = $1 AND job_id = $2", tenant_id, job_id)
            .execute(&mut *self.inner)
            .await?;
        Ok(ErasedCounts { images, renditions, records })
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
    /// Erases the keys of up to `limit` images whose retention has ended, and of their renditions. Nobody can read them
    /// from then on. Also returns images whose erasure an earlier call began but did not finish.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_due_keys(&self, limit: i64) -> Result<ErasureBatch, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            "UPDATE images SET wrapped_key = NULL
             WHERE id IN (SELECT id FROM images WHERE purge_at <= now()
                          ORDER BY purge_at LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING tenant_id, id",
            limit,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let renditions = sqlx::query!(
            "UPDATE renditions SET wrapped_key = NULL WHERE image_id = ANY($1) RETURNING tenant_id, id",
            &ids,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(ErasureBatch {
            images: rows.into_iter().map(|row| (TenantId(row.tenant_id), ImageId(row.id))).collect(),
            renditions: renditions.into_iter().map(|row| (TenantId(row.tenant_id), row.id)).collect(),
        })
    }

    /// Erases the keys of an upload and its renditions. `None` if the account has no such upload.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_upload_keys(&self, account: Account, id: ImageId) -> Result<Option<ErasureBatch>, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            "UPDATE images SET wrapped_key = NULL, purge_at = now()
             WHERE tenant_id = $1 AND sandbox = $2 AND id = $3 AND role = 'upload' AND wrapped_key IS NOT NULL",
            account.tenant_id.0,
            account.sandbox,
            id.0,
        )
        .execute(&mut *tx.inner)
        .await?
        .rows_affected();
        if rows == 0 {
            return Ok(None);
        }
        let renditions = sqlx::query_scalar!(
            "UPDATE renditions SET wrapped_key = NULL WHERE tenant_id = $1 AND image_id = $2 RETURNING id",
            account.tenant_id.0,
            id.0,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        let tenant_id = account.tenant_id;
        let renditions = renditions.into_iter().map(|id| (tenant_id, id)).collect();
        Ok(Some(ErasureBatch { images: vec![(tenant_id, id)], renditions }))
    }

    /// The images and renditions of an erased job that are still to be deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_erasure_batch(&self, tenant_id: TenantId, job_id: JobId) -> Result<ErasureBatch, Error> {
        let images = sqlx::query_scalar!(
            "SELECT id FROM images WHERE tenant_id = $1 AND job_id = $2 AND wrapped_key IS NULL",
            tenant_id.0,
            job_id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        let renditions = sqlx::query_scalar!(
            "SELECT id FROM renditions WHERE tenant_id = $1 AND image_id = ANY($2) AND wrapped_key IS NULL",
            tenant_id.0,
            &images,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ErasureBatch {
            images: images.into_iter().map(|id| (tenant_id, ImageId(id))).collect(),
            renditions: renditions.into_iter().map(|id| (tenant_id, id)).collect(),
        })
    }

    /// Deletes the rows of images and renditions whose blobs are gone. Returns how many images.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_erased(&self, batch: &ErasureBatch) -> Result<u64, Error> {
        let images: Vec<_> = batch.images.iter().map(|(_, id)| id.0).collect();
        let renditions: Vec<_> = batch.renditions.iter().map(|(_, id)| *id).collect();
        let mut tx = self.begin().await?;
        sqlx::query!("DELETE FROM renditions WHERE id = ANY($1) AND wrapped_key IS NULL", &renditions)
            .execute(&mut *tx.inner)
            .await?;
        let deleted = sqlx::query!("DELETE FROM images WHERE id = ANY($1) AND wrapped_key IS NULL", &images)
            .execute(&mut *tx.inner)
            .await?
            .rows_affected();
        tx.commit().await?;
        Ok(deleted)
    }

    /// The time so long ago.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ago(&self, time: Duration) -> Result<DateTime<Utc>, Error> {
        let ago = sqlx::query_scalar!(r#"SELECT now() - make_interval(secs => $1) AS "ago!""#, time.as_secs_f64(),);
        Ok(ago.fetch_one(&self.pool).await?)
    }

    /// Which of these blob ids no row refers to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_orphans(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let orphans = sqlx::query_scalar!(
            r#"SELECT id AS "id!" FROM unnest($1::uuid[]) AS blob (id)
               WHERE NOT EXISTS (SELECT 1 FROM images WHERE images.id = blob.id)
                 AND NOT EXISTS (SELECT 1 FROM renditions WHERE renditions.id = blob.id)
                 AND NOT EXISTS (SELECT 1 FROM identity_registry WHERE identity_registry.id = blob.id)
                 AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE dead_letters.id = blob.id
                                                              AND wrapped_key IS NOT NULL)"#,
            ids,
        );
        Ok(orphans.fetch_all(&self.pool).await?)
    }
}
