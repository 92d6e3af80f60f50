//! What happened, once each: written in the commit that made it true, with a delivery for each endpoint that wants it,
//! and read in an order that misses nothing.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::signals::Signal;
use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::tenant::Account;

/// A place in the order of all events: behind the event of that transaction and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) xid: i64,
    pub(super) id: Uuid,
}

/// An event and its place.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    pub id: Uuid,
    pub account: Account,
    pub job_id: Option<JobId>,
    pub kind: String,
    pub data: Value,
    pub created_at: DateTime<Utc>,
    pub cursor: Cursor,
}

struct EventRecord {
    id: Uuid,
    tenant_id: Uuid,
    sandbox: bool,
    job_id: Option<Uuid>,
    kind: String,
    payload: Value,
    created_at: DateTime<Utc>,
    xid: i64,
}

impl From<EventRecord> for StoredEvent {
    fn from(row: EventRecord) -> Self {
        Self {
            id: row.id,
            account: Account { tenant_id: TenantId(row.tenant_id), sandbox: row.sandbox },
            job_id: row.job_id.map(JobId),
            kind: row.kind,
            data: row.payload,
            created_at: row.created_at,
            cursor: Cursor { xid: row.xid, id: row.id },
        }
    }
}

impl Tx {
    /// Tells it to whoever reads, and to each of the account's endpoints that subscribed to its kind.
    pub(super) async fn insert_event(
        &mut self,
        account: Account,
        job_id: Option<JobId>,
        kind: &str,
        data: &Value,
    ) -> Result<(), Error> {
        self.insert_revision(account, job_id, (kind, 0), data).await
    }

    /// The same of what can happen to a job more than once: each time under a revision of its own.
    pub(super) async fn insert_revision(
        &mut self,
        account: Account,
        job_id: Option<JobId>,
        (kind, revision): (&str, i32),
        data: &Value,
    ) -> Result<(), Error> {
        sqlx::query!(
            // The lock, because an endpoint that is deleted meanwhile must not undo what happened to the job.
            "WITH event AS (
                 INSERT INTO events (id, tenant_id, sandbox, job_id, type, payload, revision)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 RETURNING id)
             INSERT INTO deliveries (event_id, endpoint_id)
             SELECT event.id, endpoint.id FROM event, webhook_endpoints AS endpoint
             WHERE endpoint.tenant_id = $2 AND endpoint.sandbox = $3 AND endpoint.disabled IS NULL
               AND $5 = ANY(endpoint.event_types)
             FOR KEY SHARE OF endpoint",
            Uuid::now_v7(),
            account.tenant_id.0,
            account.sandbox,
            job_id.map(|it| it.0),
            kind,
            data,
            revision,
        )
        .execute(&mut *self.inner)
        .await?;
        self.news.extend([Signal::Delivery, Signal::Stream, Signal::Result]);
        Ok(())
    }
}

impl Store {
    /// Behind every event that can be read by now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_last_cursor(&self) -> Result<Cursor, Error> {
        let xid =
            sqlx::query_scalar!(r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 AS "before!""#,);
        Ok(Cursor { xid: xid.fetch_one(&self.pool).await?, id: Uuid::max() })
    }

    /// Up to `limit` events behind `after`, in their order, of all accounts; none of a transaction that is not older than
    /// every one that still runs, because another of its place in the order may still come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_events(&self, after: Cursor, limit: i64) -> Result<Vec<StoredEvent>, Error> {
        let rows = sqlx::query_as!(
            EventRecord,
            r#"SELECT id, tenant_id, sandbox, job_id, type AS kind, payload, created_at, xid::text::bigint AS "xid!"
               FROM events
               WHERE (xid, id) > ($1::bigint::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
               ORDER BY events.xid, id LIMIT $3"#,
            after.xid,
            after.id,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(StoredEvent::from).collect())
    }

    /// Up to `limit` of the account's events behind `after` and up to `until`, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_account_events(
        &self,
        account: Account,
        (after, until): (Cursor, Cursor),
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let rows = sqlx::query_as!(
            EventRecord,
            r#"SELECT id, tenant_id, sandbox, job_id, type AS kind, payload, created_at, xid::text::bigint AS "xid!"
               FROM events
               WHERE tenant_id = $1 AND sandbox = $2
                 AND (xid, id) > ($3::bigint::text::xid8, $4) AND (xid, id) <= ($5::bigint::text::xid8, $6)
                 AND type <> 'endpoint.test'
               ORDER BY events.xid, id LIMIT $7"#,
            account.tenant_id.0,
            account.sandbox,
            after.xid,
            after.id,
            until.xid,
            until.id,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(StoredEvent::from).collect())
    }

    /// The same of one of its jobs: found by the job, however many events the account has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_job_events(
        &self,
        account: Account,
        job_id: JobId,
        (after, until): (Cursor, Cursor),
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let rows = sqlx::query_as!(
            EventRecord,
            r#"SELECT id, tenant_id, sandbox, job_id, type AS kind, payload, created_at, xid::text::bigint AS "xid!"
               FROM events
               WHERE tenant_id = $1 AND sandbox = $2 AND job_id = $3
                 AND (xid, id) > ($4::bigint::text::xid8, $5) AND (xid, id) <= ($6::bigint::text::xid8, $7)
               ORDER BY events.xid, id LIMIT $8"#,
            account.tenant_id.0,
            account.sandbox,
            job_id.0,
            after.xid,
            after.id,
            until.xid,
            until.id,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(StoredEvent::from).collect())
    }

    /// The place behind one of the account's events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_cursor(&self, account: Account, event_id: Uuid) -> Result<Option<Cursor>, Error> {
        let xid = sqlx::query_scalar!(
            r#"SELECT xid::text::bigint AS "xid!" FROM events WHERE id = $1 AND tenant_id = $2 AND sandbox = $3"#,
            event_id,
            account.tenant_id.0,
            account.sandbox,
        );
        Ok(xid.fetch_optional(&self.pool).await?.map(|xid| Cursor { xid, id: event_id }))
    }
}

impl Cursor {
    /// Before every event.
    pub const START: Self = Self { xid: 0, id: Uuid::nil() };
}
