//! The ledger of deliveries as the owner of an endpoint sees it: pages, attempts and replays.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::signals::Signal;
use super::webhook_endpoints::Written;
use super::{Error, Store};
use visavis_domain::ids::EndpointId;
use visavis_domain::tenant::Account;

/// A delivery as the endpoint's owner sees it.
#[derive(Debug, Clone)]
pub struct DeliveryView {
    pub event_id: Uuid,
    pub kind: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    pub attempts: i32,
    /// The next attempt, if the delivery is pending.
    pub next_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// An attempt as the endpoint's owner sees it.
#[derive(Debug, Clone)]
pub struct AttemptView {
    pub at: DateTime<Utc>,
    pub duration_ms: i32,
    pub status: Option<i16>,
    pub error: Option<String>,
    pub answer: String,
}

/// An attempt for `visavis webhooks tail`, and its place in the order of attempts.
#[derive(Debug, Clone)]
pub struct LoggedAttempt {
    pub organisation: String,
    pub sandbox: bool,
    pub url: String,
    pub kind: String,
    pub event_id: Uuid,
    pub state: String,
    pub attempt: AttemptView,
    pub place: AttemptCursor,
}

/// A place in the order of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptCursor {
    xid: i64,
    event_id: Uuid,
    endpoint_id: Uuid,
    epoch: i64,
}

/// Which deliveries to make again.
#[derive(Debug, Clone, Copy)]
pub enum Replay {
    One(Uuid),
    /// All that failed.
    Failed,
    /// Those of events between these times, whether they were delivered or not.
    Between(DateTime<Utc>, DateTime<Utc>),
}

impl Store {
    /// Up to `limit` deliveries of one of the account's endpoints, the newest event first. With `cursor`, only those
    /// before it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_deliveries(
        &self,
        account: Account,
        endpoint: EndpointId,
        state: Option<&str>,
        cursor: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<DeliveryView>, Error> {
        let rows = sqlx::query_as!(
            DeliveryView,
            "SELECT event_id, events.type AS kind, state, attempts, next_at, deliveries.created_at, finished_at
             FROM deliveries JOIN events ON events.id = event_id
             WHERE endpoint_id = (SELECT id FROM webhook_endpoints WHERE tenant_id = $1 AND sandbox = $2 AND id = $3)
               AND event_id < $4 AND ($5::text IS NULL OR state = $5)
             ORDER BY event_id DESC LIMIT $6",
            account.tenant_id.0,
            account.sandbox,
            endpoint.0,
            cursor.unwrap_or(Uuid::max()),
            state,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// One delivery of one of the account's endpoints.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_delivery(
        &self,
        account: Account,
        endpoint: EndpointId,
        event_id: Uuid,
    ) -> Result<Option<DeliveryView>, Error> {
        let row = sqlx::query_as!(
            DeliveryView,
            "SELECT event_id, events.type AS kind, state, attempts, next_at, deliveries.created_at, finished_at
             FROM deliveries JOIN events ON events.id = event_id
             WHERE endpoint_id = (SELECT id FROM webhook_endpoints WHERE tenant_id = $1 AND sandbox = $2 AND id = $3)
               AND event_id = $4",
            account.tenant_id.0,
            account.sandbox,
            endpoint.0,
            event_id,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row)
    }

    /// All attempts of a delivery, the first one first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_attempts(
        &self,
        account: Account,
        endpoint: EndpointId,
        event_id: Uuid,
    ) -> Result<Vec<AttemptView>, Error> {
        let rows = sqlx::query_as!(
            AttemptView,
            "SELECT at, duration_ms, status, error, answer FROM delivery_attempts
             WHERE endpoint_id = (SELECT id FROM webhook_endpoints WHERE tenant_id = $1 AND sandbox = $2 AND id = $3)
               AND event_id = $4 ORDER BY epoch",
            account.tenant_id.0,
            account.sandbox,
            endpoint.0,
            event_id,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// Starts up to `limit` deliveries again, from the beginning of the schedule, and returns how many. Pending ones
    /// stay as they are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replay(
        &self,
        account: Account,
        endpoint: EndpointId,
        replay: Replay,
        limit: i64,
    ) -> Result<Written<u64>, Error> {
        let mut tx = self.begin().await?;
        match tx.hold_enabled(account, endpoint).await? {
            Written::Done(()) => {}
            Written::NoSuchEndpoint => return Ok(Written::NoSuchEndpoint),
            Written::Disabled => return Ok(Written::Disabled),
        }
        let rows = if let Replay::Between(since, until) = replay {
            sqlx::query!(
                "INSERT INTO deliveries (event_id, endpoint_id)
                 SELECT events.id, endpoint.id
                 FROM webhook_endpoints AS endpoint
                 JOIN events ON events.tenant_id = endpoint.tenant_id AND events.sandbox = endpoint.sandbox
                            AND events.type = ANY(endpoint.event_types)
                 WHERE endpoint.id = $1 AND events.created_at >= $2 AND events.created_at < $3
                 ORDER BY events.created_at, events.id LIMIT $4
                 ON CONFLICT (event_id, endpoint_id) DO UPDATE
                 SET state = 'pending', attempts = 0, epoch = deliveries.epoch + 1, next_at = now(), finished_at = NULL
                 WHERE deliveries.state <> 'pending'",
                endpoint.0,
                since,
                until,
                limit,
            )
            .execute(&mut *tx.inner)
            .await?
        } else if let Replay::One(event_id) = replay {
            sqlx::query!(
                "UPDATE deliveries
                 SET state = 'pending', attempts = 0, epoch = epoch + 1, next_at = now(), finished_at = NULL
                 WHERE endpoint_id = $1 AND event_id = $2 AND state <> 'pending'",
                endpoint.0,
                event_id,
            )
            .execute(&mut *tx.inner)
            .await?
        } else {
            sqlx::query!(
                "UPDATE deliveries
                 SET state = 'pending', attempts = 0, epoch = epoch + 1, next_at = now(), finished_at = NULL
                 WHERE endpoint_id = $1 AND event_id IN (
                     SELECT event_id FROM deliveries WHERE endpoint_id = $1 AND state = 'failed'
                     ORDER BY event_id LIMIT $2 FOR UPDATE)",
                endpoint.0,
                limit,
            )
            .execute(&mut *tx.inner)
            .await?
        };
        tx.news.push(Signal::Delivery);
        tx.commit().await?;
        Ok(Written::Done(rows.rows_affected()))
    }

    /// How many events the endpoint has between these times. Counting stops at `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_replayable(
        &self,
        account: Account,
        endpoint: EndpointId,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: i64,
    ) -> Result<i64, Error> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (
                   SELECT 1 FROM webhook_endpoints AS endpoint
                   JOIN events ON events.tenant_id = endpoint.tenant_id AND events.sandbox = endpoint.sandbox
                              AND events.type = ANY(endpoint.event_types)
                   WHERE endpoint.tenant_id = $1 AND endpoint.sandbox = $2 AND endpoint.id = $3
                     AND events.created_at >= $4 AND events.created_at < $5 LIMIT $6) AS found"#,
            account.tenant_id.0,
            account.sandbox,
            endpoint.0,
            since,
            until,
            limit,
        );
        Ok(count.fetch_one(&self.pool).await?)
    }

    /// The place behind every attempt that can be read now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_last_place(&self) -> Result<AttemptCursor, Error> {
        let last = self.find_last_cursor().await?;
        Ok(AttemptCursor { xid: last.xid, event_id: Uuid::max(), endpoint_id: Uuid::max(), epoch: i64::MAX })
    }

    /// Up to `limit` attempts behind `after`, in the order of their commits, for operators. With a name, only those of
    /// that organisation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_seen_attempts(
        &self,
        organisation: Option<&str>,
        after: AttemptCursor,
        limit: i64,
    ) -> Result<Vec<LoggedAttempt>, Error> {
        let rows = sqlx::query!(
            r#"SELECT attempt.at, duration_ms, status, error, answer, attempt.xid::text::bigint AS "xid!", attempt.epoch,
                      attempt.event_id, attempt.endpoint_id, tenants.name AS organisation, endpoint.sandbox, url, state,
                      events.type AS kind
               FROM delivery_attempts AS attempt
               JOIN deliveries ON deliveries.event_id = attempt.event_id AND deliveries.endpoint_id = attempt.endpoint_id
               JOIN webhook_endpoints AS endpoint ON endpoint.id = attempt.endpoint_id
               JOIN tenants ON tenants.id = endpoint.tenant_id
               JOIN events ON events.id = attempt.event_id
               WHERE (attempt.xid, attempt.event_id, attempt.endpoint_id, attempt.epoch)
                         > ($1::bigint::text::xid8, $2::uuid, $3::uuid, $4::bigint)
                 AND attempt.xid < pg_snapshot_xmin(pg_current_snapshot())
                 AND ($5::text IS NULL OR tenants.name = $5)
               ORDER BY attempt.xid, attempt.event_id, attempt.endpoint_id, attempt.epoch LIMIT $6"#,
            after.xid,
            after.event_id,
            after.endpoint_id,
            after.epoch,
            organisation,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        let seen = rows.into_iter().map(|row| LoggedAttempt {
            organisation: row.organisation,
            sandbox: row.sandbox,
            url: row.url,
            kind: row.kind,
            event_id: row.event_id,
            state: row.state,
            attempt: AttemptView {
                at: row.at,
                duration_ms: row.duration_ms,
                status: row.status,
                error: row.error,
                answer: row.answer,
            },
            place: AttemptCursor {
                xid: row.xid,
                event_id: row.event_id,
                endpoint_id: row.endpoint_id,
                epoch: row.epoch,
            },
        });
        Ok(seen.collect())
    }
}
