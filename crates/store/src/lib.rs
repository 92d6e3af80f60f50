//! Postgres: the only room that speaks SQL. One file per group of tables.
//!
//! Its clock is the only clock: leases and schedules are compared with `now()`, so machines need not agree on the time.
//! A statement that changes a state names the old state in its `WHERE` and reports how many rows it hit.

// `./dev` changes this variable to have clippy check the queries again: see query_data in dev.d/checks.sh.
#[cfg(clippy)]
const _: Option<&str> = option_env!("VISAVIS_QUERIES");

use std::time::Duration;

use sqlx::Connection as _;

use address::Address;
use pool::{DbSession, SessionPool};
use signals::{Signal, Signals};

mod address;
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
mod endings;
pub mod erasure;
pub mod erasures;
pub mod event_hold;
pub mod event_tails;
pub mod events;
pub mod holding;
pub mod images;
pub mod jobs;
mod metadata;
mod outage;
pub mod outbox;
pub mod parked;
pub mod perceptual_hashes;
mod pool;
pub mod registry;
pub mod renditions;
pub mod replay;
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

/// A handle to the database; clones share its pools. [`Store::for_reads`] and [`Store::for_desk`] give handles that use
/// another pool, so that slow statements there stop nobody here.
#[derive(Clone)]
pub struct Store {
    pool: SessionPool,
    pools: [SessionPool; 3],
    signals: Signals,
}

/// The most connections of each pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolSizes {
    /// For everything that keeps jobs moving.
    pub core: u32,
    /// For lists and other reads that may take long.
    pub reads: u32,
    /// For the desk.
    pub desk: u32,
}

/// A statement that runs longer is treated as a fault. Below 30 s, so that a dead network is noticed before that.
const STATEMENT: Duration = Duration::from_secs(20);
/// The same for [`Store::for_reads`]: somebody waits for the answer.
const READ: Duration = Duration::from_secs(5);

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
    /// The URL of the database is malformed.
    #[error("{0}")]
    Address(String),
    /// Only reading is possible.
    #[error("the database is read-only")]
    ReadOnly,
}

impl Error {
    /// Whether our own database is at fault, and not the statement or its data: no answer, a restart, a read-only or a
    /// full database. The same call may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Sql(error) => outage::is_outage(error),
            Self::ReadOnly => true,
            Self::Migrate(_) | Self::Unreadable { .. } | Self::Address(_) => false,
        }
    }
}

/// A transaction as a value. [`Tx::commit`] consumes it, dropping it rolls back.
pub struct Tx {
    inner: Box<DbSession>,
    signals: Signals,
    /// Signals to raise after the commit.
    news: Vec<Signal>,
}

impl Store {
    /// Connects to `url`, with at most so many connections. See [`Address`] for the form of the URL.
    ///
    /// # Errors
    /// When the URL is malformed or nobody answers.
    pub async fn connect(url: &str, sizes: PoolSizes) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        let pool = |name, size, statement: Duration| {
            SessionPool::new(address.with(name, &session_settings(statement)), size, statement)
        };
        let core = pool("visavis", sizes.core, STATEMENT);
        // At once, because a pool that connects later hides why it cannot.
        drop(core.acquire().await?);
        let (reads, desk) = (pool("visavis reads", sizes.reads, READ), pool("visavis desk", sizes.desk, STATEMENT));
        Ok(Self { pool: core.clone(), pools: [core, reads, desk], signals: Signals::default() })
    }

    /// The same database by way of the pool for reads that may take long. Its statements have a short limit.
    #[must_use]
    pub fn for_reads(&self) -> Self {
        Self { pool: self.pools[1].clone(), ..self.clone() }
    }

    /// The same database by way of the desk's pool.
    #[must_use]
    pub fn for_desk(&self) -> Self {
        Self { pool: self.pools[2].clone(), ..self.clone() }
    }

    /// Applies the migrations that are missing. Several processes may do so at once.
    ///
    /// # Errors
    /// When a migration fails or the schema is newer than this version.
    pub async fn migrate(&self) -> Result<(), Error> {
        // On a connection of its own: building an index over many rows may take longer than our statements are allowed
        // to.
        let mut connection = self.pool.connect_apart().await?;
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

    /// Whether the database answers, and takes a write: one that needs no table, and is durable like every commit.
    ///
    /// # Errors
    /// When it does not answer in time, or [`Error::ReadOnly`].
    pub async fn check_writing(&self) -> Result<(), Error> {
        let mut session = self.pool.acquire().await?;
        let can_write = sqlx::query_scalar!(
            r#"SELECT CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only')::bool THEN false
                           ELSE pg_logical_emit_message(true, 'visavis', '') IS NOT NULL END AS "can_write!""#
        )
        .fetch_one(&mut session)
        .await?;
        if can_write {
            return Ok(());
        }
        // The next one may be able to.
        session.spend();
        Err(Error::ReadOnly)
    }

    /// For how long callers have waited for a connection without anybody getting one. The cause may be the database, or
    /// this process: [`Store::check_connecting`] tells.
    #[must_use]
    pub fn unserved_for(&self) -> Duration {
        self.pools[0].unserved_for()
    }

    /// Whether a new connection can be made, besides those of the pools.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn check_connecting(&self) -> Result<(), Error> {
        Ok(self.pool.connect_apart().await?.close().await?)
    }

    /// # Errors
    /// When no connection is free in time.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let mut session = self.pool.acquire().await?;
        session.begin().await?;
        Ok(Tx { inner: Box::new(session), signals: self.signals.clone(), news: Vec::new() })
    }

    /// Returns when a transaction of this process that raises the signal is committed, or at once if one was since the
    /// last call. Each signal has one listener. Other processes are not seen.
    pub async fn signalled(&self, signal: Signal) {
        self.signals.raised(signal).await;
    }

    /// Waits until every connection is returned and closed.
    pub async fn close(&self) {
        for pool in &self.pools {
            pool.close().await;
        }
    }
}

/// What Postgres holds itself to in a session of ours.
fn session_settings(statement: Duration) -> [(&'static str, String); 8] {
    [
        ("statement_timeout", format!("{}ms", statement.as_millis())),
        ("lock_timeout", "10s".to_owned()),
        // Readers of events stop before the oldest open transaction: see `events`.
        ("idle_in_transaction_session_timeout", "30s".to_owned()),
        // A client that is gone frees its locks within half a minute, and its statement is stopped.
        ("tcp_keepalives_idle", "15".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
        ("tcp_user_timeout", "30s".to_owned()),
        ("client_connection_check_interval", "10s".to_owned()),
    ]
}

impl Tx {
    /// # Errors
    /// When the commit fails or its answer is lost. The caller must read again and assume nothing.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.inner.commit().await?;
        self.news.into_iter().for_each(|signal| self.signals.raise(signal));
        Ok(())
    }
}
