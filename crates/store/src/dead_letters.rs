//! What an operator must look at: refused submissions, failed jobs, messages that the broker gave up on.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::replies::ReplyAddress;
use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::job::Failure;

/// A dead letter about to be stored. It never holds a message's body.
#[derive(Debug, Clone, Default)]
pub struct NewDeadLetter {
    pub kind: &'static str,
    pub tenant_id: Option<TenantId>,
    pub job_id: Option<JobId>,
    pub amqp_user: Option<String>,
    pub message_id: Option<String>,
    pub code: String,
    pub detail: String,
    pub reply: Option<ReplyAddress>,
    /// The master key's id and the wrapped key of the body, if a body was kept in the blob store.
    pub body_key: Option<(String, Vec<u8>)>,
}

/// A dead letter as lists show it.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: Uuid,
    pub kind: String,
    pub job_id: Option<JobId>,
    pub amqp_user: Option<String>,
    pub message_id: Option<String>,
    pub code: String,
    pub detail: String,
    pub reply: Option<ReplyAddress>,
    pub body_key: Option<(String, Vec<u8>)>,
    pub created_at: DateTime<Utc>,
    pub redriven_at: Option<DateTime<Utc>>,
}

impl Tx {
    /// # Errors
    /// When the database fails.
    pub async fn insert_dead_letter(&mut self, id: Uuid, letter: &NewDeadLetter) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO dead_letters (id, kind, tenant_id, job_id, amqp_user, message_id, code, detail, reply_to,
                                       correlation_id, master_key_id, wrapped_key)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            id,
            letter.kind,
            letter.tenant_id.map(|id| id.0),
            letter.job_id.map(|id| id.0),
            letter.amqp_user,
            letter.message_id,
            letter.code,
            letter.detail,
            letter.reply.as_ref().map(|reply| reply.reply_to.as_str()),
            letter.reply.as_ref().and_then(|reply| reply.correlation_id.as_deref()),
            letter.body_key.as_ref().map(|key| key.0.as_str()),
            letter.body_key.as_ref().map(|key| key.1.as_slice()),
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    pub(super) async fn insert_failed_job(
        &mut self,
        tenant_id: TenantId,
        job_id: JobId,
        failure: &Failure,
    ) -> Result<(), Error> {
        let letter = NewDeadLetter {
            kind: "failed_job",
            tenant_id: Some(tenant_id),
            job_id: Some(job_id),
            code: failure.code.clone(),
            detail: failure.detail.clone(),
            ..NewDeadLetter::default()
        };
        self.insert_dead_letter(Uuid::now_v7(), &letter).await
    }
}

impl Store {
    /// The newest `limit` dead letters.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, Error> {
        let rows = sqlx::query_as!(
            DeadLetterRecord,
            "SELECT id, kind, job_id, amqp_user, message_id, code, detail, reply_to, correlation_id,
                                  master_key_id, wrapped_key, created_at, redriven_at
                                  FROM dead_letters ORDER BY id DESC LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(DeadLetter::from).collect())
    }

    /// # Errors
    /// When the database fails.
    pub async fn find_dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, Error> {
        let row = sqlx::query_as!(
            DeadLetterRecord,
            "SELECT id, kind, job_id, amqp_user, message_id, code, detail, reply_to, correlation_id,
                                  master_key_id, wrapped_key, created_at, redriven_at
                                  FROM dead_letters WHERE id = $1",
            id
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(DeadLetter::from))
    }

    /// # Errors
    /// When the database fails.
    pub async fn mark_redriven(&self, id: Uuid) -> Result<(), Error> {
        sqlx::query!("UPDATE dead_letters SET redriven_at = now() WHERE id = $1", id).execute(&self.pool).await?;
        Ok(())
    }

    /// Erases the keys of up to `limit` kept bodies that are older than `age`, past the first `skip` ones. Returns how
    /// many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_old_bodies(&self, age: Duration, limit: i64, skip: i64) -> Result<u64, Error> {
        let erased = sqlx::query_scalar!(
            r#"WITH gone AS (UPDATE dead_letters SET wrapped_key = NULL, master_key_id = NULL
                             WHERE id IN (SELECT id FROM dead_letters
                                          WHERE wrapped_key IS NOT NULL
                                            AND created_at < now() - make_interval(secs => $1)
                                          ORDER BY id LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED)
                             RETURNING id),
                    listed AS (INSERT INTO erasures (place) SELECT 'dead/' || id FROM gone
                               ON CONFLICT (place) DO NOTHING)
               SELECT count(*) AS "count!" FROM gone"#,
            age.as_secs_f64(),
            limit,
            skip,
        );
        Ok(erased.fetch_one(&self.pool).await?.unsigned_abs())
    }

    /// Whether the job exists, in any account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job_exists(&self, job_id: JobId) -> Result<bool, Error> {
        let found = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM jobs WHERE id = $1) AS "found!""#, job_id.0)
            .fetch_one(&self.pool)
            .await?;
        Ok(found)
    }

    /// Rings again for a job that is still queued. Returns false if the job is running or has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ring_job(&self, job_id: JobId) -> Result<bool, Error> {
        let rows = sqlx::query!(
            "UPDATE outbox SET published_at = NULL, next_at = now() FROM jobs
             WHERE outbox.kind = 'doorbell' AND outbox.job_id = $1 AND jobs.id = $1 AND outbox.epoch = jobs.epoch
               AND jobs.state = 'queued'",
            job_id.0,
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        Ok(rows > 0)
    }
}

struct DeadLetterRecord {
    id: Uuid,
    kind: String,
    job_id: Option<Uuid>,
    amqp_user: Option<String>,
    message_id: Option<String>,
    code: String,
    detail: String,
    reply_to: Option<String>,
    correlation_id: Option<String>,
    master_key_id: Option<String>,
    wrapped_key: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
    redriven_at: Option<DateTime<Utc>>,
}

impl From<DeadLetterRecord> for DeadLetter {
    fn from(row: DeadLetterRecord) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            job_id: row.job_id.map(JobId),
            amqp_user: row.amqp_user,
            message_id: row.message_id,
            code: row.code,
            detail: row.detail,
            reply: row.reply_to.map(|reply_to| ReplyAddress { reply_to, correlation_id: row.correlation_id }),
            body_key: row.master_key_id.zip(row.wrapped_key.filter(|key| !key.is_empty())),
            created_at: row.created_at,
            redriven_at: row.redriven_at,
        }
    }
}
