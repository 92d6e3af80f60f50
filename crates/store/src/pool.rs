//! Sessions with Postgres, and the pools that lend them. Every wait has a limit: for a place, for a connection, for an
//! answer. A session whose answer did not come is closed and never used again. So a network that goes silent costs a
//! pool some seconds, and never one of its places.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::address::{Address, Fresh};
use super::outage::{SessionHealth, health, silent};

/// How long a caller waits for a place in the pool.
const PLACE: Duration = Duration::from_secs(3);
/// A session that was not heard of for longer must show a sign of life before it is used.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long that sign of life, or the end of an abandoned statement, may take. A round trip of a second fits in.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);
/// Postgres ends a statement that runs for too long. The answer gets this time on its way.
const ON_THE_WAY: Duration = Duration::from_secs(4);
/// A session that nobody used for this time is closed.
const IDLE: Duration = Duration::from_mins(10);
/// A session is replaced after this time, so that Postgres gives back the memory that it has gathered.
const LIFETIME: Duration = Duration::from_mins(30);
/// A session that cannot write is replaced after this time, because the next one may be able to.
const READ_ONLY_LIFETIME: Duration = Duration::from_secs(5);

/// Lends sessions, a fixed number at a time. Clones share them.
#[derive(Clone)]
pub(crate) struct SessionPool(Arc<SessionPoolState>);

struct SessionPoolState {
    address: Address,
    size: u32,
    /// The longest time from sending a statement to the end of its answer.
    limit: Duration,
    places: Arc<Semaphore>,
    /// The session that was used last comes last.
    idle: Mutex<Vec<Line>>,
    /// Callers that wait for a session.
    waiting: AtomicUsize,
    /// When a caller got a session, or began to wait while nobody else did.
    served_at: Mutex<Instant>,
}

/// A connection, and what is known about it.
struct Line {
    raw: PgConnection,
    born: Instant,
    /// When Postgres last answered on it.
    heard: Instant,
    can_write: bool,
}

/// A session with Postgres in hand. Dropping it returns it to its pool, or closes it.
pub struct DbSession {
    /// `None` only while the session is dropped.
    line: Option<Line>,
    state: SessionState,
    in_transaction: bool,
    pool: SessionPool,
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionState {
    /// Every statement was answered.
    Ready,
    /// A statement was sent, and its answer has not ended.
    Asked,
    /// Must be closed. The other sessions may be good.
    Spent,
    /// The connection broke, or nobody answered. Other sessions may have suffered the same.
    Dead,
}

impl SessionPool {
    /// A pool of at most `size` sessions. It connects when it needs to. `statement` is the server's limit.
    pub(crate) fn new(address: Address, size: u32, statement: Duration) -> Self {
        Self(Arc::new(SessionPoolState {
            address,
            size: size.max(1),
            limit: statement + ON_THE_WAY,
            places: Arc::new(Semaphore::new(size.max(1) as usize)),
            idle: Mutex::default(),
            waiting: AtomicUsize::new(0),
            served_at: Mutex::new(Instant::now()),
        }))
    }

    /// A session that can be trusted: new, heard of within [`TRUSTED`], or asked for a sign of life.
    pub(crate) async fn acquire(&self) -> Result<DbSession, sqlx::Error> {
        let _waiting = WaitingCaller::new(&self.0);
        let place = timeout(PLACE, Arc::clone(&self.0.places).acquire_owned()).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(mut line) = self.0.take_idle() {
            let asked = Instant::now();
            if asked - line.heard < TRUSTED {
                return Ok(self.serve(line, place));
            }
            match timeout(SIGN_OF_LIFE, line.raw.ping()).await {
                Ok(Ok(())) => return Ok(self.serve(line, place)),
                // Postgres closed it. The next one tells as quickly.
                Ok(Err(error)) => tracing::debug!(%error, "an idle session with the database was closed"),
                Err(_) => self.0.suspect(asked),
            }
        }
        self.connect(place).await
    }

    /// Connects in a task of its own. If the caller gives up, the next one gets the session: at a slow network nobody
    /// would ever wait long enough otherwise.
    async fn connect(&self, place: OwnedSemaphorePermit) -> Result<DbSession, sqlx::Error> {
        let (sender, receiver) = oneshot::channel();
        let pool = self.clone();
        Handle::current().spawn(async move {
            let connected = pool.0.address.connect().await.map(|fresh| pool.serve(fresh.into(), place));
            // Dropping a session that nobody takes returns it to the pool.
            drop(sender.send(connected));
        });
        receiver.await.unwrap_or(Err(sqlx::Error::PoolClosed))
    }

    /// A connection that counts in no pool.
    pub(crate) async fn connect_apart(&self) -> Result<PgConnection, sqlx::Error> {
        Ok(self.0.address.connect().await?.raw)
    }

    fn serve(&self, mut line: Line, place: OwnedSemaphorePermit) -> DbSession {
        let now = Instant::now();
        line.heard = now;
        *lock(&self.0.served_at) = now;
        let (line, place) = (Some(line), Some(place));
        DbSession { line, state: SessionState::Ready, in_transaction: false, pool: self.clone(), place }
    }

    /// For how long callers have waited without anybody getting a session.
    pub(crate) fn unserved_for(&self) -> Duration {
        if self.0.waiting.load(Ordering::Relaxed) == 0 { Duration::ZERO } else { lock(&self.0.served_at).elapsed() }
    }

    /// Waits until every session is returned, and closes them. Later callers get an error.
    pub(crate) async fn close(&self) {
        let all = Arc::clone(&self.0.places).acquire_many_owned(self.0.size).await;
        self.0.places.close();
        drop(all);
        let idle = std::mem::take(&mut *lock(&self.0.idle));
        for line in idle {
            let _ = timeout(SIGN_OF_LIFE, line.raw.close()).await;
        }
    }
}

impl SessionPoolState {
    /// The idle session that was used last. Forgets those that are too old.
    fn take_idle(&self) -> Option<Line> {
        let mut idle = lock(&self.idle);
        idle.retain(|line| line.heard.elapsed() < IDLE && !line.is_old());
        idle.pop()
    }

    fn put_back(&self, line: Line) {
        // Checked under the lock, so that `close` finds the session, or the session finds the pool closed.
        let mut idle = lock(&self.idle);
        if !self.places.is_closed() && !line.is_old() {
            idle.push(line);
        }
    }

    /// A session did not answer what was asked at `asked`. Forgets all idle ones that were not heard of since: testing
    /// one after the other would take too long.
    fn suspect(&self, asked: Instant) {
        let mut idle = lock(&self.idle);
        let before = idle.len();
        idle.retain(|line| line.heard > asked);
        let closed = before - idle.len() + 1;
        drop(idle);
        tracing::warn!(closed, "a session with the database is dead: it and the idle ones beside it are closed");
    }
}

impl Line {
    fn is_old(&self) -> bool {
        self.born.elapsed() > if self.can_write { LIFETIME } else { READ_ONLY_LIFETIME }
    }
}

impl From<Fresh> for Line {
    fn from(fresh: Fresh) -> Self {
        let now = Instant::now();
        Self { raw: fresh.raw, born: now, heard: now, can_write: fresh.can_write }
    }
}

/// Counts a caller that waits for a session, however the wait ends.
struct WaitingCaller<'a>(&'a SessionPoolState);

impl<'a> WaitingCaller<'a> {
    fn new(pool: &'a SessionPoolState) -> Self {
        if pool.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            *lock(&pool.served_at) = Instant::now();
        }
        Self(pool)
    }
}

impl Drop for WaitingCaller<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DbSession {
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        self.execute("BEGIN").await?;
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Has the session closed instead of returned.
    pub(crate) fn spend(&mut self) {
        self.state = SessionState::Spent;
    }

    /// The connection, now with a statement on its way, and where to note how that ends.
    fn ask(&mut self) -> Result<(&mut Line, &mut SessionState), sqlx::Error> {
        match (&mut self.line, self.state) {
            (Some(line), SessionState::Ready | SessionState::Asked) => {
                self.state = SessionState::Asked;
                Ok((line, &mut self.state))
            }
            _ => Err(silent()),
        }
    }
}

/// Notes how a statement ended.
fn note(line: &mut Line, state: &mut SessionState, error: Option<&sqlx::Error>) {
    *state = match error.map_or(SessionHealth::Sound, health) {
        SessionHealth::Sound => SessionState::Ready,
        SessionHealth::Spent => SessionState::Spent,
        SessionHealth::Dead => SessionState::Dead,
    };
    let is_silent = matches!(error, Some(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut);
    if !is_silent {
        line.heard = Instant::now();
    }
}

impl Drop for DbSession {
    fn drop(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        match self.state {
            SessionState::Ready if !self.in_transaction => self.pool.0.put_back(line),
            SessionState::Ready | SessionState::Asked => {
                // Outside a runtime the connection is closed, which Postgres takes for a rollback.
                let Ok(runtime) = Handle::try_current() else { return };
                let (pool, place, in_transaction) = (self.pool.clone(), self.place.take(), self.in_transaction);
                runtime.spawn(async move {
                    let end = async {
                        // Both wait first for the answers that nobody has read.
                        if in_transaction {
                            line.raw.execute("ROLLBACK").await.map(drop)
                        } else {
                            line.raw.ping().await
                        }
                    };
                    match timeout(SIGN_OF_LIFE, end).await {
                        Ok(Ok(())) => {
                            line.heard = Instant::now();
                            pool.0.put_back(line);
                        }
                        Ok(Err(error)) => tracing::debug!(%error, "an abandoned session with the database is closed"),
                        // Not a reason to suspect others: the abandoned statement may be a long one.
                        Err(_) => tracing::debug!("an abandoned statement with the database did not end in time"),
                    }
                    drop(place);
                });
            }
            SessionState::Spent => {}
            SessionState::Dead => self.pool.0.suspect(line.heard),
        }
    }
}

impl fmt::Debug for DbSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbSession").finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionPool").field("size", &self.0.size).finish_non_exhaustive()
    }
}

type Step = Result<Either<PgQueryResult, PgRow>, sqlx::Error>;

impl<'c> Executor<'c> for &'c mut DbSession {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Step>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let deadline = tokio::time::Instant::now() + self.pool.0.limit;
        let (line, state) = match self.ask() {
            Ok(asked) => asked,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        stream::once(async move {
            let steps = line.raw.fetch_many(query).collect::<Vec<Step>>();
            let steps = tokio::time::timeout_at(deadline, steps).await.unwrap_or_else(|_| vec![Err(silent())]);
            note(line, state, steps.iter().find_map(|step| step.as_ref().err()));
            stream::iter(steps)
        })
        .flatten()
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let limit = self.pool.0.limit;
        Box::pin(async move {
            let (line, state) = self.ask()?;
            let answer = timeout(limit, line.raw.fetch_optional(query)).await.unwrap_or_else(|_| Err(silent()));
            note(line, state, answer.as_ref().err());
            answer
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let limit = self.pool.0.limit;
        Box::pin(async move {
            let (line, state) = self.ask()?;
            let prepared = timeout(limit, line.raw.prepare_with(sql, parameters)).await;
            let prepared = prepared.unwrap_or_else(|_| Err(silent()));
            note(line, state, prepared.as_ref().err());
            prepared
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        let limit = self.pool.0.limit;
        Box::pin(async move {
            let (line, state) = self.ask()?;
            let described = timeout(limit, line.raw.describe(sql)).await.unwrap_or_else(|_| Err(silent()));
            note(line, state, described.as_ref().err());
            described
        })
    }
}

impl<'p> Executor<'p> for &'_ SessionPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Step>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        stream::once(async move {
            // Collected, so that the session is back before the caller looks at the rows.
            let steps = match pool.acquire().await {
                Ok(mut session) => session.fetch_many(query).collect::<Vec<Step>>().await,
                Err(error) => vec![Err(error)],
            };
            stream::iter(steps)
        })
        .flatten()
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
