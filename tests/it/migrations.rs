//! What a migration does with rows of the version before it. Each test makes the old schema beside the new one.

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Postgres};
use uuid::Uuid;

use crate::support::World;

/// A connection on which the migrations up to number `last` were applied, in a schema of its own.
async fn before(world: &World, last: u32) -> PoolConnection<Postgres> {
    let mut connection = world.pool.acquire().await.unwrap();
    sqlx::raw_sql("CREATE SCHEMA old; SET search_path TO old").execute(&mut *connection).await.unwrap();
    for (number, text) in migrations() {
        if number <= last {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *connection).await.unwrap();
        }
    }
    connection
}

/// Applies one migration in a transaction, as `visavis migrate` does.
async fn apply(connection: &mut PoolConnection<Postgres>, number: u32) -> Result<(), sqlx::Error> {
    let (_, text) = migrations().into_iter().find(|(found, _)| *found == number).unwrap();
    let mut tx = sqlx::Connection::begin(&mut **connection).await?;
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *tx).await?;
    tx.commit().await
}

fn migrations() -> Vec<(u32, String)> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let mut found: Vec<_> = folder
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name.split('_').next().unwrap().parse().unwrap(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort_unstable();
    found
}

const TENANT: &str = "INSERT INTO tenants (id, name) VALUES ($1, 'acme')";

#[tokio::test]
async fn replies_that_wait_learn_their_type_and_so_do_those_of_an_older_process() {
    let world = World::without_broker().await;
    let mut old = before(&world, 13).await;
    let replies = [
        ("reply_accepted", r#"{"state": "queued"}"#, "accepted"),
        ("reply_rejected", r#"{"code": "malformed_json"}"#, "rejected"),
        ("reply_final", r#"{"state": "succeeded"}"#, "completed"),
        ("reply_final", r#"{"state": "failed"}"#, "failed"),
        ("reply_final", r#"{"state": "cancelled"}"#, "failed"),
    ];
    let insert = async |connection: &mut PoolConnection<Postgres>| {
        let mut ids = Vec::new();
        for (kind, payload, _) in replies {
            let id = Uuid::now_v7();
            let statement =
                "INSERT INTO outbox (id, kind, reply_to, payload) VALUES ($1, $2, 'acme.replies', $3::text::jsonb)";
            let insert = sqlx::query(statement).bind(id).bind(kind).bind(payload);
            insert.execute(&mut **connection).await.unwrap();
            ids.push(id);
        }
        ids
    };
    let mut ids = insert(&mut old).await;
    apply(&mut old, 14).await.unwrap();
    ids.extend(insert(&mut old).await);
    apply(&mut old, 15).await.unwrap();
    apply(&mut old, 16).await.unwrap();
    for (id, (_, payload, expected)) in ids.iter().zip(replies.iter().chain(&replies)) {
        let found: String = sqlx::query_scalar("SELECT reply_type FROM outbox WHERE id = $1")
            .bind(id)
            .fetch_one(&mut *old)
            .await
            .unwrap();
        assert_eq!(found, *expected, "{payload}");
    }
}

#[tokio::test]
async fn a_job_in_the_state_that_goes_away_stops_the_migration_with_a_clear_message() {
    let world = World::without_broker().await;
    let mut old = before(&world, 13).await;
    let (tenant, job) = (Uuid::now_v7(), Uuid::now_v7());
    sqlx::query(TENANT).bind(tenant).execute(&mut *old).await.unwrap();
    let statement = "INSERT INTO jobs (id, tenant_id, request_id, request_hash, kind, lane, params, metadata, state,
                                       finished_at, purge_at)
                     VALUES ($1, $2, 'abcdefghijkl', decode(repeat('00', 32), 'hex'), 'likeness_check', 'bulk', '{}', '{}',
                             'expired', now(), now())";
    sqlx::query(statement).bind(job).bind(tenant).execute(&mut *old).await.unwrap();
    apply(&mut old, 14).await.unwrap();
    let error = apply(&mut old, 15).await.unwrap_err().to_string();
    assert!(error.contains(r#"there are jobs in the state "expired""#), "{error}");
    sqlx::query("DELETE FROM jobs").execute(&mut *old).await.unwrap();
    apply(&mut old, 15).await.unwrap();
    apply(&mut old, 16).await.unwrap();
    let refused = sqlx::query(statement).bind(job).bind(tenant).execute(&mut *old).await.unwrap_err().to_string();
    assert!(refused.contains("violates check constraint"), "{refused}");
}
