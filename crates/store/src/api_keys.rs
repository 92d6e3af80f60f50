//! API keys: which organisation each belongs to, what it may do, and when it ends. Secrets are stored as HMACs only.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Error, Store};
use visavis_domain::ids::TenantId;
use visavis_domain::tenant::{Account, Scope, TenantSettings};

/// A key that may be used now, with its organisation.
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub account: Account,
    pub secret_hmac: Vec<u8>,
    pub scopes: BTreeSet<Scope>,
    pub settings: TenantSettings,
}

/// A key about to be stored.
pub struct NewApiKey<'a> {
    pub id: &'a str,
    pub account: Account,
    pub secret_hmac: &'a [u8],
    pub scopes: &'a BTreeSet<Scope>,
    pub label: &'a str,
    /// How long the key lives from now on. `None`: it does not expire.
    pub lifetime: Option<Duration>,
}

/// A key as lists show it: without its secret.
#[derive(Debug, Clone)]
pub struct ApiKeyView {
    pub id: String,
    pub label: String,
    pub sandbox: bool,
    pub scopes: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What became of a request to rotate a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRotation {
    Done,
    /// The organisation has no such key, or the key has ended.
    NoSuchKey,
    /// Two keys of the family are alive already.
    TwoLive,
}

impl Store {
    /// # Errors
    /// When a key of that id exists, or the database fails.
    pub async fn insert_api_key(&self, key: &NewApiKey<'_>) -> Result<(), Error> {
        let scopes: Vec<String> = key.scopes.iter().map(|scope| scope.name().to_owned()).collect();
        sqlx::query!(
            "INSERT INTO api_keys (id, family, tenant_id, environment, secret_hmac, scopes, label, expires_at)
             VALUES ($1, $1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))",
            key.id,
            key.account.tenant_id.0,
            environment(key.account.sandbox),
            key.secret_hmac,
            &scopes,
            key.label,
            key.lifetime.map(|lifetime| lifetime.as_secs_f64()),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A key that is neither revoked nor expired, with its organisation's settings.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_api_key(&self, id: &str) -> Result<Option<ApiKey>, Error> {
        let row = sqlx::query!(
            r#"SELECT tenant_id, environment, secret_hmac, scopes, settings::text AS "settings!"
               FROM api_keys JOIN tenants ON tenants.id = tenant_id
               WHERE api_keys.id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"#,
            id,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| ApiKey {
            account: Account { tenant_id: TenantId(row.tenant_id), sandbox: row.environment == environment(true) },
            secret_hmac: row.secret_hmac,
            scopes: row.scopes.iter().filter_map(|name| Scope::parse(name)).collect(),
            settings: TenantSettings::from_stored(&row.settings),
        }))
    }

    /// The organisation's keys, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_api_keys(&self, tenant_id: TenantId) -> Result<Vec<ApiKeyView>, Error> {
        let rows = sqlx::query!(
            "SELECT id, label, environment, scopes, created_at, expires_at, revoked_at FROM api_keys
             WHERE tenant_id = $1 ORDER BY created_at DESC, id",
            tenant_id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        let views = rows.into_iter().map(|row| ApiKeyView {
            id: row.id,
            label: row.label,
            sandbox: row.environment == environment(true),
            scopes: row.scopes,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        });
        Ok(views.collect())
    }

    /// Gives a key a successor with the same scopes, label and end. The old key lives on for `grace` at most. Two keys
    /// of a family may be alive at once. A third rotation within the grace is refused, because it would cut off clients
    /// that still use the oldest key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rotate_api_key(
        &self,
        tenant_id: TenantId,
        old: &str,
        new: &str,
        secret_hmac: &[u8],
        grace: Duration,
    ) -> Result<KeyRotation, Error> {
        let mut tx = self.begin().await?;
        // Rotations of one organisation run one after the other: two at once would leave three keys alive.
        sqlx::query!("SELECT id FROM tenants WHERE id = $1 FOR UPDATE", tenant_id.0)
            .fetch_optional(&mut *tx.inner)
            .await?;
        let family = sqlx::query_scalar!(
            "SELECT family FROM api_keys WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL
                 AND (expires_at IS NULL OR expires_at > now())",
            old,
            tenant_id.0,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(family) = family else { return Ok(KeyRotation::NoSuchKey) };
        let live = sqlx::query_scalar!(
            r#"SELECT count(*) AS "live!" FROM api_keys WHERE family = $1 AND tenant_id = $2 AND revoked_at IS NULL
                 AND (expires_at IS NULL OR expires_at > now())"#,
            family,
            tenant_id.0,
        )
        .fetch_one(&mut *tx.inner)
        .await?;
        if live >= 2 {
            return Ok(KeyRotation::TwoLive);
        }
        sqlx::query!(
            "INSERT INTO api_keys (id, family, tenant_id, environment, secret_hmac, scopes, label, expires_at)
             SELECT $2, family, tenant_id, environment, $3, scopes, label, expires_at FROM api_keys
             WHERE id = $1 AND tenant_id = $4",
            old,
            new,
            secret_hmac,
            tenant_id.0,
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "UPDATE api_keys SET expires_at = least(expires_at, now() + make_interval(secs => $2)) WHERE id = $1",
            old,
            grace.as_secs_f64(),
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(KeyRotation::Done)
    }

    /// Ends a key at once. Returns whether the organisation has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_api_key(&self, tenant_id: TenantId, id: &str) -> Result<bool, Error> {
        let rows = sqlx::query!(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 AND tenant_id = $2",
            id,
            tenant_id.0,
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        Ok(rows == 1)
    }
}

fn environment(sandbox: bool) -> &'static str {
    if sandbox { "test" } else { "live" }
}
