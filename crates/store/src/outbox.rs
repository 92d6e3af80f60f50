//! What must reach the broker. It is written in the commit that made it true, claimed by the relay, and marked when the
//! broker has it.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::dead_letters::NewDeadLetter;
use super::parked::WorkLoop;
use super::replies::{ReplyAddress, ReplyType};
use super::signals::Signal;
use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::work_queue::WorkQueue;

/// How long the relay has to publish what it claimed. After that another relay may.
const CLAIM: Duration = Duration::from_secs(30);

/// "There is work": the job's id and no more.
#[derive(Debug, Clone)]
pub struct Doorbell {
    pub id: Uuid,
    pub job_id: JobId,
}

/// A doorbell about to be stored.
pub struct NewDoorbell<'a> {
    pub tenant_id: TenantId,
    pub job_id: JobId,
    /// The job's epoch.
    pub epoch: i64,
    /// The name of a [`WorkQueue`], maybe one of a newer version.
    pub queue: &'a str,
    /// The doorbell rings when this time has passed.
    pub wait: Duration,
}

/// A reply on its way to a producer.
#[derive(Debug, Clone)]
pub struct OutgoingReply {
    pub id: Uuid,
    /// The message's `type` property: the name of a [`ReplyType`], maybe one of a newer version.
    pub reply_type: String,
    /// 1 for the first attempt.
    pub attempt: i32,
    pub job: Option<(TenantId, JobId)>,
    pub address: ReplyAddress,
    pub payload: Value,
}

impl Tx {
    /// # Errors
    /// When the database fails.
    pub async fn insert_doorbell(&mut self, doorbell: &NewDoorbell<'_>) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO outbox (id, kind, tenant_id, job_id, epoch, lane, next_at)
             VALUES ($1, 'doorbell', $2, $3, $4, $5, now() + make_interval(secs => $6))",
            Uuid::now_v7(),
            doorbell.tenant_id.0,
            doorbell.job_id.0,
            doorbell.epoch,
            doorbell.queue,
            doorbell.wait.as_secs_f64(),
        )
        .execute(&mut *self.inner)
        .await?;
        self.news.push(Signal::Doorbell);
        Ok(())
    }

    /// Sends a reply to a producer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_reply(
        &mut self,
        reply_type: ReplyType,
        job: Option<(TenantId, JobId)>,
        address: &ReplyAddress,
        payload: &Value,
    ) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO outbox (id, kind, tenant_id, job_id, reply_to, correlation_id, payload, reply_type)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            Uuid::now_v7(),
            reply_type.kind(),
            job.map(|(tenant, _)| tenant.0),
            job.map(|(_, job)| job.0),
            address.reply_to,
            address.correlation_id,
            payload,
            reply_type.name(),
        )
        .execute(&mut *self.inner)
        .await?;
        self.news.push(Signal::Reply);
        Ok(())
    }

    pub(super) async fn delete_doorbells(&mut self, job_id: JobId) -> Result<(), Error> {
        sqlx::query!("DELETE FROM outbox WHERE job_id = $1 AND kind = 'doorbell'", job_id.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

impl Store {
    /// Whether a doorbell of that queue is due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_due_doorbells(&self, queue: WorkQueue) -> Result<bool, Error> {
        let due = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM outbox WHERE published_at IS NULL AND next_at <= now()
                                                     AND kind = 'doorbell' AND lane = $1) AS "due!""#,
            queue.name(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(due)
    }

    /// Up to `limit` doorbells that are due: first the first of each organisation, then the second of each. Jobs of the
    /// queue that are under way count, so that the order is fair across calls too. An organisation that floods the
    /// queue delays only its own jobs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_doorbells(&self, queue: WorkQueue, limit: i64) -> Result<Vec<Doorbell>, Error> {
        let rows = sqlx::query!(
            // The recursion jumps from organisation to organisation along an index, so the length of a backlog does not
            // matter.
            r#"WITH RECURSIVE waiting AS (
                   (SELECT tenant_id FROM outbox WHERE published_at IS NULL AND kind = 'doorbell' AND lane = $1
                    ORDER BY tenant_id LIMIT 1)
                   UNION ALL
                   SELECT (SELECT tenant_id FROM outbox WHERE published_at IS NULL AND kind = 'doorbell' AND lane = $1
                             AND tenant_id > waiting.tenant_id ORDER BY tenant_id LIMIT 1)
                   FROM waiting WHERE waiting.tenant_id IS NOT NULL
               ), under_way AS (
                   -- A doorbell goes when its job ends. Until then it is published: few are.
                   SELECT tenant_id, count(*) AS jobs FROM outbox
                   WHERE published_at IS NOT NULL AND kind = 'doorbell' AND lane = $1 GROUP BY tenant_id
               ), fair AS (
                   SELECT first.id FROM waiting LEFT JOIN under_way USING (tenant_id) CROSS JOIN LATERAL (
                       SELECT id, next_at, row_number() OVER (ORDER BY next_at, id) AS turn FROM (
                           SELECT id, next_at FROM outbox WHERE published_at IS NULL AND kind = 'doorbell' AND lane = $1
                             AND tenant_id = waiting.tenant_id AND next_at <= now()
                           ORDER BY next_at, id LIMIT $2) AS oldest) AS first
                   ORDER BY first.turn + coalesce(under_way.jobs, 0), first.next_at LIMIT $2
               ), locked AS (
                   SELECT id FROM outbox
                   WHERE id IN (SELECT id FROM fair) AND published_at IS NULL AND next_at <= now()
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE outbox SET next_at = now() + make_interval(secs => $3) FROM locked WHERE outbox.id = locked.id
               RETURNING outbox.id, job_id AS "job_id!""#,
            queue.name(),
            limit,
            CLAIM.as_secs_f64(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| Doorbell { id: row.id, job_id: JobId(row.job_id) }).collect())
    }

    /// Claims up to `limit` replies that are due, oldest first. Each claim is an attempt. The waits between attempts
    /// grow, so that an address that accepts nothing costs little.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_replies(&self, limit: i64) -> Result<Vec<OutgoingReply>, Error> {
        let rows = sqlx::query!(
            r#"UPDATE outbox SET attempt = attempt + 1,
                                 next_at = now() + least(make_interval(secs => $2 * 2 ^ attempt), interval '10 minutes')
               WHERE id IN (SELECT id FROM outbox
                            WHERE published_at IS NULL AND next_at <= now() AND kind <> 'doorbell'
                              AND NOT EXISTS (SELECT 1 FROM parked_items
                                              WHERE loop = $3 AND item = outbox.id::text AND retry_at > now())
                            ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
               RETURNING id, reply_type, attempt, tenant_id, job_id, reply_to, correlation_id, payload::text"#,
            limit,
            CLAIM.as_secs_f64(),
            WorkLoop::Replies.name(),
        )
        .fetch_all(&self.pool)
        .await?;
        let mut replies = Vec::with_capacity(rows.len());
        for row in rows {
            let payload = row.payload.and_then(|text| serde_json::from_str(&text).ok());
            let (Some(reply_type), Some(reply_to), Some(payload)) = (row.reply_type, row.reply_to, payload) else {
                let tenant = row.tenant_id.map(TenantId);
                self.park(WorkLoop::Replies, &row.id.to_string(), tenant, "the reply cannot be read").await?;
                continue;
            };
            replies.push(OutgoingReply {
                id: row.id,
                reply_type,
                attempt: row.attempt,
                job: row.tenant_id.map(TenantId).zip(row.job_id.map(JobId)),
                address: ReplyAddress { reply_to, correlation_id: row.correlation_id },
                payload,
            });
        }
        // `RETURNING` keeps no order, but a producer wants `accepted` before `completed`.
        replies.sort_by_key(|reply| reply.id);
        Ok(replies)
    }

    /// Marks doorbells that the broker has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_published(&self, ids: &[Uuid]) -> Result<(), Error> {
        sqlx::query!("UPDATE outbox SET published_at = now() WHERE id = ANY($1)", ids).execute(&self.pool).await?;
        Ok(())
    }

    /// Deletes replies that the broker has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_replies(&self, ids: &[Uuid]) -> Result<(), Error> {
        sqlx::query!("DELETE FROM outbox WHERE id = ANY($1) AND kind <> 'doorbell'", ids).execute(&self.pool).await?;
        Ok(())
    }

    /// Returns claimed doorbells that were not published. They are due at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unclaim_doorbells(&self, ids: &[Uuid]) -> Result<(), Error> {
        sqlx::query!("UPDATE outbox SET next_at = now() WHERE id = ANY($1) AND published_at IS NULL", ids)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Returns claimed replies that were not sent, because the broker could not be reached. The attempt does not count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unclaim_replies(&self, ids: &[Uuid]) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE outbox SET next_at = now(), attempt = attempt - 1 WHERE id = ANY($1) AND published_at IS NULL",
            ids
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Gives up on a reply and lists it among the dead letters.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bury_reply(&self, reply: &OutgoingReply) -> Result<(), Error> {
        let letter = NewDeadLetter {
            kind: "undelivered_reply",
            tenant_id: reply.job.map(|(tenant, _)| tenant),
            job_id: reply.job.map(|(_, job)| job),
            code: "reply_refused".to_owned(),
            detail: "the broker did not take the answer for the producer's reply queue".to_owned(),
            reply: Some(reply.address.clone()),
            ..NewDeadLetter::default()
        };
        let mut tx = self.begin().await?;
        let rows = sqlx::query!("DELETE FROM outbox WHERE id = $1", reply.id).execute(&mut *tx.inner).await?;
        if rows.rows_affected() == 1 {
            tx.insert_dead_letter(Uuid::now_v7(), &letter).await?;
        }
        tx.commit().await
    }
}
