//! Postgres: the only room that speaks SQL. One file per group of tables.
//!
//! Its clock is the only clock: leases and schedules are compared with `now()`, so machines need not agree on the time.
//! A statement that changes a state names the old state in its `WHERE` and reports how many rows it hit.

// `./dev` changes this variable to have clippy check the queries again: see query_data in dev.d/checks.sh.
#[cfg(clippy)]
const _: Option<&str> = option_env!("VISAVIS_QUERIES");

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use signals::{Signal, Signals};

pub mod api_keys;
pub mod audit_log;
pub mod blob_store;
pub mod cases;
pub mod challenges;
pub mod dead_letters;
pub mod decisions;
pub mod deliveries;
pub mod delivery_ledger;
pub mod due_jobs;
pub mod erasure;
pub mod erasures;
pub mod event_tails;
pub mod events;
pub mod holding;
pub mod images;
pub mod jobs;
pub mod outbox;
pub mod parked;
pub mod perceptual_hashes;
pub mod registry;
pub mod renditions;
pub mod replies;
pub mod retention;
pub mod review_figures;
pub mod reviewers;
pub mod sealed;
pub mod signals;
pub mod signing_keys;
pub mod sweep;
pub mod tenants;
pub mod views;
pub mod wallets;
pub mod webhook_endpoints;

/// Any number: who migrates a database holds its advisory lock of this number.
const MIGRATION_LOCK: i64 = 0x7669_7361_7669_7301;

/// A handle to the database; clones share one pool.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    signals: Signals,
}

/// What went wrong in the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds something that this version cannot read.
    #[error("the database holds a {what} that this version does not know")]
    Unreadable { what: &'static str },
}

/// A transaction as a value. [`Tx::commit`] consumes it, dropping it rolls back.
pub struct Tx {
    inner: sqlx::Transaction<'static, sqlx::Postgres>,
    signals: Signals,
    /// Signals to raise after the commit.
    news: Vec<Signal>,
}

impl Store {
    /// Connects to `url`, with at most `connections` connections.
    ///
    /// # Errors
    /// When the URL is malformed or nobody answers.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse()?;
        // A statement that runs longer, or holds a lock longer, is treated as a fault.
        let options = options.application_name("visavis").options([
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("tcp_keepalives_idle", "15"),
        ]);
        // A pool hides why it cannot connect. A single connection reports the cause.
        PgConnection::connect_with(&options).await?.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(3))
            .connect_with(options)
            .await?;
        Ok(Self::from_pool(pool))
    }

    /// Uses an existing pool. Tests do this.
    #[must_use]
    pub fn from_pool(pool: PgPool) -> Self {
        Self { pool, signals: Signals::default() }
    }

    /// Applies the migrations that are missing. Several processes may do so at once.
    ///
    /// # Errors
    /// When a migration fails or the schema is newer than this version.
    pub async fn migrate(&self) -> Result<(), Error> {
        // On a connection of its own: building an index over many rows may take longer than our statements are allowed
        // to.
        let mut connection = self.pool.acquire().await?.detach();
        sqlx::query("SET statement_timeout = 0").execute(&mut connection).await?;
        // Tried again and again, and not waited for: an index that is built concurrently waits for every session with a
        // snapshot, and a session that waits for a lock has one.
        while !sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)")
            .bind(MIGRATION_LOCK)
            .fetch_one(&mut connection)
            .await?
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // A concurrent build that was cut off leaves an index that no query uses. It is built again.
        sqlx::query(
            "DO $$ DECLARE broken regclass; BEGIN
                 FOR broken IN SELECT indexrelid FROM pg_index JOIN pg_class ON oid = indexrelid
                               WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace
                 LOOP EXECUTE 'DROP INDEX ' || broken; END LOOP;
             END $$",
        )
        .execute(&mut connection)
        .await?;
        let mut migrator = sqlx::migrate!("../../migrations");
        migrator.set_locking(false).run(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Whether every migration of this version was applied.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_migrated(&self) -> Result<bool, Error> {
        // Not checked at compile time: the table is sqlx's own and does not exist when queries are prepared.
        let known: Option<String> =
            sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text").fetch_one(&self.pool).await?;
        if known.is_none() {
            return Ok(false);
        }
        let applied: Vec<i64> =
            sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(&self.pool).await?;
        Ok(sqlx::migrate!("../../migrations").iter().all(|migration| applied.contains(&migration.version)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query!(r#"SELECT 1 AS "one!""#).fetch_one(&self.pool).await?;
        Ok(())
    }

    /// # Errors
    /// When no connection is free in time.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Ok(Tx { inner: self.pool.begin().await?, signals: self.signals.clone(), news: Vec::new() })
    }

    /// Returns when a transaction of this process that raises the signal is committed, or at once if one was since the
    /// last call. Each signal has one listener. Other processes are not seen.
    pub async fn signalled(&self, signal: Signal) {
        self.signals.raised(signal).await;
    }

    /// Waits until every connection is returned and closed.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Tx {
    /// # Errors
    /// When the commit fails or its answer is lost. The caller must read again and assume nothing.
    pub async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await?;
        self.news.into_iter().for_each(|signal| self.signals.raise(signal));
        Ok(())
    }
}
