//! The cases that wait for reviewers: opening, listing, finding and closing them.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::events::Cursor;
use super::signals::Signal;
use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::review::{CaseState, Opinion, ReviewDecision, Reviewer, ReviewerId};
use visavis_domain::tenant::Account;

/// A case as lists show it.
#[derive(Debug, Clone)]
pub struct CaseRow {
    pub job_id: JobId,
    pub request_id: String,
    pub kind: String,
    /// In percent.
    pub score: Option<f64>,
    pub risks: Vec<String>,
    pub opened_at: DateTime<Utc>,
    pub state: CaseState,
    pub holder: Option<(ReviewerId, String)>,
}

/// Which cases to list. An empty filter lists all cases that wait.
#[derive(Debug, Clone, Default)]
pub struct CaseFilter {
    pub state: Option<CaseState>,
    /// Cases with a warning of that risk.
    pub risk: Option<String>,
    /// Cases that have waited for at least so many seconds.
    pub older_than: Option<i64>,
    /// Cases that this reviewer holds.
    pub holder: Option<ReviewerId>,
    /// Cases that nobody holds.
    pub free: bool,
}

/// How many cases wait. Each number is counted up to [`MOST_COUNTED`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseCounts {
    pub waiting: i64,
    pub second: i64,
    pub disputed: i64,
    /// Cases that the asking reviewer holds.
    pub mine: i64,
    pub oldest: Option<DateTime<Utc>>,
    /// The database's time.
    pub now: DateTime<Utc>,
}

/// Counting stops here, because counting more rows would take longer.
pub const MOST_COUNTED: i64 = 10_000;

/// Everything about one case.
#[derive(Debug, Clone)]
pub struct CaseView {
    pub state: CaseState,
    pub opened_at: DateTime<Utc>,
    pub lapses_at: DateTime<Utc>,
    pub holder: Option<(ReviewerId, String)>,
    pub first_by: Option<ReviewerId>,
    pub first_choice: Option<ReviewDecision>,
    pub settling: Option<SettlingDecision>,
    pub verdict: Option<ReviewDecision>,
    /// The database's time.
    pub now: DateTime<Utc>,
}

/// A decision that can still be undone.
#[derive(Debug, Clone)]
pub struct SettlingDecision {
    pub by: (ReviewerId, String),
    pub opinion: Opinion,
    /// The case's state before the decision.
    pub came_from: CaseState,
    /// Two reviewers must agree, and this is the decision of one of them.
    pub needs_two: bool,
    pub milliseconds_left: i64,
}

/// A change of a case, for pages that show cases live.
#[derive(Debug, Clone)]
pub struct CaseChange {
    pub account: Account,
    pub job_id: JobId,
    pub state: CaseState,
    pub holder: Option<(ReviewerId, String)>,
    pub cursor: Cursor,
}

struct CaseRecord {
    job_id: Uuid,
    request_id: String,
    kind: String,
    score: Option<f64>,
    risks: Vec<String>,
    opened_at: DateTime<Utc>,
    state: String,
    holder: Option<Uuid>,
    holder_name: Option<String>,
}

impl Tx {
    /// Opens a case: the job came out in doubt and waits for a reviewer.
    pub(super) async fn open_case(&mut self, job_id: JobId) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO review_cases (job_id, tenant_id, sandbox, score, risks, opened_at, lapses_at)
             SELECT id, tenant_id, sandbox, case_score(result), case_risks(result), finished_at, purge_at
             FROM jobs WHERE id = $1",
            job_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        self.news.push(Signal::Case);
        Ok(())
    }

    /// Closes the case of an erased job. The decisions stay, but without the reviewers' notes.
    pub(super) async fn erase_case(&mut self, account: Account, job_id: JobId) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE review_cases
             SET state = 'erased', holder = NULL, taken_at = NULL, lease_until = NULL, pending = NULL, pending_by = NULL,
                 settles_at = NULL, came_from = NULL, risks = '{}', score = NULL
             WHERE job_id = $1 AND tenant_id = $2",
            job_id.0,
            account.tenant_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "UPDATE review_decisions SET note = '' WHERE job_id = $1 AND tenant_id = $2 AND note <> ''",
            job_id.0,
            account.tenant_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        self.news.push(Signal::Case);
        Ok(())
    }
}

impl Store {
    /// Up to `limit` of the account's cases that wait, the oldest first. With `after`, only those behind it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_cases(
        &self,
        account: Account,
        filter: &CaseFilter,
        after: Option<(DateTime<Utc>, JobId)>,
        limit: i64,
    ) -> Result<Vec<CaseRow>, Error> {
        let (opened, id) = after.unwrap_or((DateTime::<Utc>::UNIX_EPOCH, JobId(Uuid::nil())));
        let rows = sqlx::query_as!(
            CaseRecord,
            r#"SELECT job_id, request_id, kind, score, risks, opened_at, review_cases.state,
                      CASE WHEN review_cases.lease_until > now() THEN holder END AS holder,
                      CASE WHEN review_cases.lease_until > now() THEN reviewers.name END AS holder_name
               FROM review_cases
               JOIN jobs ON jobs.id = job_id
               LEFT JOIN reviewers ON reviewers.id = holder
               WHERE review_cases.tenant_id = $1 AND review_cases.sandbox = $2
                 AND review_cases.state IN ('waiting', 'second', 'disputed', 'settling')
                 AND (opened_at, job_id) > ($3, $4)
                 AND ($5::text IS NULL OR review_cases.state = $5)
                 AND ($6::text IS NULL OR risks @> ARRAY[$6])
                 AND opened_at <= now() - make_interval(secs => $7)
                 AND ($8::uuid IS NULL OR (holder = $8 AND review_cases.lease_until > now()))
                 AND (NOT $9 OR holder IS NULL OR review_cases.lease_until <= now())
               ORDER BY opened_at, job_id LIMIT $10"#,
            account.tenant_id.0,
            account.sandbox,
            opened,
            id.0,
            filter.state.map(CaseState::name),
            filter.risk,
            // A `double` holds ages in seconds exactly.
            i32::try_from(filter.older_than.unwrap_or_default()).map_or(f64::from(i32::MAX), f64::from),
            filter.holder.map(|reviewer| reviewer.0),
            filter.free,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(CaseRow::try_from).collect()
    }

    /// # Errors
    /// When the database fails.
    pub async fn count_cases(&self, who: &Reviewer) -> Result<CaseCounts, Error> {
        let counts = sqlx::query_as!(
            CaseCounts,
            // "state IN (...)" looks redundant beside "state = 'waiting'" and "state <> 'settling'". It repeats the
            // condition of the partial index review_cases_queue, without which the planner would not use that index.
            r#"SELECT
                 (SELECT count(*) FROM (SELECT 1 FROM review_cases WHERE tenant_id = $1 AND sandbox = $2
                    AND state IN ('waiting', 'second', 'disputed', 'settling') AND state = 'waiting' LIMIT $4) AS it) AS "waiting!",
                 (SELECT count(*) FROM (SELECT 1 FROM review_cases WHERE tenant_id = $1 AND sandbox = $2
                    AND state = 'second' LIMIT $4) AS it) AS "second!",
                 (SELECT count(*) FROM (SELECT 1 FROM review_cases WHERE tenant_id = $1 AND sandbox = $2
                    AND state = 'disputed' LIMIT $4) AS it) AS "disputed!",
                 (SELECT count(*) FROM review_cases WHERE holder = $3 AND lease_until > now()) AS "mine!",
                 (SELECT opened_at FROM review_cases WHERE tenant_id = $1 AND sandbox = $2
                    AND state IN ('waiting', 'second', 'disputed', 'settling') AND state <> 'settling'
                  ORDER BY opened_at, job_id LIMIT 1) AS oldest,
                 now() AS "now!""#,
            who.account.tenant_id.0,
            who.account.sandbox,
            who.id.0,
            MOST_COUNTED + 1,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(counts)
    }

    /// One of the account's cases.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_case(&self, account: Account, job_id: JobId) -> Result<Option<CaseView>, Error> {
        let row = sqlx::query!(
            r#"SELECT state, opened_at, lapses_at, first_by, first_choice, verdict, pending AS "pending: Json<Opinion>",
                      pending_by, decider.name AS "pending_name?", came_from,
                      (pending->>'needs_two')::boolean AS needs_two, now() AS "now!",
                      (extract(epoch FROM settles_at - now()) * 1000)::bigint AS milliseconds_left,
                      CASE WHEN lease_until > now() THEN holder END AS holder,
                      CASE WHEN lease_until > now() THEN keeper.name END AS holder_name
               FROM review_cases
               LEFT JOIN reviewers AS keeper ON keeper.id = holder
               LEFT JOIN reviewers AS decider ON decider.id = pending_by
               WHERE job_id = $1 AND review_cases.tenant_id = $2 AND review_cases.sandbox = $3"#,
            job_id.0,
            account.tenant_id.0,
            account.sandbox,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let by = row.pending_by.map(ReviewerId).zip(row.pending_name);
        let came_from = row.came_from.as_deref().map(state).transpose()?;
        let settling = by.zip(row.pending).zip(came_from).map(|((by, opinion), came_from)| SettlingDecision {
            by,
            opinion: opinion.0,
            came_from,
            needs_two: row.needs_two.unwrap_or_default(),
            milliseconds_left: row.milliseconds_left.unwrap_or_default().max(0),
        });
        Ok(Some(CaseView {
            state: state(&row.state)?,
            opened_at: row.opened_at,
            lapses_at: row.lapses_at,
            holder: row.holder.map(ReviewerId).zip(row.holder_name),
            first_by: row.first_by.map(ReviewerId),
            first_choice: row.first_choice.as_deref().and_then(ReviewDecision::parse),
            settling,
            verdict: row.verdict.as_deref().and_then(ReviewDecision::parse),
            now: row.now,
        }))
    }

    /// Up to `limit` cases that changed after `after`, in the order of the changes. Changes of transactions that may
    /// still run are left out, and so are cases in a state that only a newer version knows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_case_changes(&self, after: Cursor, limit: i64) -> Result<Vec<CaseChange>, Error> {
        let rows = sqlx::query!(
            r#"SELECT job_id, review_cases.tenant_id, review_cases.sandbox, state, xid::text::bigint AS "xid!",
                      CASE WHEN lease_until > now() THEN holder END AS holder,
                      CASE WHEN lease_until > now() THEN reviewers.name END AS holder_name
               FROM review_cases LEFT JOIN reviewers ON reviewers.id = holder
               WHERE (xid, job_id) > ($1::bigint::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
                 AND state = ANY($4)
               ORDER BY xid, job_id LIMIT $3"#,
            after.xid,
            after.id,
            limit,
            &CaseState::ALL.iter().map(|state| state.name().to_owned()).collect::<Vec<_>>(),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(CaseChange {
                    account: Account { tenant_id: TenantId(row.tenant_id), sandbox: row.sandbox },
                    job_id: JobId(row.job_id),
                    state: state(&row.state)?,
                    holder: row.holder.map(ReviewerId).zip(row.holder_name),
                    cursor: Cursor { xid: row.xid, id: row.job_id },
                })
            })
            .collect()
    }

    /// Opens up to `limit` cases of jobs in review that have none, past the first `skip` ones. Such jobs come from
    /// before there were cases, or from a process of an older version. Returns how many were opened.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_missing_cases(&self, limit: i64, skip: i64) -> Result<u64, Error> {
        let opened = sqlx::query!(
            "INSERT INTO review_cases (job_id, tenant_id, sandbox, score, risks, opened_at, lapses_at)
             SELECT id, tenant_id, sandbox, case_score(result), case_risks(result), finished_at, purge_at
             FROM jobs
             WHERE verdict = 'in_review' AND erased_at IS NULL AND purge_at > now()
               AND NOT EXISTS (SELECT 1 FROM review_cases WHERE job_id = jobs.id)
             ORDER BY purge_at, id LIMIT $1 OFFSET $2 ON CONFLICT (job_id) DO NOTHING",
            limit,
            skip,
        )
        .execute(&self.pool)
        .await?;
        Ok(opened.rows_affected())
    }

    /// Closes up to `limit` cases whose images were erased before anybody decided, past the first `skip` ones. Returns
    /// how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn close_lapsed_cases(&self, limit: i64, skip: i64) -> Result<u64, Error> {
        let closed = sqlx::query!(
            "UPDATE review_cases SET state = 'lapsed', holder = NULL, taken_at = NULL, lease_until = NULL
             WHERE job_id IN (SELECT job_id FROM review_cases
                              WHERE lapses_at <= now() AND state IN ('waiting', 'second', 'disputed')
                              ORDER BY lapses_at, job_id LIMIT $1 OFFSET $2 FOR UPDATE SKIP LOCKED)",
            limit,
            skip,
        )
        .execute(&self.pool)
        .await?;
        Ok(closed.rows_affected())
    }
}

impl TryFrom<CaseRecord> for CaseRow {
    type Error = Error;

    fn try_from(row: CaseRecord) -> Result<Self, Error> {
        Ok(Self {
            job_id: JobId(row.job_id),
            request_id: row.request_id,
            kind: row.kind,
            score: row.score,
            risks: row.risks,
            opened_at: row.opened_at,
            state: state(&row.state)?,
            holder: row.holder.map(ReviewerId).zip(row.holder_name),
        })
    }
}

fn state(name: &str) -> Result<CaseState, Error> {
    CaseState::parse(name).ok_or(Error::Unreadable { what: "state of a case" })
}
