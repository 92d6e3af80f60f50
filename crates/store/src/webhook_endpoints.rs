//! Webhook endpoints and their secrets. Each endpoint belongs to an account. Those of live accounts never receive
//! sandbox events.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, Store, Tx};
use visavis_domain::ids::{EndpointId, TenantId};
use visavis_domain::notice;
use visavis_domain::tenant::Account;
use visavis_domain::webhook::{Disabled, EventType, TEST};

/// Endpoints that an account may have: every event costs a row for each.
pub const MAX_ENDPOINTS: i64 = 50;

/// Deliveries that one statement deletes or gives up.
const BATCH: i64 = 5000;

/// An endpoint about to be stored.
pub struct NewWebhookEndpoint<'a> {
    pub id: EndpointId,
    pub account: Account,
    pub url: &'a str,
    pub description: &'a str,
    pub event_types: &'a [EventType],
    pub rate_limit: Option<i32>,
}

/// A sealed secret, which signs deliveries. Has no `Debug`.
pub struct SealedSecret {
    pub id: Uuid,
    pub endpoint_id: EndpointId,
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
    pub sealed: Vec<u8>,
    /// 32 bytes.
    pub public_key: Vec<u8>,
}

/// An endpoint as its owner sees it.
#[derive(Debug, Clone)]
pub struct EndpointView {
    pub id: EndpointId,
    pub url: String,
    pub description: String,
    pub event_types: Vec<String>,
    pub rate_limit: Option<i32>,
    /// The public keys of the secrets that are alive, the newest first.
    pub public_keys: Vec<Vec<u8>>,
    /// Why the endpoint gets no deliveries. `None`: it is enabled.
    pub disabled: Option<String>,
    pub disabled_at: Option<DateTime<Utc>>,
    pub failing_since: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// What `PATCH` may change. Absent fields stay.
#[derive(Default)]
pub struct EndpointChange<'a> {
    pub url: Option<&'a str>,
    pub description: Option<&'a str>,
    pub event_types: Option<&'a [EventType]>,
    pub rate_limit: RateChange,
    pub enabled: Option<bool>,
}

/// What to do with the rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RateChange {
    #[default]
    Keep,
    Unlimited,
    PerSecond(i32),
}

/// What became of a request to rotate a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointRotation {
    Done,
    NoSuchEndpoint,
    /// Two secrets are alive already.
    TwoLive,
}

/// Whether something was written for an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written<T> {
    Done(T),
    NoSuchEndpoint,
    /// The endpoint is disabled.
    Disabled,
}

impl Store {
    /// Stores an endpoint with its first secret. Returns false if the account has as many as it may have.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_endpoint(
        &self,
        endpoint: &NewWebhookEndpoint<'_>,
        secret: &SealedSecret,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let inserted = sqlx::query!(
            "INSERT INTO webhook_endpoints (id, tenant_id, sandbox, url, description, event_types, rate_limit)
             SELECT $1, $2, $3, $4, $5, $6, $7
             WHERE (SELECT count(*) FROM webhook_endpoints WHERE tenant_id = $2 AND sandbox = $3) < $8",
            endpoint.id.0,
            endpoint.account.tenant_id.0,
            endpoint.account.sandbox,
            endpoint.url,
            endpoint.description,
            &names(endpoint.event_types),
            endpoint.rate_limit,
            MAX_ENDPOINTS,
        )
        .execute(&mut *tx.inner)
        .await?
        .rows_affected();
        if inserted == 0 {
            return Ok(false);
        }
        tx.insert_secret(secret).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// # Errors
    /// When the database fails.
    pub async fn find_endpoint(&self, account: Account, id: EndpointId) -> Result<Option<EndpointView>, Error> {
        Ok(self.endpoints(account, Some(id)).await?.pop())
    }

    /// All endpoints of the account, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_endpoints(&self, account: Account) -> Result<Vec<EndpointView>, Error> {
        self.endpoints(account, None).await
    }

    async fn endpoints(&self, account: Account, id: Option<EndpointId>) -> Result<Vec<EndpointView>, Error> {
        let rows = sqlx::query!(
            r#"SELECT id, url, description, event_types, rate_limit, disabled, disabled_at, failing_since, created_at,
                      ARRAY(SELECT public_key FROM webhook_secrets
                            WHERE endpoint_id = endpoint.id AND (expires_at IS NULL OR expires_at > now())
                            ORDER BY webhook_secrets.created_at DESC, webhook_secrets.id DESC) AS "public_keys!"
               FROM webhook_endpoints AS endpoint
               WHERE tenant_id = $1 AND sandbox = $2 AND ($3::uuid IS NULL OR id = $3) ORDER BY id"#,
            account.tenant_id.0,
            account.sandbox,
            id.map(|id| id.0),
        )
        .fetch_all(&self.pool)
        .await?;
        let views = rows.into_iter().map(|row| EndpointView {
            id: EndpointId(row.id),
            url: row.url,
            description: row.description,
            event_types: row.event_types,
            rate_limit: row.rate_limit,
            public_keys: row.public_keys,
            disabled: row.disabled,
            disabled_at: row.disabled_at,
            failing_since: row.failing_since,
            created_at: row.created_at,
        });
        Ok(views.collect())
    }

    /// Changes an endpoint. Returns whether the account has it. Disabling gives up its pending deliveries; enabling
    /// starts afresh.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_endpoint(
        &self,
        account: Account,
        id: EndpointId,
        change: &EndpointChange<'_>,
    ) -> Result<bool, Error> {
        let event_types = change.event_types.map(names);
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            "UPDATE webhook_endpoints
             SET url = coalesce($4, url), description = coalesce($5, description),
                 event_types = coalesce($6, event_types), rate_limit = CASE WHEN $7 THEN $8 ELSE rate_limit END,
                 disabled = CASE WHEN $9 THEN NULL ELSE disabled END,
                 disabled_at = CASE WHEN $9 THEN NULL ELSE disabled_at END,
                 failing_since = CASE WHEN ($9 AND disabled IS NOT NULL) OR $4 <> url THEN NULL ELSE failing_since END
             WHERE tenant_id = $1 AND sandbox = $2 AND id = $3",
            account.tenant_id.0,
            account.sandbox,
            id.0,
            change.url,
            change.description,
            event_types.as_deref(),
            change.rate_limit != RateChange::Keep,
            change.rate_limit.per_second(),
            change.enabled == Some(true),
        )
        .execute(&mut *tx.inner)
        .await?
        .rows_affected();
        if rows == 1 && change.enabled == Some(false) {
            tx.disable_endpoint(id, Disabled::ByRequest).await?;
        }
        tx.commit().await?;
        Ok(rows == 1)
    }

    /// Deletes an endpoint with its secrets and deliveries. Returns whether the account had it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_endpoint(&self, account: Account, id: EndpointId) -> Result<bool, Error> {
        // First it is disabled, and its deliveries are deleted in batches. Jobs that end wait while one of their
        // endpoints is being deleted.
        let off = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
        if !self.change_endpoint(account, id, &off).await? {
            return Ok(false);
        }
        while self.delete_deliveries(id).await? == BATCH.unsigned_abs() {}
        let rows = sqlx::query!(
            "DELETE FROM webhook_endpoints WHERE tenant_id = $1 AND sandbox = $2 AND id = $3",
            account.tenant_id.0,
            account.sandbox,
            id.0,
        );
        Ok(rows.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn delete_deliveries(&self, id: EndpointId) -> Result<u64, Error> {
        let rows = sqlx::query!(
            "DELETE FROM deliveries WHERE endpoint_id = $1 AND event_id IN
                 (SELECT event_id FROM deliveries WHERE endpoint_id = $1 ORDER BY event_id DESC LIMIT $2)",
            id.0,
            BATCH,
        );
        Ok(rows.execute(&self.pool).await?.rows_affected())
    }

    /// Gives an endpoint a new secret. The old one signs too for `grace`. Two secrets may be alive at once. A third
    /// rotation within the grace is refused, because it would cut off receivers that still check with the oldest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rotate_secret(
        &self,
        account: Account,
        secret: &SealedSecret,
        grace: Duration,
    ) -> Result<EndpointRotation, Error> {
        let mut tx = self.begin().await?;
        // Rotations of one endpoint run one after the other.
        let found = sqlx::query_scalar!(
            "SELECT id FROM webhook_endpoints WHERE tenant_id = $1 AND sandbox = $2 AND id = $3 FOR NO KEY UPDATE",
            account.tenant_id.0,
            account.sandbox,
            secret.endpoint_id.0,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        if found.is_none() {
            return Ok(EndpointRotation::NoSuchEndpoint);
        }
        let live = sqlx::query_scalar!(
            r#"SELECT count(*) AS "live!" FROM webhook_secrets
               WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > now())"#,
            secret.endpoint_id.0,
        )
        .fetch_one(&mut *tx.inner)
        .await?;
        if live >= 2 {
            return Ok(EndpointRotation::TwoLive);
        }
        sqlx::query!(
            "DELETE FROM webhook_secrets WHERE endpoint_id = $1 AND expires_at <= now()",
            secret.endpoint_id.0,
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "UPDATE webhook_secrets SET expires_at = now() + make_interval(secs => $2) WHERE endpoint_id = $1",
            secret.endpoint_id.0,
            grace.as_secs_f64(),
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.insert_secret(secret).await?;
        tx.commit().await?;
        Ok(EndpointRotation::Done)
    }

    /// The secrets that sign for these endpoints now, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_secrets(&self, endpoints: &[EndpointId]) -> Result<Vec<SealedSecret>, Error> {
        let endpoints: Vec<_> = endpoints.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            "SELECT id, endpoint_id, master_key_id, wrapped_key, sealed, public_key FROM webhook_secrets
             WHERE endpoint_id = ANY($1) AND (expires_at IS NULL OR expires_at > now())
             ORDER BY created_at DESC, id DESC",
            &endpoints,
        )
        .fetch_all(&self.pool)
        .await?;
        let secrets = rows.into_iter().map(|row| SealedSecret {
            id: row.id,
            endpoint_id: EndpointId(row.endpoint_id),
            master_key_id: row.master_key_id,
            wrapped_key: row.wrapped_key,
            sealed: row.sealed,
            public_key: row.public_key,
        });
        Ok(secrets.collect())
    }

    /// Sends the endpoint a test event, whatever it subscribed to. Returns the event's id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_test_event(&self, account: Account, id: EndpointId) -> Result<Written<Uuid>, Error> {
        let mut tx = self.begin().await?;
        match tx.hold_enabled(account, id).await? {
            Written::Done(()) => {}
            Written::NoSuchEndpoint => return Ok(Written::NoSuchEndpoint),
            Written::Disabled => return Ok(Written::Disabled),
        }
        let event_id = Uuid::now_v7();
        sqlx::query!(
            "WITH event AS (INSERT INTO events (id, tenant_id, sandbox, type, payload) VALUES ($1, $2, $3, $4, $5)
                            RETURNING id)
             INSERT INTO deliveries (event_id, endpoint_id) SELECT id, $6 FROM event",
            event_id,
            account.tenant_id.0,
            account.sandbox,
            TEST,
            notice::test(id),
            id.0,
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.news.push(super::signals::Signal::Delivery);
        tx.commit().await?;
        Ok(Written::Done(event_id))
    }
}

impl Tx {
    async fn insert_secret(&mut self, secret: &SealedSecret) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO webhook_secrets (id, endpoint_id, master_key_id, wrapped_key, sealed, public_key)
             VALUES ($1, $2, $3, $4, $5, $6)",
            secret.id,
            secret.endpoint_id.0,
            secret.master_key_id,
            secret.wrapped_key,
            secret.sealed,
            secret.public_key,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Keeps the endpoint from being deleted until the commit, if the account has it and it is enabled.
    pub(super) async fn hold_enabled(&mut self, account: Account, id: EndpointId) -> Result<Written<()>, Error> {
        let found = sqlx::query_scalar!(
            "SELECT disabled FROM webhook_endpoints WHERE tenant_id = $1 AND sandbox = $2 AND id = $3 FOR KEY SHARE",
            account.tenant_id.0,
            account.sandbox,
            id.0,
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(match found {
            None => Written::NoSuchEndpoint,
            Some(Some(_)) => Written::Disabled,
            Some(None) => Written::Done(()),
        })
    }

    /// Gives up the endpoint's pending deliveries, and tells the account unless it disabled the endpoint itself.
    /// Nothing changes if the endpoint is disabled already.
    pub(super) async fn disable_endpoint(&mut self, id: EndpointId, why: Disabled) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"UPDATE webhook_endpoints SET disabled = $2, disabled_at = now() WHERE id = $1 AND disabled IS NULL
               RETURNING tenant_id, sandbox"#,
            id.0,
            why.name(),
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(row) = row else { return Ok(()) };
        // If the backlog is long, the dispatcher gives up the rest, see `give_up_disabled`.
        sqlx::query!(
            "UPDATE deliveries SET state = 'failed', finished_at = now()
             WHERE endpoint_id = $1 AND event_id IN
                 (SELECT event_id FROM deliveries WHERE endpoint_id = $1 AND state = 'pending'
                  ORDER BY next_at, event_id LIMIT $2 FOR NO KEY UPDATE)",
            id.0,
            BATCH,
        )
        .execute(&mut *self.inner)
        .await?;
        if why == Disabled::ByRequest {
            return Ok(());
        }
        let account = Account { tenant_id: TenantId(row.tenant_id), sandbox: row.sandbox };
        let data = notice::disabled(id, why);
        self.insert_event(account, None, EventType::EndpointDisabled, &data).await
    }
}

impl RateChange {
    /// `None`: no limit.
    #[must_use]
    pub fn per_second(self) -> Option<i32> {
        if let Self::PerSecond(rate) = self { Some(rate) } else { None }
    }
}

fn names(types: &[EventType]) -> Vec<String> {
    types.iter().map(|event_type| event_type.name().to_owned()).collect()
}
