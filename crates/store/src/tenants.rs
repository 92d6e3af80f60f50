//! Organisations, their settings and their broker users.

use chrono::{DateTime, Utc};

use super::{Error, Store};
use visavis_domain::ids::TenantId;
use visavis_domain::tenant::TenantSettings;

/// An organisation as operators see it.
#[derive(Debug, Clone)]
pub struct TenantView {
    pub id: TenantId,
    pub name: String,
    pub amqp_user: Option<String>,
    pub retention_seconds: i64,
    pub settings: TenantSettings,
    pub created_at: DateTime<Utc>,
}

/// What `PATCH` may change. Absent fields stay.
#[derive(Debug, Clone, Default)]
pub struct TenantChange {
    pub amqp_user: Option<String>,
    pub retention_seconds: Option<i64>,
    pub settings: Option<TenantSettings>,
}

struct TenantRecord {
    id: uuid::Uuid,
    name: String,
    amqp_user: Option<String>,
    retention_seconds: i64,
    settings: String,
    created_at: DateTime<Utc>,
}

impl From<TenantRecord> for TenantView {
    fn from(row: TenantRecord) -> Self {
        Self {
            id: TenantId(row.id),
            name: row.name,
            amqp_user: row.amqp_user,
            retention_seconds: row.retention_seconds,
            settings: TenantSettings::from_stored(&row.settings),
            created_at: row.created_at,
        }
    }
}

impl Store {
    /// Creates an organisation with these settings, in one step. `None` if the name is taken.
    ///
    /// # Errors
    /// When the name is malformed, another organisation has that broker user, or the database fails.
    pub async fn insert_tenant(&self, name: &str, change: &TenantChange) -> Result<Option<TenantId>, Error> {
        let id = TenantId::new();
        let inserted = sqlx::query!(
            "INSERT INTO tenants (id, name, amqp_user, retention_seconds, settings)
             VALUES ($1, $2, $3, coalesce($4::bigint, 86400), coalesce($5::jsonb, '{}')) ON CONFLICT (name) DO NOTHING",
            id.0,
            name,
            change.amqp_user,
            change.retention_seconds,
            change.settings.as_ref().map(TenantSettings::to_stored),
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

    /// An organisation with all its settings.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn show_tenant(&self, id: TenantId) -> Result<Option<TenantView>, Error> {
        let row = sqlx::query_as!(
            TenantRecord,
            r#"SELECT id, name, amqp_user, retention_seconds, settings::text AS "settings!", created_at
               FROM tenants WHERE id = $1"#,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(TenantView::from))
    }

    /// Up to `limit` organisations by name, behind the name `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_tenants(&self, after: &str, limit: i64) -> Result<Vec<TenantView>, Error> {
        let rows = sqlx::query_as!(
            TenantRecord,
            r#"SELECT id, name, amqp_user, retention_seconds, settings::text AS "settings!", created_at
               FROM tenants WHERE name > $1 ORDER BY name LIMIT $2"#,
            after,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(TenantView::from).collect())
    }

    /// Changes an organisation. `decide` sees what it is now and returns the change. `None` if the id is unknown. Two
    /// changes at once run one after the other.
    ///
    /// # Errors
    /// The error of `decide`; when another organisation has the broker user, a number is out of range, or the database
    /// fails.
    pub async fn change_tenant<E: From<Error>>(
        &self,
        id: TenantId,
        decide: impl FnOnce(&TenantView) -> Result<TenantChange, E>,
    ) -> Result<Option<TenantView>, E> {
        let mut tx = self.begin().await?;
        let found = sqlx::query_as!(
            TenantRecord,
            r#"SELECT id, name, amqp_user, retention_seconds, settings::text AS "settings!", created_at
               FROM tenants WHERE id = $1 FOR UPDATE"#,
            id.0,
        )
        .fetch_optional(&mut *tx.inner)
        .await
        .map_err(Error::from)?;
        let Some(found) = found.map(TenantView::from) else { return Ok(None) };
        let change = decide(&found)?;
        let row = sqlx::query_as!(
            TenantRecord,
            r#"UPDATE tenants SET amqp_user = coalesce($2, amqp_user),
                                  retention_seconds = coalesce($3, retention_seconds),
                                  settings = coalesce($4, settings)
               WHERE id = $1
               RETURNING id, name, amqp_user, retention_seconds, settings::text AS "settings!",
                         created_at"#,
            id.0,
            change.amqp_user,
            change.retention_seconds,
            change.settings.as_ref().map(TenantSettings::to_stored),
        )
        .fetch_one(&mut *tx.inner)
        .await
        .map_err(Error::from)?;
        tx.commit().await?;
        Ok(Some(row.into()))
    }

    /// The organisation of that broker user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_tenant_by_amqp_user(&self, user: &str) -> Result<Option<(TenantId, TenantSettings)>, Error> {
        let row = sqlx::query!(r#"SELECT id, settings::text AS "settings!" FROM tenants WHERE amqp_user = $1"#, user,)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| (TenantId(row.id), TenantSettings::from_stored(&row.settings))))
    }
}
