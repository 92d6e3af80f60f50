//! What the sweeper repairs: jobs of dead workers, and doorbells that the broker lost.

use std::time::Duration;

use sqlx::types::Json;

use super::jobs::JobHold;
use super::metadata::{StoredMetadata, summary};
use super::parked::WorkLoop;
use super::{Error, Store};
use visavis_domain::backoff::MAX_ATTEMPTS;
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::job::Failure;

/// What one sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Jobs of dead workers that were put back.
    pub revived: u64,
    /// Jobs that used up their attempts and were failed.
    pub failed: u64,
    /// Doorbells that ring again.
    pub rung: u64,
}

/// Rows of each sort that one sweep repairs.
const BATCH: i64 = 1024;

impl Store {
    /// Puts running jobs whose lease has ended back, or fails them. Rings again for queued jobs that nobody claimed
    /// within `patience` after their doorbell was published. Each job has a commit of its own; one that cannot be
    /// repaired is parked.
    ///
    /// # Errors
    /// When the database fails. What was repaired until then stays repaired.
    pub async fn sweep(&self, patience: Duration) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let due = sqlx::query!(
            "SELECT id, tenant_id FROM jobs
             WHERE state = 'running' AND lease_until < now()
               AND NOT EXISTS (SELECT 1 FROM parked_items
                               WHERE loop = $2 AND item = jobs.id::text AND retry_at > now())
             ORDER BY lease_until LIMIT $1",
            BATCH,
            WorkLoop::Sweeper.name(),
        )
        .fetch_all(&self.pool)
        .await?;
        for job in due {
            match self.end_lease(JobId(job.id)).await {
                Ok(Some(Ended::Revived)) => swept.revived += 1,
                Ok(Some(Ended::Failed)) => swept.failed += 1,
                Ok(None) => {}
                Err(error) if error.is_of_item() => {
                    let tenant = TenantId(job.tenant_id);
                    self.park(WorkLoop::Sweeper, &job.id.to_string(), Some(tenant), &error.reason()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        swept.rung = sqlx::query!(
            "UPDATE outbox SET published_at = NULL, next_at = now()
             WHERE id IN (SELECT outbox.id FROM outbox
                          JOIN jobs ON jobs.id = outbox.job_id AND jobs.epoch = outbox.epoch
                          WHERE outbox.kind = 'doorbell' AND outbox.published_at < now() - make_interval(secs => $1)
                            AND jobs.state = 'queued' AND jobs.run_after <= now()
                          ORDER BY outbox.published_at LIMIT $2 FOR UPDATE OF outbox SKIP LOCKED)",
            patience.as_secs_f64(),
            BATCH,
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.forget_recovered(BATCH).await?;
        Ok(swept)
    }

    /// Puts a running job whose lease has ended back, or fails it. `None` if somebody else was quicker.
    async fn end_lease(&self, id: JobId) -> Result<Option<Ended>, Error> {
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            r#"SELECT id, tenant_id, request_id, kind, sandbox, lane, epoch, attempt,
                      metadata AS "metadata: Json<StoredMetadata>"
               FROM jobs WHERE id = $1 AND state = 'running' AND lease_until < now() FOR UPDATE SKIP LOCKED"#,
            id.0,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let summary = summary(row.id, row.request_id, row.kind, row.sandbox, row.metadata);
        let hold = JobHold { tenant_id: TenantId(row.tenant_id), summary: &summary, epoch: row.epoch };
        let ended = if row.attempt < MAX_ATTEMPTS {
            // Due at once: it has waited for its lease to end. From its third attempt on a job runs alone, see
            // `worker`, in case it is the one that kills its worker.
            sqlx::query!(
                "UPDATE jobs SET state = 'queued', lease_until = NULL, run_after = now() WHERE id = $1",
                row.id,
            )
            .execute(&mut *tx.inner)
            .await?;
            tx.insert_doorbell(&hold.doorbell(&row.lane, Duration::ZERO)).await?;
            Ended::Revived
        } else {
            let failure = Failure {
                code: "attempts_exhausted".to_owned(),
                detail: format!("{MAX_ATTEMPTS} attempts were made and the worker of the last one died or stalled"),
            };
            let _ = tx.fail_job(&hold, &failure).await?;
            Ended::Failed
        };
        tx.commit().await?;
        Ok(Some(ended))
    }
}

/// What became of a job whose lease ended.
enum Ended {
    Revived,
    Failed,
}
