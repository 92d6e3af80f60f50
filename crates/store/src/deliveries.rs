//! Deliveries under way: claimed fairly, attempted by the dispatcher, and their attempts recorded.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::parked::WorkLoop;
use super::{Error, Store, Tx};
use visavis_domain::delivery::{FAILING, KEPT};
use visavis_domain::ids::EndpointId;
use visavis_domain::webhook::Disabled;

/// A delivery that this dispatcher holds until its lease ends.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    pub event_id: Uuid,
    pub endpoint_id: EndpointId,
    pub epoch: i64,
    /// Attempts made before this one.
    pub attempts: i32,
    pub url: String,
    pub rate_limit: Option<i32>,
    /// Recent attempts to this endpoint failed.
    pub failing: bool,
    pub kind: String,
    pub data: Value,
    pub created_at: DateTime<Utc>,
    /// The time of the claim.
    pub now: DateTime<Utc>,
}

/// How many deliveries one claim may take.
pub struct ClaimLimits<'a> {
    pub all: i64,
    /// How many of them may go to endpoints that are failing.
    pub failing: i64,
    /// How many each endpoint that the dispatcher knows may get.
    pub known: &'a [(EndpointId, i32)],
    /// How many any other endpoint may get. A failing one gets 1.
    pub unknown: i32,
}

/// An attempt that was made.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub event_id: Uuid,
    pub endpoint_id: EndpointId,
    /// The address it went to.
    pub url: String,
    pub epoch: i64,
    pub at: DateTime<Utc>,
    pub duration: Duration,
    /// The status of the answer, or a word for why there was none.
    pub status: Result<u16, &'static str>,
    /// The beginning of the answer's body.
    pub answer: String,
    pub next: AfterAttempt,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAttempt {
    Delivered,
    /// Another attempt, after this time.
    Retry(Duration),
    /// No further attempt: the schedule has ended.
    Failed,
    /// The endpoint said that it wants no more deliveries.
    Gone,
}

impl Store {
    /// Whether a delivery is due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_due_deliveries(&self) -> Result<bool, Error> {
        let due = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM deliveries WHERE state = 'pending' AND next_at <= now()) AS "due!""#,
        );
        Ok(due.fetch_one(&self.pool).await?)
    }

    /// Claims deliveries that are due, as far as each endpoint has room: first the first of each endpoint, then the
    /// second of each. A claim ends after `lease`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_deliveries(&self, room: &ClaimLimits<'_>, lease: Duration) -> Result<Vec<DueDelivery>, Error> {
        let (known, free): (Vec<_>, Vec<_>) = room.known.iter().map(|(id, free)| (id.0, *free)).unzip();
        let rows = sqlx::query!(
            // The recursion jumps from endpoint to endpoint along an index, so the length of a backlog does not matter.
            r#"WITH RECURSIVE waiting AS (
                   (SELECT endpoint_id FROM deliveries WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
                   UNION ALL
                   SELECT (SELECT endpoint_id FROM deliveries
                           WHERE state = 'pending' AND endpoint_id > waiting.endpoint_id ORDER BY endpoint_id LIMIT 1)
                   FROM waiting WHERE waiting.endpoint_id IS NOT NULL
               ), turns AS (
                   SELECT oldest.*, endpoint.failing_since IS NOT NULL AS failing
                   FROM waiting
                   JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id AND endpoint.disabled IS NULL
                     AND NOT EXISTS (SELECT 1 FROM parked_items
                                     WHERE loop = $7 AND item = endpoint.id::text AND retry_at > now())
                   LEFT JOIN unnest($2::uuid[], $3::int[]) AS known (id, free) ON known.id = endpoint.id
                   CROSS JOIN LATERAL (
                       SELECT event_id, endpoint_id, next_at, row_number() OVER (ORDER BY next_at, event_id) AS turn
                       FROM (SELECT event_id, endpoint_id, next_at FROM deliveries
                             WHERE state = 'pending' AND endpoint_id = waiting.endpoint_id AND next_at <= now()
                               AND NOT EXISTS (SELECT 1 FROM parked_items
                                               WHERE loop = $7 AND item = endpoint_id || '/' || event_id
                                                 AND retry_at > now())
                             ORDER BY next_at, event_id
                             LIMIT coalesce(known.free, CASE WHEN endpoint.failing_since IS NULL
                                                             THEN least($4, endpoint.rate_limit) ELSE 1 END)) AS first
                   ) AS oldest
               ), fair AS (
                   SELECT *, row_number() OVER (PARTITION BY failing ORDER BY turn, next_at) AS place FROM turns
               ), chosen AS (
                   SELECT event_id, endpoint_id FROM fair WHERE NOT failing OR place <= $5
                   ORDER BY turn, next_at LIMIT $1
               ), locked AS (
                   SELECT event_id, endpoint_id FROM deliveries
                   WHERE (event_id, endpoint_id) IN (SELECT event_id, endpoint_id FROM chosen)
                     AND state = 'pending' AND next_at <= now()
                   FOR NO KEY UPDATE SKIP LOCKED
               )
               UPDATE deliveries SET epoch = epoch + 1, next_at = now() + make_interval(secs => $6)
               FROM locked
               JOIN events ON events.id = locked.event_id
               JOIN webhook_endpoints AS endpoint ON endpoint.id = locked.endpoint_id
               WHERE deliveries.event_id = locked.event_id AND deliveries.endpoint_id = locked.endpoint_id
               RETURNING deliveries.event_id, deliveries.endpoint_id, epoch, attempts, url, rate_limit,
                         failing_since IS NOT NULL AS "failing!", events.type AS kind, payload::text AS "payload!",
                         events.created_at, now() AS "now!""#,
            room.all,
            &known,
            &free,
            room.unknown,
            room.failing,
            lease.as_secs_f64(),
            WorkLoop::Webhooks.name(),
        )
        .fetch_all(&self.pool)
        .await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in rows {
            let endpoint_id = EndpointId(row.endpoint_id);
            let Ok(data) = serde_json::from_str(&row.payload) else {
                self.park_delivery(endpoint_id, row.event_id, "the event's payload cannot be read").await?;
                continue;
            };
            due.push(DueDelivery {
                event_id: row.event_id,
                endpoint_id,
                epoch: row.epoch,
                attempts: row.attempts,
                url: row.url,
                rate_limit: row.rate_limit,
                failing: row.failing,
                kind: row.kind,
                data,
                created_at: row.created_at,
                now: row.now,
            });
        }
        Ok(due)
    }

    async fn park_delivery(&self, endpoint: EndpointId, event: Uuid, reason: &str) -> Result<(), Error> {
        self.park(WorkLoop::Webhooks, &format!("{endpoint}/{event}"), None, reason).await
    }

    /// Returns claimed deliveries that were not attempted. They are due at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unclaim_deliveries(&self, due: &[DueDelivery]) -> Result<(), Error> {
        let (events, endpoints): (Vec<_>, Vec<_>) =
            due.iter().map(|delivery| (delivery.event_id, delivery.endpoint_id.0)).unzip();
        let epochs: Vec<_> = due.iter().map(|delivery| delivery.epoch).collect();
        sqlx::query!(
            "UPDATE deliveries SET next_at = now()
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS held (event_id, endpoint_id, epoch)
             WHERE deliveries.event_id = held.event_id AND deliveries.endpoint_id = held.endpoint_id
               AND deliveries.epoch = held.epoch AND state = 'pending'",
            &events,
            &endpoints,
            &epochs,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Gives up up to `limit` due deliveries whose endpoint is disabled. These came in while the endpoint was being
    /// disabled, or were too many to be given up then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_up_disabled(&self, limit: i64) -> Result<u64, Error> {
        let rows = sqlx::query!(
            "UPDATE deliveries SET state = 'failed', finished_at = now()
             WHERE (event_id, endpoint_id) IN
                 -- By the endpoint, not by what is due: that may be all of a long backlog.
                 (SELECT due.event_id, due.endpoint_id FROM webhook_endpoints
                  CROSS JOIN LATERAL
                      (SELECT event_id, endpoint_id FROM deliveries
                       WHERE endpoint_id = webhook_endpoints.id AND state = 'pending' AND next_at <= now()
                       ORDER BY next_at, event_id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) AS due
                  WHERE webhook_endpoints.disabled IS NOT NULL LIMIT $1)",
            limit,
        );
        Ok(rows.execute(&self.pool).await?.rows_affected())
    }

    /// Records attempts and their consequences in one commit. If a delivery was claimed again or replayed meanwhile,
    /// its attempt is recorded and has no other effect. An endpoint that is gone, or has failed for too long, is
    /// disabled. If the database refuses one of the attempts, each gets a commit of its own, and the delivery of the
    /// refused one is parked.
    ///
    /// # Errors
    /// When the database fails. The call can be repeated.
    pub async fn record_attempts(&self, attempts: &[Attempt]) -> Result<(), Error> {
        match self.record_together(attempts).await {
            Err(error) if error.is_of_item() => {}
            recorded => return recorded,
        }
        for attempt in attempts {
            match self.record_together(std::slice::from_ref(attempt)).await {
                Err(error) if error.is_of_item() => {
                    self.park_delivery(attempt.endpoint_id, attempt.event_id, &error.reason()).await?;
                }
                recorded => recorded?,
            }
        }
        Ok(())
    }

    async fn record_together(&self, attempts: &[Attempt]) -> Result<(), Error> {
        let column = |of: &dyn Fn(&Attempt) -> Uuid| -> Vec<Uuid> { attempts.iter().map(of).collect() };
        let epochs: Vec<_> = attempts.iter().map(|attempt| attempt.epoch).collect();
        let at: Vec<_> = attempts.iter().map(|attempt| attempt.at).collect();
        let durations: Vec<_> =
            attempts.iter().map(|attempt| i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX)).collect();
        let statuses: Vec<Option<i16>> =
            attempts.iter().map(|attempt| attempt.status.ok().and_then(|status| i16::try_from(status).ok())).collect();
        let errors: Vec<Option<String>> =
            attempts.iter().map(|attempt| attempt.status.err().map(str::to_owned)).collect();
        let answers: Vec<_> = attempts.iter().map(|attempt| attempt.answer.clone()).collect();
        let states: Vec<_> = attempts.iter().map(|attempt| attempt.next.state().to_owned()).collect();
        let waits: Vec<_> = attempts.iter().map(|attempt| attempt.next.wait().as_secs_f64()).collect();
        let mut tx = self.begin().await?;
        sqlx::query!(
            "WITH made AS (
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::int[], $6::smallint[],
                                      $7::text[], $8::text[], $9::text[], $10::float8[])
                     AS made (event_id, endpoint_id, epoch, at, duration_ms, status, error, answer, state, wait)
             ), held AS (
                 SELECT made.* FROM made
                 JOIN deliveries ON deliveries.event_id = made.event_id AND deliveries.endpoint_id = made.endpoint_id
                 ORDER BY made.event_id, made.endpoint_id FOR NO KEY UPDATE OF deliveries
             ), kept AS (
                 INSERT INTO delivery_attempts (event_id, endpoint_id, epoch, at, duration_ms, status, error, answer)
                 SELECT event_id, endpoint_id, epoch, at, duration_ms, status, error, answer FROM held
                 ON CONFLICT DO NOTHING RETURNING event_id, endpoint_id
             )
             UPDATE deliveries
             SET attempts = attempts + 1, state = held.state,
                 next_at = now() + make_interval(secs => held.wait),
                 finished_at = CASE WHEN held.state = 'pending' THEN NULL ELSE now() END
             FROM held JOIN kept ON kept.event_id = held.event_id AND kept.endpoint_id = held.endpoint_id
             WHERE deliveries.event_id = held.event_id AND deliveries.endpoint_id = held.endpoint_id
               AND deliveries.epoch = held.epoch
               -- One that was given up meanwhile may still have arrived.
               AND (deliveries.state = 'pending' OR held.state = 'delivered')",
            &column(&|attempt| attempt.event_id),
            &column(&|attempt| attempt.endpoint_id.0),
            &epochs,
            &at,
            &durations,
            &statuses as _,
            &errors as _,
            &answers,
            &states,
            &waits,
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.record_endpoint_health(attempts).await?;
        tx.commit().await
    }

    /// Deletes up to `limit` deliveries that ended long ago, with their attempts, past the first `skip` ones. Returns
    /// how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_old_deliveries(&self, limit: i64, skip: i64) -> Result<u64, Error> {
        let deleted = sqlx::query!(
            "DELETE FROM deliveries WHERE (event_id, endpoint_id) IN
                 (SELECT event_id, endpoint_id FROM deliveries
                  WHERE state <> 'pending' AND finished_at <= now() - make_interval(secs => $2)
                  ORDER BY finished_at, event_id LIMIT $1 OFFSET $3 FOR UPDATE SKIP LOCKED)",
            limit,
            KEPT.as_secs_f64(),
            skip,
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected())
    }
}

impl Tx {
    /// Notes which endpoints answer again, which began to fail, and disables those that are gone or failed for too
    /// long.
    async fn record_endpoint_health(&mut self, attempts: &[Attempt]) -> Result<(), Error> {
        let those = |wanted: &dyn Fn(AfterAttempt) -> bool| -> Vec<Uuid> {
            attempts.iter().filter(|attempt| wanted(attempt.next)).map(|attempt| attempt.endpoint_id.0).collect()
        };
        let well = those(&|next| next == AfterAttempt::Delivered);
        if !well.is_empty() {
            sqlx::query!(
                "UPDATE webhook_endpoints SET failing_since = NULL WHERE id = ANY($1) AND failing_since IS NOT NULL",
                &well,
            )
            .execute(&mut *self.inner)
            .await?;
        }
        let gone = those(&|next| next == AfterAttempt::Gone);
        let gone_urls: Vec<_> = attempts
            .iter()
            .filter(|attempt| attempt.next == AfterAttempt::Gone)
            .map(|attempt| attempt.url.clone())
            .collect();
        let mut ill = those(&|next| next != AfterAttempt::Delivered);
        ill.retain(|endpoint| !well.contains(endpoint));
        if !ill.is_empty() || !gone.is_empty() {
            sqlx::query!(
                "UPDATE webhook_endpoints SET failing_since = now() WHERE id = ANY($1) AND failing_since IS NULL",
                &ill,
            )
            .execute(&mut *self.inner)
            .await?;
            let lost = sqlx::query_scalar!(
                "SELECT id FROM webhook_endpoints
                 WHERE id = ANY($1) AND disabled IS NULL AND failing_since <= now() - make_interval(secs => $2)",
                &ill,
                FAILING.as_secs_f64(),
            )
            .fetch_all(&mut *self.inner)
            .await?;
            // An answer of the endpoint's old address says nothing about its new one.
            let gone = sqlx::query_scalar!(
                r#"SELECT webhook_endpoints.id FROM webhook_endpoints
                   JOIN unnest($1::uuid[], $2::text[]) AS called (id, url)
                     ON called.id = webhook_endpoints.id AND called.url = webhook_endpoints.url"#,
                &gone,
                &gone_urls,
            )
            .fetch_all(&mut *self.inner)
            .await?;
            let gone = gone.into_iter().map(|id| (id, Disabled::Gone));
            for (id, why) in gone.chain(lost.into_iter().map(|id| (id, Disabled::Failing))) {
                self.disable_endpoint(EndpointId(id), why).await?;
            }
        }
        Ok(())
    }
}

impl AfterAttempt {
    fn state(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry(_) => "pending",
            Self::Failed | Self::Gone => "failed",
        }
    }

    fn wait(self) -> Duration {
        if let Self::Retry(wait) = self { wait } else { Duration::ZERO }
    }
}
