//! What the sweeper repairs: jobs of dead workers, and doorbells that the broker lost.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::types::Json;

use super::jobs::{Claim, summary};
use super::{Error, Store};
use visavis_domain::backoff::MAX_ATTEMPTS;
use visavis_domain::ids::TenantId;
use visavis_domain::job::{Failure, JobParams};

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
    /// within `patience` after their doorbell was published.
    ///
    /// # Errors
    /// When the database fails. What was repaired until then stays repaired.
    pub async fn sweep(&self, patience: Duration) -> Result<Swept, Error> {
        let (revived, failed) = self.sweep_leases().await?;
        let rung = sqlx::query!(
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
        Ok(Swept { revived, failed, rung })
    }

    async fn sweep_leases(&self) -> Result<(u64, u64), Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            r#"SELECT id, tenant_id, request_id, kind, sandbox, lane, epoch, attempt, params AS "params: Json<JobParams>",
                      metadata AS "metadata: Json<BTreeMap<String, String>>"
               FROM jobs WHERE state = 'running' AND lease_until < now()
               ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED"#,
            BATCH,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        let (mut revived, mut failed) = (0, 0);
        for row in rows {
            let claim = Claim {
                tenant_id: TenantId(row.tenant_id),
                summary: summary(row.id, row.request_id, row.kind, row.sandbox, row.metadata),
                params: row.params.0,
                epoch: row.epoch,
                attempt: row.attempt,
            };
            if row.attempt < MAX_ATTEMPTS {
                // Due at once: it has waited for its lease to end. From its third attempt on a job runs alone, see
                // `worker`, in case it is the one that kills its worker.
                sqlx::query!(
                    "UPDATE jobs SET state = 'queued', lease_until = NULL, run_after = now() WHERE id = $1",
                    row.id,
                )
                .execute(&mut *tx.inner)
                .await?;
                tx.insert_doorbell(&claim.doorbell(&row.lane, Duration::ZERO)).await?;
                revived += 1;
            } else {
                let failure = Failure {
                    code: "attempts_exhausted".to_owned(),
                    detail: format!("{MAX_ATTEMPTS} attempts were made and the worker of the last one died or stalled"),
                };
                let _ = tx.fail_job(&claim, &failure).await?;
                failed += 1;
            }
        }
        tx.commit().await?;
        Ok((revived, failed))
    }
}
