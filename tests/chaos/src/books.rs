//! The database as the auditor reads it: rows of all organisations but the poisoned one, by plain queries.

use anyhow::Result;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::organisations::POISONED;

#[derive(Debug, Default, Clone)]
pub struct Books {
    pub jobs: Vec<JobRow>,
    pub events: Vec<EventRow>,
    pub deliveries: Vec<DeliveryRow>,
    pub usage: Vec<Uuid>,
    pub ledger: Vec<MovementRow>,
    pub wallets: Vec<WalletRow>,
    pub images: Vec<ImageRow>,
    /// Blobs that rows other than images refer to: renditions with a key, the registry, bodies of dead letters.
    pub other_blobs: Vec<Uuid>,
    /// Rows that must be gone by now, named.
    pub leftovers: Vec<String>,
    /// Jobs with a case for reviewers.
    pub cases: Vec<Uuid>,
    /// Jobs among the dead letters.
    pub failed_letters: Vec<Uuid>,
    /// Answers that were given up, and messages that the broker gave up on.
    pub undelivered: Vec<String>,
    /// Rows about jobs, events or organisations that are not there, or that contradict them.
    pub orphans: Vec<String>,
}

#[derive(Debug, Clone, FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
pub struct JobRow {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub sandbox: bool,
    pub idempotency_key: Option<String>,
    /// What its producer wrote into the metadata.
    pub label: Option<String>,
    pub state: String,
    pub attempt: i32,
    pub verdict: Option<String>,
    pub failure_code: Option<String>,
    pub is_leased: bool,
    pub is_erased: bool,
    /// Nothing of an erased job is kept that it must not keep.
    pub keeps_nothing: bool,
}

#[derive(Debug, Clone, FromRow)]
pub struct EventRow {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub sandbox: bool,
    pub job_id: Option<Uuid>,
    pub kind: String,
    pub revision: i32,
    pub payload: Value,
}

#[derive(Debug, Clone, FromRow)]
pub struct DeliveryRow {
    pub event_id: Uuid,
    pub endpoint_id: Uuid,
    pub state: String,
}

#[derive(Debug, Clone, FromRow)]
pub struct MovementRow {
    pub tenant_id: Uuid,
    pub job_id: Option<Uuid>,
    pub kind: String,
    pub amount_minor: i64,
    pub balance_after: i64,
}

#[derive(Debug, Clone, FromRow)]
pub struct WalletRow {
    pub tenant_id: Uuid,
    pub balance: i64,
}

#[derive(Debug, Clone, FromRow)]
pub struct ImageRow {
    pub id: Uuid,
    pub has_key: bool,
    pub is_due: bool,
}

/// `$1` is the poisoned organisation's name.
const HONEST: &str = "tenant_id IS DISTINCT FROM (SELECT id FROM tenants WHERE name = $1)";

impl Books {
    /// Reads everything.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(connection: &mut PgConnection) -> Result<Self> {
        Ok(Self {
            jobs: rows(
                connection,
                "SELECT id, tenant_id, sandbox, idempotency_key, metadata->>'chaos' AS label, state, attempt, verdict,
                        failure->>'code' AS failure_code, lease_until IS NOT NULL AS is_leased,
                        erased_at IS NOT NULL AS is_erased,
                        result IS NULL AND metadata = '{}' AND reply_to IS NULL AND erasure_receipt IS NOT NULL
                        AND NOT EXISTS (SELECT FROM images WHERE job_id = jobs.id AND wrapped_key IS NOT NULL)
                        AND NOT EXISTS (SELECT FROM sealed_records WHERE job_id = jobs.id)
                        AND NOT EXISTS (SELECT FROM probe_prints WHERE job_id = jobs.id) AS keeps_nothing
                 FROM jobs WHERE",
            )
            .await?,
            events: Self::read_events(connection).await?,
            deliveries: rows(
                connection,
                "SELECT event_id, endpoint_id, deliveries.state FROM deliveries
                 JOIN webhook_endpoints ON webhook_endpoints.id = endpoint_id WHERE",
            )
            .await?,
            usage: values(connection, "SELECT job_id FROM usage WHERE").await?,
            ledger: rows(
                connection,
                "SELECT tenant_id, job_id, kind, amount_minor, balance_after
                 FROM (SELECT * FROM ledger ORDER BY tenant_id, seq) AS ledger WHERE",
            )
            .await?,
            wallets: rows(connection, "SELECT tenant_id, balance FROM wallets WHERE").await?,
            images: rows(
                connection,
                "SELECT id, wrapped_key IS NOT NULL AS has_key, coalesce(purge_at <= now(), false) AS is_due
                 FROM images WHERE",
            )
            .await?,
            other_blobs: values(
                connection,
                "SELECT id FROM (SELECT id, tenant_id FROM renditions WHERE wrapped_key IS NOT NULL
                                 UNION ALL SELECT id, NULL FROM identity_registry
                                 UNION ALL SELECT id, tenant_id FROM dead_letters WHERE wrapped_key IS NOT NULL)
                     AS blobs WHERE",
            )
            .await?,
            leftovers: texts(
                connection,
                "SELECT told FROM (
                     SELECT tenant_id, 'sealed record of ' || job_id AS told FROM sealed_records WHERE purge_at <= now()
                     UNION ALL SELECT tenant_id, 'hash of the probe of ' || job_id FROM probe_prints
                               WHERE purge_at <= now()
                     UNION ALL SELECT tenant_id, 'rendition ' || id FROM renditions
                               WHERE NOT EXISTS (SELECT FROM images WHERE images.id = image_id)
                     UNION ALL SELECT tenant_id, 'case of ' || job_id || ' that waits' FROM review_cases
                               WHERE state IN ('waiting', 'second', 'disputed') AND lapses_at <= now()) AS old WHERE",
            )
            .await?,
            cases: values(connection, "SELECT job_id FROM review_cases WHERE").await?,
            failed_letters: values(connection, "SELECT job_id FROM dead_letters WHERE kind = 'failed_job' AND").await?,
            undelivered: texts(
                connection,
                "SELECT kind || ' ' || code || ' ' || coalesce(job_id::text, correlation_id, message_id, id::text)
                 FROM dead_letters
                 WHERE kind <> 'failed_job' AND coalesce(amqp_user, reply_to, '') NOT LIKE '%' || $1 || '%' AND",
            )
            .await?,
            orphans: texts(
                connection,
                "SELECT told FROM (
                     SELECT jobs.tenant_id, 'event ' || events.id || ' of another account than its job' AS told
                     FROM events JOIN jobs ON jobs.id = job_id
                     WHERE (events.tenant_id, events.sandbox) <> (jobs.tenant_id, jobs.sandbox)
                     UNION ALL SELECT tenant_id, kind || ' in the outbox, ' || coalesce(job_id::text, reply_to)
                     FROM outbox WHERE coalesce(reply_to, '') NOT LIKE '%' || $1 || '%'
                     UNION ALL SELECT images.tenant_id, 'image ' || images.id || ' of another organisation than its job'
                     FROM images JOIN jobs ON jobs.id = job_id
                     WHERE images.tenant_id <> jobs.tenant_id
                     UNION ALL SELECT endpoint.tenant_id, 'delivery of ' || event_id || ' without an attempt that succeeded'
                     FROM deliveries JOIN webhook_endpoints AS endpoint ON endpoint.id = endpoint_id
                     WHERE state = 'delivered' AND NOT EXISTS
                         (SELECT FROM delivery_attempts AS attempt
                          WHERE attempt.event_id = deliveries.event_id AND attempt.endpoint_id = deliveries.endpoint_id
                            AND attempt.status BETWEEN 200 AND 299)) AS orphans WHERE",
            )
            .await?,
        })
    }

    /// The events, in the order in which readers get them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read_events(connection: &mut PgConnection) -> Result<Vec<EventRow>> {
        rows(
            connection,
            "SELECT id, tenant_id, sandbox, job_id, type AS kind, revision, payload
             FROM (SELECT * FROM events ORDER BY xid, id) AS events WHERE",
        )
        .await
    }
}

async fn rows<T>(connection: &mut PgConnection, query: &str) -> Result<Vec<T>>
where
    T: for<'r> FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
{
    let query = sqlx::AssertSqlSafe(format!("{query} {HONEST}"));
    Ok(sqlx::query_as(query).bind(POISONED).fetch_all(connection).await?)
}

async fn values(connection: &mut PgConnection, query: &str) -> Result<Vec<Uuid>> {
    let query = sqlx::AssertSqlSafe(format!("{query} {HONEST}"));
    Ok(sqlx::query_scalar(query).bind(POISONED).fetch_all(connection).await?)
}

async fn texts(connection: &mut PgConnection, query: &str) -> Result<Vec<String>> {
    let query = sqlx::AssertSqlSafe(format!("{query} {HONEST}"));
    Ok(sqlx::query_scalar(query).bind(POISONED).fetch_all(connection).await?)
}
