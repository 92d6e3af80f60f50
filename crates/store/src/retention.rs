//! Records whose time is over: jobs that ended long ago with everything that hangs on them, and old events.
//!
//! The ledger, the reviewers' decisions and their audit log stay. So do receipts of erasures, and counts of jobs.

use std::time::Duration;

use uuid::Uuid;

use super::{Error, Store};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::tenant::Account;

impl Store {
    /// The ids of up to `limit` jobs of an organisation that ended, or were erased, more than `age` ago. Only those
    /// behind `after`, in the order of their ids. Jobs that still have images, sealed records, messages to send, events
    /// or an open case are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_old_jobs(
        &self,
        tenant_id: TenantId,
        age: Duration,
        after: JobId,
        limit: i64,
    ) -> Result<Vec<JobId>, Error> {
        // Ids are UUIDs of version 7: their first 48 bits are the milliseconds of their creation. The bound keeps the
        // scan of the index `jobs_tenant` to old jobs. A day is added because clocks of processes differ.
        let ids = sqlx::query_scalar!(
            "SELECT id FROM jobs
             WHERE tenant_id = $1 AND id > $2
               AND id < rpad(lpad(to_hex((extract(epoch FROM now() - make_interval(secs => $3, days => -1)) * 1000)::bigint),
                                  12, '0'), 32, '0')::uuid
               AND coalesce(erased_at, finished_at) < now() - make_interval(secs => $3)
               AND NOT EXISTS (SELECT 1 FROM images WHERE images.job_id = jobs.id)
               AND NOT EXISTS (SELECT 1 FROM sealed_records WHERE sealed_records.job_id = jobs.id)
               AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.job_id = jobs.id)
               AND NOT EXISTS (SELECT 1 FROM events WHERE events.job_id = jobs.id)
               AND NOT EXISTS (SELECT 1 FROM review_cases
                               WHERE review_cases.job_id = jobs.id
                                 AND review_cases.state IN ('waiting', 'second', 'disputed', 'settling'))
             ORDER BY id LIMIT $4",
            tenant_id.0,
            after.0,
            age.as_secs_f64(),
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    /// Deletes jobs that were listed, in one commit. Returns how many.
    ///
    /// # Errors
    /// When the database fails, or a table that this version does not know refers to one of the jobs. Then all stay.
    pub async fn delete_old_jobs(&self, jobs: &[JobId]) -> Result<u64, Error> {
        let ids: Vec<Uuid> = jobs.iter().map(|id| id.0).collect();
        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO erasure_receipts (job_id, tenant_id, sandbox, receipt, erased_at)
             SELECT id, tenant_id, sandbox, erasure_receipt, erased_at FROM jobs
             WHERE id = ANY($1) AND erasure_receipt IS NOT NULL",
            &ids,
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "WITH used AS (DELETE FROM usage WHERE job_id = ANY($1) RETURNING tenant_id, created_at, kind)
             INSERT INTO usage_days AS days (tenant_id, day, kind, jobs)
             SELECT tenant_id, (created_at AT TIME ZONE 'UTC')::date, kind, count(*) FROM used GROUP BY 1, 2, 3
             ON CONFLICT (tenant_id, day, kind) DO UPDATE SET jobs = days.jobs + excluded.jobs",
            &ids,
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!("DELETE FROM review_cases WHERE job_id = ANY($1)", &ids).execute(&mut *tx.inner).await?;
        sqlx::query!("DELETE FROM probe_prints WHERE job_id = ANY($1)", &ids).execute(&mut *tx.inner).await?;
        sqlx::query!("DELETE FROM spent_challenges WHERE job_id = ANY($1)", &ids).execute(&mut *tx.inner).await?;
        sqlx::query!("DELETE FROM dead_letters WHERE job_id = ANY($1) AND wrapped_key IS NULL", &ids)
            .execute(&mut *tx.inner)
            .await?;
        let deleted =
            sqlx::query!("DELETE FROM jobs WHERE id = ANY($1)", &ids).execute(&mut *tx.inner).await?.rows_affected();
        tx.commit().await?;
        Ok(deleted)
    }

    /// Deletes up to `limit` of the account's events that are older than `age`, past the first `skip` ones, with their
    /// deliveries. An event stays while the results exchange has not had it, or an enabled endpoint still waits for it.
    /// Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_events(
        &self,
        account: Account,
        age: Duration,
        limit: i64,
        skip: i64,
    ) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let ids = sqlx::query_scalar!(
            "SELECT id FROM events
             WHERE tenant_id = $1 AND sandbox = $2 AND created_at < now() - make_interval(secs => $3)
               AND (xid, id) <= (SELECT event_tails.xid, event_id FROM event_tails WHERE name = 'results')
               AND NOT EXISTS (SELECT 1 FROM deliveries JOIN webhook_endpoints AS endpoint ON endpoint.id = endpoint_id
                               WHERE event_id = events.id AND state = 'pending' AND endpoint.disabled IS NULL)
             ORDER BY created_at, id LIMIT $4 OFFSET $5",
            account.tenant_id.0,
            account.sandbox,
            age.as_secs_f64(),
            limit,
            skip,
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        sqlx::query!("DELETE FROM deliveries WHERE event_id = ANY($1)", &ids).execute(&mut *tx.inner).await?;
        let deleted =
            sqlx::query!("DELETE FROM events WHERE id = ANY($1)", &ids).execute(&mut *tx.inner).await?.rows_affected();
        tx.commit().await?;
        Ok(deleted)
    }

    /// Deletes up to `limit` dead letters older than `age` whose bodies are gone, past the first `skip` ones. Returns
    /// how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_dead_letters(&self, age: Duration, limit: i64, skip: i64) -> Result<u64, Error> {
        let deleted = sqlx::query!(
            "DELETE FROM dead_letters WHERE id IN
                 (SELECT id FROM dead_letters
                  WHERE id < rpad(lpad(to_hex((extract(epoch FROM now() - make_interval(secs => $1, days => -1)) * 1000)::bigint),
                                       12, '0'), 32, '0')::uuid
                    AND created_at < now() - make_interval(secs => $1) AND wrapped_key IS NULL
                  ORDER BY id LIMIT $2 OFFSET $3 FOR UPDATE SKIP LOCKED)",
            age.as_secs_f64(),
            limit,
            skip,
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected())
    }

    /// The receipt of an erased job whose row is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_kept_receipt(&self, account: Account, id: JobId) -> Result<Option<serde_json::Value>, Error> {
        let receipt = sqlx::query_scalar!(
            "SELECT receipt FROM erasure_receipts WHERE job_id = $1 AND tenant_id = $2 AND sandbox = $3",
            id.0,
            account.tenant_id.0,
            account.sandbox,
        );
        Ok(receipt.fetch_optional(&self.pool).await?)
    }

    /// The id of the account's oldest event that is still there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_oldest_event(&self, account: Account) -> Result<Option<Uuid>, Error> {
        let id = sqlx::query_scalar!(
            "SELECT id FROM events WHERE tenant_id = $1 AND sandbox = $2 ORDER BY xid, id LIMIT 1",
            account.tenant_id.0,
            account.sandbox,
        );
        Ok(id.fetch_optional(&self.pool).await?)
    }
}
