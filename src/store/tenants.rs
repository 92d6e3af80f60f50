//! Organisations and their API keys.

use std::collections::BTreeSet;

use sqlx::types::Json;

use super::{Error, Store};
use crate::domain::ids::TenantId;
use crate::domain::tenant::{Account, Scope, TenantSettings};

/// An API key as stored: its secret only as an HMAC.
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub account: Account,
    pub secret_hmac: Vec<u8>,
    pub scopes: BTreeSet<Scope>,
    pub settings: TenantSettings,
}

impl Store {
    /// Makes an organisation; `None` when one of that name exists.
    ///
    /// # Errors
    /// When the name is malformed, another organisation has that broker user, or the database fails.
    pub async fn insert_tenant(&self, name: &str, amqp_user: Option<&str>) -> Result<Option<TenantId>, Error> {
        let id = TenantId::new();
        let inserted = sqlx::query!(
            "INSERT INTO tenants (id, name, amqp_user) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
            id.0,
            name,
            amqp_user,
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        Ok((inserted == 1).then_some(id))
    }

    /// # Errors
    /// When the database fails.
    pub async fn find_tenant(&self, name: &str) -> Result<Option<TenantId>, Error> {
        let id = sqlx::query_scalar!("SELECT id FROM tenants WHERE name = $1", name).fetch_optional(&self.pool).await?;
        Ok(id.map(TenantId))
    }

    /// The organisation whose submissions that broker user brings.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_tenant_by_amqp_user(&self, user: &str) -> Result<Option<(TenantId, TenantSettings)>, Error> {
        let row = sqlx::query!(
            r#"SELECT id, settings AS "settings: Json<TenantSettings>" FROM tenants WHERE amqp_user = $1"#,
            user,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| (TenantId(row.id), row.settings.0)))
    }

    /// # Errors
    /// When a key of that id exists, or the database fails.
    pub async fn insert_api_key(&self, id: &str, tenant_id: TenantId, secret_hmac: &[u8]) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO api_keys (id, tenant_id, secret_hmac) VALUES ($1, $2, $3)",
            id,
            tenant_id.0,
            secret_hmac,
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
            r#"SELECT tenant_id, environment, secret_hmac, scopes, settings AS "settings: Json<TenantSettings>"
               FROM api_keys JOIN tenants ON tenants.id = tenant_id
               WHERE api_keys.id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"#,
            id,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| ApiKey {
            account: Account { tenant_id: TenantId(row.tenant_id), sandbox: row.environment == "test" },
            secret_hmac: row.secret_hmac,
            scopes: row.scopes.iter().filter_map(|name| Scope::parse(name)).collect(),
            settings: row.settings.0,
        }))
    }
}
