//! Items that a loop set aside because they fail by themselves: a row that this version cannot read, a blob that cannot
//! be deleted. The loop goes on with the others, and operators see a list.

use chrono::{DateTime, Utc};
use strum::IntoStaticStr;
use tracing::warn;
use uuid::Uuid;

use super::{Error, Store};
use visavis_domain::ids::TenantId;

/// A loop that works through many items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum WorkLoop {
    /// Running jobs whose lease has ended. The item is the job's id.
    Sweeper,
    /// Messages that the broker gave up on and that could not be recorded. They are not taken again. The item is the
    /// message's id.
    DeadLetters,
    /// Replies to producers. The item is the outbox row's id.
    Replies,
    /// Events for the results exchange. They are passed over and not taken again. The item is the event's id.
    Results,
    /// Deliveries to webhook endpoints. The item is the endpoint's id, or `<endpoint>/<event>` for one delivery.
    Webhooks,
    /// Reviewers' decisions that are due to be made final. The item is the job's id.
    Decisions,
    /// Erasure of what is due. The item is a blob's path or a row's id.
    Erasure,
    /// Old records to be deleted. The item is the job's id, or the step that left a row out.
    Records,
}

impl WorkLoop {
    /// The name in the database and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// An item that was set aside.
#[derive(Debug, Clone)]
pub struct ParkedItem {
    /// The name of a [`WorkLoop`], maybe one of a newer version.
    pub work_loop: String,
    pub item: String,
    pub tenant_id: Option<TenantId>,
    /// The organisation's name.
    pub organisation: Option<String>,
    pub reason: String,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    /// How often it failed.
    pub count: i64,
    /// From then on its loop takes it again.
    pub retry_at: DateTime<Utc>,
}

/// A place in the list of parked items.
#[derive(Debug, Clone)]
pub struct ParkedPlace {
    pub last_at: DateTime<Utc>,
    pub work_loop: String,
    pub item: String,
}

impl Store {
    /// Sets an item aside: for 5 minutes the first time, then for twice as long each time, up to a day. `reason` must
    /// not hold personal data or a secret. The first time is logged, all times are counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn park(
        &self,
        work_loop: WorkLoop,
        item: &str,
        tenant_id: Option<TenantId>,
        reason: &str,
    ) -> Result<(), Error> {
        let cut = |text: &str, most| text.replace('\0', "\u{fffd}").chars().take(most).collect::<String>();
        let (item, reason) = (cut(item, 512), cut(reason, 500));
        let count = sqlx::query_scalar!(
            r#"INSERT INTO parked_items AS it (loop, item, tenant_id, reason, retry_at)
               VALUES ($1, $2, $3, $4, now() + interval '5 minutes')
               ON CONFLICT (loop, item) DO UPDATE
               SET tenant_id = coalesce($3, it.tenant_id), reason = $4, last_at = now(), count = it.count + 1,
                   -- The exponent is bounded, because a long list of failures would overflow an interval.
                   retry_at = now() + least(interval '5 minutes' * 2 ^ least(it.count, 10), interval '1 day')
               RETURNING count"#,
            work_loop.name(),
            item,
            tenant_id.map(|id| id.0),
            reason,
        )
        .fetch_one(&self.pool)
        .await?;
        if count == 1 {
            warn!(work_loop = work_loop.name(), item, reason, "an item was set aside: see `visavis parked list`");
        }
        Ok(())
    }

    /// Which of these items their loop must leave alone now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_parked_among(&self, work_loop: WorkLoop, items: &[String]) -> Result<Vec<String>, Error> {
        let parked = sqlx::query_scalar!(
            "SELECT item FROM parked_items WHERE loop = $1 AND item = ANY($2) AND retry_at > now()",
            work_loop.name(),
            items,
        );
        Ok(parked.fetch_all(&self.pool).await?)
    }

    /// Up to `limit` parked items, the one that failed last first. With `after`, only those behind it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_parked(&self, after: Option<&ParkedPlace>, limit: i64) -> Result<Vec<ParkedItem>, Error> {
        let rows = sqlx::query_as!(
            ParkedRecord,
            r#"SELECT loop, item, tenant_id, name AS "organisation?", reason, first_at, last_at, count, retry_at
               FROM parked_items LEFT JOIN tenants ON tenants.id = tenant_id
               WHERE $1::timestamptz IS NULL OR last_at < $1 OR (last_at = $1 AND (loop, item) > ($2, $3))
               ORDER BY last_at DESC, loop, item LIMIT $4"#,
            after.map(|place| place.last_at),
            after.map(|place| place.work_loop.as_str()),
            after.map(|place| place.item.as_str()),
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(ParkedItem::from).collect())
    }

    /// Lets the loop take the item again in its next round. Returns false if the item is not parked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retry_parked(&self, work_loop: &str, item: &str) -> Result<bool, Error> {
        let rows =
            sqlx::query!("UPDATE parked_items SET retry_at = now() WHERE loop = $1 AND item = $2", work_loop, item)
                .execute(&self.pool)
                .await?;
        Ok(rows.rows_affected() > 0)
    }

    /// Removes the entry. If the item still exists and still fails, its loop parks it again. Returns false if the item
    /// is not parked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_parked(&self, work_loop: &str, item: &str) -> Result<bool, Error> {
        let rows = sqlx::query!("DELETE FROM parked_items WHERE loop = $1 AND item = $2", work_loop, item)
            .execute(&self.pool)
            .await?;
        Ok(rows.rows_affected() > 0)
    }

    /// Removes up to `limit` entries of items that were due a day ago and did not fail again: they went well or are
    /// gone. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_recovered(&self, limit: i64) -> Result<u64, Error> {
        let rows = sqlx::query!(
            "DELETE FROM parked_items WHERE (loop, item) IN
                 (SELECT loop, item FROM parked_items WHERE retry_at < now() - interval '1 day'
                  ORDER BY retry_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
            limit,
        )
        .execute(&self.pool)
        .await?;
        Ok(rows.rows_affected())
    }
}

impl Error {
    /// Whether the fault lies in a row: it holds something that this version cannot read, or that the schema refuses.
    /// Every other fault (no connection, a time limit, a full disk, a missing column) concerns all rows, so that no
    /// single one may be set aside for it.
    #[must_use]
    pub fn is_of_item(&self) -> bool {
        match self {
            Self::Unreadable { .. }
            | Self::Sql(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound) => true,
            // Data exceptions, violated constraints, and exceptions that our triggers raise.
            Self::Sql(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| ["22", "23", "P0"].iter().any(|class| code.starts_with(class)))
            }
            _ => false,
        }
    }

    /// The fault in words for the list of parked items. The database's own message is left out: it may quote the row.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Sql(sqlx::Error::ColumnDecode { index, .. }) => format!("column {index} of the row cannot be read"),
            Self::Sql(sqlx::Error::Database(error)) => {
                let what = error.constraint().map(|name| format!(", constraint {name}")).unwrap_or_default();
                format!("the database refuses it: SQLSTATE {}{what}", error.code().unwrap_or_default())
            }
            Self::Sql(sqlx::Error::RowNotFound) => "a row that it needs does not exist".to_owned(),
            Self::Unreadable { .. } => self.to_string(),
            Self::Sql(_) | Self::Migrate(_) | Self::Address(_) | Self::ReadOnly => "it cannot be read".to_owned(),
        }
    }
}

struct ParkedRecord {
    r#loop: String,
    item: String,
    tenant_id: Option<Uuid>,
    organisation: Option<String>,
    reason: String,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    count: i64,
    retry_at: DateTime<Utc>,
}

impl From<ParkedRecord> for ParkedItem {
    fn from(row: ParkedRecord) -> Self {
        Self {
            work_loop: row.r#loop,
            item: row.item,
            tenant_id: row.tenant_id.map(TenantId),
            organisation: row.organisation,
            reason: row.reason,
            first_at: row.first_at,
            last_at: row.last_at,
            count: row.count,
            retry_at: row.retry_at,
        }
    }
}
