//! Readers that follow the events in order, and how far each has come. One process at a time reads for a tail. Each
//! event is read at least once.

use std::time::Duration;

use uuid::Uuid;

use super::events::{Cursor, StoredEvent};
use super::{Error, Store};
use visavis_domain::webhook::TEST;

/// How long one round may take. After that another process may read the same events.
const LEASE: Duration = Duration::from_secs(90);

/// An event with what its routing key needs.
#[derive(Debug, Clone)]
pub struct OrganisationEvent {
    pub organisation: String,
    pub event: StoredEvent,
}

impl Store {
    /// Claims the tail for one round. `None` if there is nothing new, or another process holds the tail.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_tail(&self, name: &str, holder: Uuid) -> Result<Option<Cursor>, Error> {
        let row = sqlx::query!(
            r#"UPDATE event_tails SET holder = $2, lease_until = now() + make_interval(secs => $3)
               WHERE name = $1 AND (holder IS NULL OR lease_until <= now())
                 AND EXISTS (SELECT 1 FROM events WHERE (events.xid, events.id) > (event_tails.xid, event_id)
                                                    AND events.xid < pg_snapshot_xmin(pg_current_snapshot()))
               RETURNING xid::text::bigint AS "xid!", event_id"#,
            name,
            holder,
            LEASE.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| Cursor { xid: row.xid, id: row.event_id }))
    }

    /// Releases the tail at the place that was reached. If another process holds it by now, nothing changes, and that
    /// process reads the same events again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_tail(&self, name: &str, holder: Uuid, reached: Cursor) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE event_tails SET holder = NULL, lease_until = now(), xid = $3::bigint::text::xid8, event_id = $4
             WHERE name = $1 AND holder = $2",
            name,
            holder,
            reached.xid,
            reached.id,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Keeps the events that live accounts publish, and adds the names of their organisations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn name_organisations(&self, events: Vec<StoredEvent>) -> Result<Vec<OrganisationEvent>, Error> {
        let ids: Vec<_> = events.iter().map(|event| event.account.tenant_id.0).collect();
        let rows = sqlx::query!("SELECT id, name FROM tenants WHERE id = ANY($1)", &ids).fetch_all(&self.pool).await?;
        let name = |id: Uuid| rows.iter().find(|row| row.id == id).map(|row| row.name.clone());
        let named =
            events.into_iter().filter(|event| !event.account.sandbox && event.kind != TEST).filter_map(|event| {
                let organisation = name(event.account.tenant_id.0)?;
                Some(OrganisationEvent { organisation, event })
            });
        Ok(named.collect())
    }
}
