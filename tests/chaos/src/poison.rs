//! Rows and messages that cannot be dealt with, all of one organisation. Nobody else may notice them.

use anyhow::Result;
use reqwest::Url;
use serde_json::json;
use uuid::Uuid;

use crate::amqp;
use crate::organisations::POISONED;
use crate::photos::Photos;
use crate::plan::{Content, Poison};
use crate::services::Services;

/// Adds one item. `broker` is the organisation's own address.
///
/// # Errors
/// When the database or the broker does not take it.
pub async fn add(services: &Services, broker: &Url, kind: Poison) -> Result<()> {
    match kind {
        Poison::RunningJob => job(services, "running").await,
        Poison::QueuedJob => {
            let id = job(services, "queued").await?;
            execute(
                services,
                "INSERT INTO outbox (id, kind, tenant_id, job_id, lane)
                 SELECT gen_random_uuid(), 'doorbell', id, $2, 'bulk' FROM tenants WHERE name = $1",
                id,
            )
            .await?;
            Ok(id)
        }
        Poison::Reply => {
            let statement = "INSERT INTO outbox (id, kind, reply_to, payload, reply_type, tenant_id)
                 SELECT $2, 'reply_final', $1 || '.' || repeat('x', 300), '{}', 'completed', id
                 FROM tenants WHERE name = $1";
            execute(services, statement, Uuid::now_v7()).await
        }
        Poison::Settings => {
            let statement = r#"UPDATE tenants SET settings = '{"mode": 7, "similarity_threshold": "high"}'
                               WHERE name = $1 AND id <> $2"#;
            execute(services, statement, Uuid::nil()).await?;
            let request = Content::Blank.request(&Photos::load()?, POISONED);
            amqp::publish_once(broker, &request).await.map(|()| Uuid::nil())
        }
        Poison::Endpoint => endpoint(services).await,
        Poison::Blob => blob(services).await,
    }
    .map(drop)
}

/// A job of a kind of parameters that no version knows.
async fn job(services: &Services, state: &str) -> Result<Uuid> {
    let id = Uuid::now_v7();
    let request_id: String = id.simple().to_string().to_uppercase().chars().rev().take(12).collect();
    sqlx::query(
        "INSERT INTO jobs (id, tenant_id, request_id, request_hash, kind, lane, params, metadata, state, attempt, epoch,
                           lease_until)
         SELECT $2, id, $3, sha256('poison'), 'likeness_check', 'bulk', $4, '{}', $5, 1, 1,
                CASE WHEN $5 = 'running' THEN now() - interval '1 minute' END
         FROM tenants WHERE name = $1",
    )
    .bind(POISONED)
    .bind(id)
    .bind(request_id)
    .bind(json!({ "kind": "hologram" }))
    .bind(state)
    .execute(&services.pool)
    .await?;
    Ok(id)
}

/// An endpoint whose secret nobody can open, and an event for it.
async fn endpoint(services: &Services) -> Result<Uuid> {
    let (endpoint, event) = (Uuid::now_v7(), Uuid::now_v7());
    let mut tx = services.pool.begin().await?;
    for statement in [
        "INSERT INTO webhook_endpoints (id, tenant_id, sandbox, url, description, event_types)
         SELECT $2, id, false, 'http://127.0.0.1:9/', '', ARRAY['job.completed'] FROM tenants WHERE name = $1",
        "INSERT INTO webhook_secrets (id, endpoint_id, master_key_id, wrapped_key, sealed, public_key)
         SELECT gen_random_uuid(), $2, 'nobody', 'x', 'y', sha256('z') FROM tenants WHERE name = $1",
    ] {
        sqlx::query(statement).bind(POISONED).bind(endpoint).execute(&mut *tx).await?;
    }
    sqlx::query(
        "INSERT INTO events (id, tenant_id, type, payload) SELECT $2, id, 'endpoint.test', '{}' FROM tenants
         WHERE name = $1",
    )
    .bind(POISONED)
    .bind(event)
    .execute(&mut *tx)
    .await?;
    let delivery = sqlx::query("INSERT INTO deliveries (event_id, endpoint_id) VALUES ($1, $2)");
    delivery.bind(event).bind(endpoint).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(endpoint)
}

/// An image whose time is over, with a folder in its blob's place.
async fn blob(services: &Services) -> Result<Uuid> {
    let id = Uuid::now_v7();
    let tenant: Uuid =
        sqlx::query_scalar("SELECT id FROM tenants WHERE name = $1").bind(POISONED).fetch_one(&services.pool).await?;
    let place = services.blobs.join(format!("images/{tenant}/{id}/full"));
    std::fs::create_dir_all(&place)?;
    let statement = "INSERT INTO images (id, tenant_id, role, format, bytes, master_key_id, wrapped_key, purge_at)
         SELECT $2, id, 'upload', 'png', 1, 'k1', 'x', now() - interval '1 second' FROM tenants WHERE name = $1";
    execute(services, statement, id).await
}

async fn execute(services: &Services, statement: &'static str, id: Uuid) -> Result<Uuid> {
    sqlx::query(statement).bind(POISONED).bind(id).execute(&services.pool).await?;
    Ok(id)
}
