//! Jobs as their owners may see them: one, or pages of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::jobs::subject;
use super::{Error, Store};
use crate::domain::ids::JobId;
use crate::domain::job::{Failure, Params, Verdict};
use crate::domain::notice::Subject;
use crate::domain::outcome::Outcome;
use crate::domain::tenant::{Account, Service};

/// A job as its owner may see it.
#[derive(Debug, Clone)]
pub struct JobView {
    pub subject: Subject,
    pub params: Params,
    pub lane: String,
    pub state: String,
    pub attempt: i32,
    /// Stays when the outcome is erased.
    pub verdict: Option<Verdict>,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// From then on images, sealed records, result and metadata are gone.
    pub erased_at: Option<DateTime<Utc>>,
}

impl JobView {
    /// Whether it will never change again.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.finished_at.is_some()
    }
}

/// Which jobs of an account to list; an empty filter lists all.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub verdict: Option<Verdict>,
    /// One of the states; any other names no job.
    pub state: Option<String>,
    pub kind: Option<Service>,
    /// From then on.
    pub created_after: Option<DateTime<Utc>>,
    /// Not from then on.
    pub created_before: Option<DateTime<Utc>>,
}

struct JobRow {
    id: Uuid,
    request_id: String,
    kind: String,
    sandbox: bool,
    lane: String,
    state: String,
    attempt: i32,
    verdict: Option<String>,
    params: Json<Params>,
    metadata: Json<BTreeMap<String, String>>,
    result: Option<Json<Outcome>>,
    failure: Option<Json<Failure>>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    erased_at: Option<DateTime<Utc>>,
}

impl Store {
    /// One of the account's jobs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_job(&self, account: Account, id: JobId) -> Result<Option<JobView>, Error> {
        let row = sqlx::query_as!(
            JobRow,
            r#"SELECT id, request_id, kind, sandbox, lane, state, attempt, verdict, params AS "params: Json<Params>",
                      metadata AS "metadata: Json<BTreeMap<String, String>>", result AS "result: Json<Outcome>",
                      failure AS "failure: Json<Failure>", created_at, started_at, finished_at, erased_at
               FROM jobs WHERE tenant_id = $1 AND sandbox = $2 AND id = $3"#,
            account.tenant_id.0,
            account.sandbox,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(JobView::from))
    }

    /// Up to `limit` of the account's jobs, the newest first; those before `cursor`, where one is given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_jobs(
        &self,
        account: Account,
        filter: &JobFilter,
        cursor: Option<JobId>,
        limit: i64,
    ) -> Result<Vec<JobView>, Error> {
        let rows = sqlx::query_as!(
            JobRow,
            r#"SELECT id, request_id, kind, sandbox, lane, state, attempt, verdict, params AS "params: Json<Params>",
                      metadata AS "metadata: Json<BTreeMap<String, String>>", result AS "result: Json<Outcome>",
                      failure AS "failure: Json<Failure>", created_at, started_at, finished_at, erased_at
               FROM jobs
               WHERE tenant_id = $1 AND sandbox = $2 AND id < $3
                 AND ($4::text IS NULL OR verdict = $4)
                 AND ($5::text IS NULL OR state = $5)
                 AND ($6::text IS NULL OR kind = $6)
                 AND ($7::timestamptz IS NULL OR created_at >= $7)
                 AND ($8::timestamptz IS NULL OR created_at < $8)
               ORDER BY id DESC LIMIT $9"#,
            account.tenant_id.0,
            account.sandbox,
            // Without a cursor one above all: a bound that may be absent would not use the index.
            cursor.map_or(Uuid::max(), |it| it.0),
            filter.verdict.map(Verdict::name),
            filter.state,
            filter.kind.map(Service::name),
            filter.created_after,
            filter.created_before,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(JobView::from).collect())
    }
}

impl From<JobRow> for JobView {
    fn from(row: JobRow) -> Self {
        Self {
            subject: subject(row.id, row.request_id, row.kind, row.sandbox, row.metadata),
            params: row.params.0,
            lane: row.lane,
            state: row.state,
            attempt: row.attempt,
            verdict: row.verdict.as_deref().and_then(Verdict::parse),
            outcome: row.result.map(|it| it.0),
            failure: row.failure.map(|it| it.0),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            erased_at: row.erased_at,
        }
    }
}
