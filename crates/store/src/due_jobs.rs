//! Jobs that wait for a worker: whether one is due, and what to do when it cannot run yet.

use std::time::Duration;

use super::{Error, Store};
use visavis_domain::identity::IdType;
use visavis_domain::ids::{JobId, TenantId};

/// A job that waits for a worker and is due.
#[derive(Debug, Clone, Copy)]
pub struct DueJob {
    /// The number of the next attempt, 1 for the first.
    pub attempt: i32,
    pub tenant_id: TenantId,
    /// Whose source a live `id_match` asks.
    pub id_type: Option<IdType>,
}

impl Store {
    /// What a worker must know before it claims a job. `None` if the job cannot be claimed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_due_job(&self, id: JobId) -> Result<Option<DueJob>, Error> {
        let row = sqlx::query!(
            r#"SELECT attempt + 1 AS "attempt!", tenant_id,
                      CASE WHEN kind = 'id_match' AND NOT sandbox THEN params->>'id_type' END AS id_type
               FROM jobs WHERE id = $1 AND state = 'queued' AND run_after <= now()"#,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| DueJob {
            attempt: row.attempt,
            tenant_id: TenantId(row.tenant_id),
            id_type: row.id_type.as_deref().and_then(IdType::parse),
        }))
    }

    /// Puts a queued job that is due off for `wait`. Does nothing if it is not queued, or not due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn postpone_job(&self, id: JobId, wait: Duration) -> Result<(), Error> {
        // A new epoch, so that the relay does not take the new doorbell for the one that it has just published.
        sqlx::query!(
            "WITH job AS (
                 UPDATE jobs SET epoch = epoch + 1, run_after = now() + make_interval(secs => $2)
                 WHERE id = $1 AND state = 'queued' AND run_after <= now()
                 RETURNING id, tenant_id, epoch, run_after, CASE WHEN sandbox THEN 'sandbox' ELSE lane END AS queue
             ), rung AS (
                 DELETE FROM outbox USING job WHERE job_id = job.id AND kind = 'doorbell'
             )
             INSERT INTO outbox (id, kind, tenant_id, job_id, epoch, lane, next_at)
             SELECT $3, 'doorbell', tenant_id, id, epoch, queue, run_after FROM job",
            id.0,
            wait.as_secs_f64(),
            uuid::Uuid::now_v7(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
