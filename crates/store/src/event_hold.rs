//! Which open transaction holds readers of events back. They stop before the oldest one: see [`events`](super::events).

use std::time::Duration;

use super::{Error, Store};

/// An open transaction before which events wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHold {
    /// The server's process, if this user may see it.
    pub pid: Option<i32>,
    pub application: Option<String>,
    /// How long the transaction has been open.
    pub open_for: Option<Duration>,
    /// How long the first event has waited.
    pub events_wait: Duration,
}

impl Store {
    /// What holds events back, if one has waited for longer than `patience`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_event_hold(&self, patience: Duration) -> Result<Option<EventHold>, Error> {
        let row = sqlx::query!(
            r#"SELECT extract(epoch FROM now() - first.created_at)::float8 AS "events_wait!", holder.pid AS "pid?",
                      holder.application_name AS "application?", holder.open_for AS "open_for?"
               FROM (SELECT created_at FROM events WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())
                     ORDER BY xid, id LIMIT 1) AS first
               LEFT JOIN LATERAL (
                   SELECT pid, application_name, extract(epoch FROM now() - xact_start)::float8 AS open_for
                   FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
                   ORDER BY age(backend_xid) DESC LIMIT 1) AS holder ON true
               WHERE first.created_at < now() - make_interval(secs => $1)"#,
            patience.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(row.map(|row| EventHold {
            pid: row.pid,
            application: row.application,
            open_for: row.open_for.map(time),
            events_wait: time(row.events_wait),
        }))
    }
}
