//! The life of a job: inserted, claimed, finished. Every change is guarded by state and epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::types::Json;

use tracing::warn;

use super::images::ImageRow;
use super::metadata::{StoredMetadata, summary};
use super::outbox::NewDoorbell;
use super::perceptual_hashes::ProbeHash;
use super::replies::{ReplyAddress, ReplyType};
use super::sealed::SealedRecord;
use super::signals::Signal;
pub use super::views::JobView;
use super::{Error, Store, Tx};
use visavis_domain::backoff;
use visavis_domain::ids::{JobId, RequestId, TenantId};
use visavis_domain::job::{Failure, JobParams, JobState, Lane};
use visavis_domain::notice::{self, JobSummary};
use visavis_domain::outcome::Outcome;
use visavis_domain::tenant::Account;
use visavis_domain::webhook::EventType;
use visavis_domain::work_queue::WorkQueue;

/// How long a claim holds without renewal. After that, a dead worker's job is free again.
pub const LEASE: Duration = Duration::from_secs(30);

/// A job about to be stored.
pub struct NewJob<'a> {
    pub id: JobId,
    pub account: Account,
    pub request_id: &'a RequestId,
    pub idempotency_key: Option<&'a str>,
    /// Keyed hash of the request as it was sent, 32 bytes.
    pub request_hash: &'a [u8],
    pub params: &'a JobParams,
    pub lane: Lane,
    pub metadata: &'a BTreeMap<String, String>,
    pub reply: Option<&'a ReplyAddress>,
    /// What it costs if it is confirmed, in minor units. None for what is free.
    pub price: Option<i64>,
}

/// A job found under an idempotency key.
#[derive(Debug, Clone)]
pub struct ExistingJob {
    pub summary: JobSummary,
    pub state: JobState,
    pub request_hash: Vec<u8>,
}

/// A running job that this worker holds, as long as the epoch stands.
#[derive(Debug, Clone)]
pub struct Claim {
    pub tenant_id: TenantId,
    pub summary: JobSummary,
    pub params: JobParams,
    pub epoch: i64,
    /// 1 for the first.
    pub attempt: i32,
}

/// What it takes to end a running job or to put it back, whether or not its parameters can be read.
#[derive(Clone, Copy)]
pub(super) struct JobHold<'a> {
    pub tenant_id: TenantId,
    pub summary: &'a JobSummary,
    pub epoch: i64,
}

impl Claim {
    fn hold(&self) -> JobHold<'_> {
        JobHold { tenant_id: self.tenant_id, summary: &self.summary, epoch: self.epoch }
    }
}

impl JobHold<'_> {
    /// A doorbell that rings for the job after `wait`. `lane` is the job's, as stored: a lane that only a newer version
    /// knows goes through, and stops no other job's doorbell.
    pub(super) fn doorbell<'a>(&self, lane: &'a str, wait: Duration) -> NewDoorbell<'a> {
        let queue = if self.summary.sandbox { WorkQueue::Sandbox.name() } else { lane };
        NewDoorbell { tenant_id: self.tenant_id, job_id: self.summary.id, epoch: self.epoch, queue, wait }
    }
}

/// What a job that succeeded leaves behind.
pub struct Success {
    pub outcome: Outcome,
    /// The identity record.
    pub identity: Option<SealedRecord>,
    /// The frame that was taken out of a video.
    pub frame: Option<ImageRow>,
    pub probe_hash: Option<ProbeHash>,
}

/// Whether a change took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Change {
    Done,
    /// Somebody else holds the job or the case, or it has ended. Nothing was changed.
    Lost,
}

impl Tx {
    /// Stores a job. `Lost` if the organisation has a job under the same idempotency key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_job(&mut self, job: &NewJob<'_>) -> Result<Change, Error> {
        let rows = sqlx::query!(
            "INSERT INTO jobs (id, tenant_id, request_id, idempotency_key, request_hash, kind, lane, params, metadata,
                               reply_to, correlation_id, sandbox, price)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (tenant_id, sandbox, idempotency_key) DO NOTHING",
            job.id.0,
            job.account.tenant_id.0,
            job.request_id.as_str(),
            job.idempotency_key,
            job.request_hash,
            job.params.kind(),
            job.lane.name(),
            Json(job.params) as _,
            Json(job.metadata) as _,
            job.reply.map(|reply| reply.reply_to.as_str()),
            job.reply.and_then(|reply| reply.correlation_id.as_deref()),
            job.account.sandbox,
            job.price,
        )
        .execute(&mut *self.inner)
        .await?
        .rows_affected();
        Ok(change(rows))
    }
}

impl Store {
    /// The account's job under that idempotency key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_job_by_key(&self, account: Account, key: &str) -> Result<Option<ExistingJob>, Error> {
        let row = sqlx::query!(
            r#"SELECT id, request_id, kind, sandbox, state, request_hash,
                      metadata AS "metadata: Json<StoredMetadata>"
               FROM jobs WHERE tenant_id = $1 AND sandbox = $2 AND idempotency_key = $3"#,
            account.tenant_id.0,
            account.sandbox,
            key,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ExistingJob {
            summary: summary(row.id, row.request_id, row.kind, row.sandbox, row.metadata),
            state: job_state(&row.state)?,
            request_hash: row.request_hash,
        }))
    }

    /// Which of these jobs have ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_terminal(&self, ids: &[JobId]) -> Result<Vec<JobId>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let over = sqlx::query_scalar!("SELECT id FROM jobs WHERE id = ANY($1) AND finished_at IS NOT NULL", &ids)
            .fetch_all(&self.pool)
            .await?;
        Ok(over.into_iter().map(JobId).collect())
    }

    /// Answers a producer that submits a job again, perhaps from another address. Later replies go to the new address.
    /// The first reply is sent again, and the final one too if the job has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer_again(
        &self,
        tenant_id: TenantId,
        summary: &JobSummary,
        reply: &ReplyAddress,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        // A job that ends meanwhile waits for this lock, and then finds the new address.
        let state = sqlx::query_scalar!("SELECT state FROM jobs WHERE id = $1 FOR UPDATE", summary.id.0)
            .fetch_one(&mut *tx.inner)
            .await?;
        let job = None::<(TenantId, JobId)>;
        tx.insert_reply(ReplyType::Accepted, job, reply, &notice::accepted(summary, job_state(&state)?, true)).await?;
        let ending = sqlx::query!(
            r#"SELECT payload, type = 'job.completed' AS "is_completed!" FROM events WHERE job_id = $1 AND tenant_id = $2 AND revision = 0
               AND type IN ('job.completed', 'job.failed')"#,
            summary.id.0,
            tenant_id.0,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        if let Some(ending) = ending {
            let reply_type = if ending.is_completed { ReplyType::Completed } else { ReplyType::Failed };
            tx.insert_reply(reply_type, job, reply, &ending.payload).await?;
        } else {
            sqlx::query!(
                "UPDATE jobs SET reply_to = $2, correlation_id = $3 WHERE id = $1",
                summary.id.0,
                reply.reply_to,
                reply.correlation_id,
            )
            .execute(&mut *tx.inner)
            .await?;
        }
        tx.commit().await
    }

    /// Claims a queued job that is due. `None` if the job has ended, runs elsewhere, or is not due yet. `None` too if
    /// this version cannot read its parameters: then it is put back for a worker of a newer version, and fails after
    /// its last attempt.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_job(&self, id: JobId) -> Result<Option<Claim>, Error> {
        let row = sqlx::query!(
            r#"UPDATE jobs
               SET state = 'running', attempt = attempt + 1, epoch = epoch + 1,
                   lease_until = now() + make_interval(secs => $2), started_at = coalesce(started_at, now())
               WHERE id = $1 AND state = 'queued' AND run_after <= now()
               RETURNING id, tenant_id, request_id, kind, sandbox, epoch, attempt, params::text AS "params!",
                         metadata AS "metadata: Json<StoredMetadata>""#,
            id.0,
            LEASE.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let summary = summary(row.id, row.request_id, row.kind, row.sandbox, row.metadata);
        let (tenant_id, epoch, attempt) = (TenantId(row.tenant_id), row.epoch, row.attempt);
        let Ok(params) = serde_json::from_str(&row.params) else {
            self.set_unreadable_aside(&JobHold { tenant_id, summary: &summary, epoch }, attempt).await?;
            return Ok(None);
        };
        Ok(Some(Claim { tenant_id, summary, params, epoch, attempt }))
    }

    async fn set_unreadable_aside(&self, hold: &JobHold<'_>, attempt: i32) -> Result<(), Error> {
        let failure = Failure {
            code: "job_unreadable".to_owned(),
            detail: "its parameters are not of a form that this version of the service knows".to_owned(),
        };
        warn!(request_id = %hold.summary.request_id, attempt, "a job's parameters cannot be read");
        let _ = match backoff::after_attempt(attempt, 0.5) {
            Some(wait) => self.requeue(hold, wait, 0).await?,
            None => self.fail_held(hold, &failure).await?,
        };
        Ok(())
    }

    /// Prolongs the claim by another [`LEASE`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew_lease(&self, claim: &Claim) -> Result<Change, Error> {
        let rows = sqlx::query!(
            "UPDATE jobs SET lease_until = now() + make_interval(secs => $3)
             WHERE id = $1 AND epoch = $2 AND state = 'running'",
            claim.summary.id.0,
            claim.epoch,
            LEASE.as_secs_f64(),
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        Ok(change(rows))
    }

    /// Ends the job without a verdict and lists it among the dead letters.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_failed(&self, claim: &Claim, failure: &Failure) -> Result<Change, Error> {
        self.fail_held(&claim.hold(), failure).await
    }

    async fn fail_held(&self, hold: &JobHold<'_>, failure: &Failure) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        let change = tx.fail_job(hold, failure).await?;
        tx.commit().await?;
        Ok(change)
    }

    /// Puts the job back, to run again after `wait`. The attempt counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retry_job(&self, claim: &Claim, wait: Duration) -> Result<Change, Error> {
        self.requeue(&claim.hold(), wait, 0).await
    }

    /// Puts the job back, to run again after `wait`: this worker was asked to stop, or the job to wait. The attempt
    /// does not count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_job(&self, claim: &Claim, wait: Duration) -> Result<Change, Error> {
        self.requeue(&claim.hold(), wait, 1).await
    }

    async fn requeue(&self, hold: &JobHold<'_>, wait: Duration, refund: i32) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        let lane = sqlx::query_scalar!(
            "UPDATE jobs SET state = 'queued', lease_until = NULL, attempt = attempt - $4,
                             run_after = now() + make_interval(secs => $3)
             WHERE id = $1 AND epoch = $2 AND state = 'running' RETURNING lane",
            hold.summary.id.0,
            hold.epoch,
            wait.as_secs_f64(),
            refund,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(lane) = lane else { return Ok(Change::Lost) };
        tx.insert_doorbell(&hold.doorbell(&lane, wait)).await?;
        tx.commit().await?;
        Ok(Change::Done)
    }

    /// Whether this claim finished its job. Needed when the answer to its commit was lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_finished(&self, claim: &Claim) -> Result<bool, Error> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM jobs WHERE id = $1 AND epoch = $2 AND state IN ('succeeded', 'failed'))
               AS "found!""#,
            claim.summary.id.0,
            claim.epoch,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(found)
    }
}

impl Tx {
    /// Fails a running job, with the dead letter, the event and the reply.
    pub(super) async fn fail_job(&mut self, hold: &JobHold<'_>, failure: &Failure) -> Result<Change, Error> {
        let ended = sqlx::query!(
            "UPDATE jobs
             SET state = 'failed', failure = $3, lease_until = NULL, finished_at = now(),
                 purge_at = now() + make_interval(secs => (SELECT retention_seconds FROM tenants WHERE id = tenant_id))
             WHERE id = $1 AND epoch = $2 AND state = 'running'
             RETURNING reply_to, correlation_id",
            hold.summary.id.0,
            hold.epoch,
            Json(failure) as _,
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(ended) = ended else { return Ok(Change::Lost) };
        self.insert_failed_job(hold.tenant_id, hold.summary.id, failure).await?;
        let notice = notice::failed(hold.summary, failure);
        let reply = ReplyAddress::of(ended.reply_to, ended.correlation_id);
        let kinds = (EventType::JobFailed, ReplyType::Failed);
        self.insert_ending(hold, kinds, &notice, reply.as_ref()).await?;
        Ok(Change::Done)
    }

    /// Adds what every end of a job needs: the event, the reply and the images' last day. Deletes its doorbells.
    async fn insert_ending(
        &mut self,
        hold: &JobHold<'_>,
        (event, reply_type): (EventType, ReplyType),
        notice: &serde_json::Value,
        reply: Option<&ReplyAddress>,
    ) -> Result<(), Error> {
        let job_id = hold.summary.id;
        let account = Account { tenant_id: hold.tenant_id, sandbox: hold.summary.sandbox };
        self.insert_event(account, Some(job_id), event, notice).await?;
        self.share_last_day(job_id).await?;
        if let Some(reply) = reply {
            self.insert_reply(reply_type, Some((hold.tenant_id, job_id)), reply, notice).await?;
        }
        self.news.push(Signal::Ending);
        self.delete_doorbells(job_id).await
    }

    /// Gives images and sealed records the same last day as their job.
    pub(super) async fn share_last_day(&mut self, job_id: JobId) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE images SET purge_at = jobs.purge_at FROM jobs WHERE images.job_id = $1 AND jobs.id = $1",
            job_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        self.end_sealed(job_id).await
    }
}

/// The state of that name, as the database has it.
pub(super) fn job_state(name: &str) -> Result<JobState, Error> {
    JobState::parse(name).ok_or(Error::Unreadable { what: "state of a job" })
}

pub(super) fn change(rows: u64) -> Change {
    if rows == 0 { Change::Lost } else { Change::Done }
}
