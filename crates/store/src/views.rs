//! Jobs as their owners see them: one job, or pages of jobs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::decisions::reasons;
use super::jobs::{job_state, summary};
use super::{Error, Store};
use visavis_domain::ids::JobId;
use visavis_domain::job::{Failure, JobParams, JobState, Verdict};
use visavis_domain::notice::JobSummary;
use visavis_domain::outcome::Outcome;
use visavis_domain::review::{Review, ReviewDecision};
use visavis_domain::tenant::{Account, Service};

/// A job as its owner sees it.
#[derive(Debug, Clone)]
pub struct JobView {
    pub summary: JobSummary,
    pub params: JobParams,
    pub lane: String,
    pub state: JobState,
    pub attempt: i32,
    /// The reviewer's verdict, once one decided. It stays when the outcome is erased.
    pub verdict: Option<Verdict>,
    /// The machine's outcome, with the verdict above in place of its own.
    pub outcome: Option<Outcome>,
    /// What a reviewer decided.
    pub review: Option<Review>,
    pub failure: Option<Failure>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Since then images, sealed records, result and metadata are gone.
    pub erased_at: Option<DateTime<Utc>>,
}

impl JobView {
    /// Whether it will never change again.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.state.is_terminal()
    }
}

/// Which of an account's jobs to list. An empty filter lists all.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub verdict: Option<Verdict>,
    pub state: Option<JobState>,
    pub kind: Option<Service>,
    /// Created at this time or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Created before this time.
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
    params: Json<JobParams>,
    metadata: Json<BTreeMap<String, String>>,
    result: Option<Json<Outcome>>,
    failure: Option<Json<Failure>>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    erased_at: Option<DateTime<Utc>>,
    choice: Option<String>,
    revision: Option<i32>,
    decided_at: Option<DateTime<Utc>>,
    reasons: Option<Vec<String>>,
}

impl Store {
    /// One of the account's jobs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_job(&self, account: Account, id: JobId) -> Result<Option<JobView>, Error> {
        let row = sqlx::query_as!(
            JobRow,
            r#"SELECT jobs.id, request_id, kind, jobs.sandbox, lane, jobs.state, attempt, jobs.verdict,
                      params AS "params: Json<JobParams>", metadata AS "metadata: Json<BTreeMap<String, String>>",
                      result AS "result: Json<Outcome>", failure AS "failure: Json<Failure>", jobs.created_at, started_at,
                      finished_at, erased_at, review.verdict AS "choice?", review.revision AS "revision?", decided_at,
                      entry.reasons AS "reasons?"
               FROM jobs
               LEFT JOIN review_cases AS review ON review.job_id = jobs.id AND review.verdict IS NOT NULL
               LEFT JOIN review_decisions AS entry ON entry.job_id = jobs.id AND entry.revision = review.revision
               WHERE jobs.tenant_id = $1 AND jobs.sandbox = $2 AND jobs.id = $3"#,
            account.tenant_id.0,
            account.sandbox,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(JobView::try_from).transpose()
    }

    /// Up to `limit` of the account's jobs, the newest first. With `cursor`, only those before it.
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
            r#"SELECT jobs.id, request_id, kind, jobs.sandbox, lane, jobs.state, attempt, jobs.verdict,
                      params AS "params: Json<JobParams>", metadata AS "metadata: Json<BTreeMap<String, String>>",
                      result AS "result: Json<Outcome>", failure AS "failure: Json<Failure>", jobs.created_at, started_at,
                      finished_at, erased_at, review.verdict AS "choice?", review.revision AS "revision?", decided_at,
                      entry.reasons AS "reasons?"
               FROM jobs
               LEFT JOIN review_cases AS review ON review.job_id = jobs.id AND review.verdict IS NOT NULL
               LEFT JOIN review_decisions AS entry ON entry.job_id = jobs.id AND entry.revision = review.revision
               WHERE jobs.tenant_id = $1 AND jobs.sandbox = $2 AND jobs.id < $3
                 -- The first part, so that few cases are looked up.
                 AND ($4::text IS NULL OR jobs.verdict = $4 OR jobs.verdict = 'in_review')
                 AND ($4::text IS NULL OR coalesce(review.verdict, jobs.verdict) = $4)
                 AND ($5::text IS NULL OR jobs.state = $5)
                 AND ($6::text IS NULL OR kind = $6)
                 AND ($7::timestamptz IS NULL OR jobs.created_at >= $7)
                 AND ($8::timestamptz IS NULL OR jobs.created_at < $8)
               ORDER BY jobs.id DESC LIMIT $9"#,
            account.tenant_id.0,
            account.sandbox,
            // Without a cursor the bound is the highest id: with a bound that may be absent, the index would not be
            // used.
            cursor.map_or(Uuid::max(), |id| id.0),
            filter.verdict.map(Verdict::name),
            filter.state.map(JobState::name),
            filter.kind.map(Service::name),
            filter.created_after,
            filter.created_before,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(JobView::try_from).collect()
    }
}

impl TryFrom<JobRow> for JobView {
    type Error = Error;

    fn try_from(row: JobRow) -> Result<Self, Error> {
        let state = job_state(&row.state)?;
        let choice = row.choice.as_deref().and_then(ReviewDecision::parse);
        let review = choice.zip(row.revision).zip(row.decided_at).map(|((choice, revision), decided_at)| Review {
            choice,
            reasons: reasons(&row.reasons.unwrap_or_default()),
            revision,
            decided_at,
        });
        let verdict = choice.map(ReviewDecision::verdict).or_else(|| row.verdict.as_deref().and_then(Verdict::parse));
        let outcome = row.result.map(|result| Outcome { verdict: verdict.unwrap_or(result.0.verdict), ..result.0 });
        Ok(Self {
            summary: summary(row.id, row.request_id, row.kind, row.sandbox, row.metadata),
            params: row.params.0,
            lane: row.lane,
            state,
            attempt: row.attempt,
            verdict,
            outcome,
            review,
            failure: row.failure.map(|failure| failure.0),
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            erased_at: row.erased_at,
        })
    }
}
