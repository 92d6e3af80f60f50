//! What happened, once each. An event is written in the commit that made it true, with a delivery for each endpoint
//! that wants it. Readers follow an order in which no event is skipped.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::signals::Signal;
use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::tenant::Account;
use visavis_domain::webhook::EventType;

/// A place in the order of all events: right behind the event of that transaction and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) xid: i64,
    pub(super) id: Uuid,
}

/// An event and its place in the order.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    pub id: Uuid,
    pub account: Account,
    pub job_id: Option<JobId>,
    pub kind: String,
    /// `None` if this version cannot read it. Readers then pass the event over.
    pub data: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub cursor: Cursor,
}

/// Which part of the order of events to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSpan {
    /// Only events behind this place.
    pub after: Cursor,
    /// The last place that belongs to the part.
    pub until: Cursor,
}

/// An event about to be written.
pub(super) struct NewEvent<'a> {
    pub account: Account,
    pub job_id: Option<JobId>,
    pub kind: EventType,
    /// 0, unless a job can have several events of the kind.
    pub revision: i32,
    pub data: &'a Value,
}

struct EventRecord {
    id: Uuid,
    tenant_id: Uuid,
    sandbox: bool,
    job_id: Option<Uuid>,
    kind: String,
    payload: String,
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
            data: serde_json::from_str(&row.payload).ok(),
            created_at: row.created_at,
            cursor: Cursor { xid: row.xid, id: row.id },
        }
    }
}

impl Tx {
    /// Publishes an event to its readers, and to each of the account's endpoints that subscribed to its kind.
    pub(super) async fn insert_event(
        &mut self,
        account: Account,
        job_id: Option<JobId>,
        kind: EventType,
        data: &Value,
    ) -> Result<(), Error> {
        self.insert_revision(&NewEvent { account, job_id, kind, revision: 0, data }).await
    }

    /// Publishes an event that a job can have more than once. Each has a revision of its own.
    pub(super) async fn insert_revision(&mut self, event: &NewEvent<'_>) -> Result<(), Error> {
        sqlx::query!(
            // The lock keeps an endpoint from being deleted meanwhile: that must not undo what happened to the job.
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
            event.account.tenant_id.0,
            event.account.sandbox,
            event.job_id.map(|id| id.0),
            event.kind.name(),
            event.data,
            event.revision,
        )
        .execute(&mut *self.inner)
        .await?;
        self.news.extend([Signal::Delivery, Signal::Stream, Signal::Result]);
        Ok(())
    }
}

impl Store {
    /// The place behind every event that can be read now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_last_cursor(&self) -> Result<Cursor, Error> {
        let xid =
            sqlx::query_scalar!(r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 AS "before!""#,);
        Ok(Cursor { xid: xid.fetch_one(&self.pool).await?, id: Uuid::max() })
    }

    /// Up to `limit` events of all accounts behind `after`, in order. It stops before the oldest transaction that still
    /// runs, because that one may still add an event in between.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_events(&self, after: Cursor, limit: i64) -> Result<Vec<StoredEvent>, Error> {
        let rows = sqlx::query_as!(
            EventRecord,
            r#"SELECT id, tenant_id, sandbox, job_id, type AS kind, payload::text AS "payload!", created_at, xid::text::bigint AS "xid!"
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

    /// Up to `limit` of the account's events in `span`, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_account_events(
        &self,
        account: Account,
        span: EventSpan,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let rows = sqlx::query_as!(
            EventRecord,
            r#"SELECT id, tenant_id, sandbox, job_id, type AS kind, payload::text AS "payload!", created_at, xid::text::bigint AS "xid!"
               FROM events
               WHERE tenant_id = $1 AND sandbox = $2
                 AND (xid, id) > ($3::bigint::text::xid8, $4) AND (xid, id) <= ($5::bigint::text::xid8, $6)
                 AND type <> 'endpoint.test'
               ORDER BY events.xid, id LIMIT $7"#,
            account.tenant_id.0,
            account.sandbox,
            span.after.xid,
            span.after.id,
            span.until.xid,
            span.until.id,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(StoredEvent::from).collect())
    }

    /// Up to `limit` events of one of the account's jobs in `span`, in order. It looks them up by the job, so the
    /// account's other events cost nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_job_events(
        &self,
        account: Account,
        job_id: JobId,
        span: EventSpan,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let rows = sqlx::query_as!(
            EventRecord,
            r#"SELECT id, tenant_id, sandbox, job_id, type AS kind, payload::text AS "payload!", created_at, xid::text::bigint AS "xid!"
               FROM events
               WHERE tenant_id = $1 AND sandbox = $2 AND job_id = $3
                 AND (xid, id) > ($4::bigint::text::xid8, $5) AND (xid, id) <= ($6::bigint::text::xid8, $7)
               ORDER BY events.xid, id LIMIT $8"#,
            account.tenant_id.0,
            account.sandbox,
            job_id.0,
            span.after.xid,
            span.after.id,
            span.until.xid,
            span.until.id,
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
    /// The place before every event.
    pub const START: Self = Self { xid: 0, id: Uuid::nil() };
}
