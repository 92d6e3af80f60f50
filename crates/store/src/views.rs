//! Jobs as their owners see them: one job, or pages of jobs.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::types::Json;
use tracing::warn;
use uuid::Uuid;

use super::decisions::reasons;
use super::jobs::job_state;
use super::metadata::{StoredMetadata, summary};
use super::{Error, Store};
use visavis_domain::ids::{JobId, TenantId};
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

impl JobFilter {
    fn is_empty(&self) -> bool {
        let Self { verdict, state, kind, created_after, created_before } = self;
        verdict.is_none() && state.is_none() && kind.is_none() && created_after.is_none() && created_before.is_none()
    }
}

/// A page of jobs, newest first.
#[derive(Debug, Clone)]
pub struct JobPage {
    pub jobs: Vec<JobView>,
    /// The page after this one has the jobs before this one. `None` if there are no more.
    pub next: Option<JobId>,
}

/// Jobs that a first look for a filter goes through. Most filters match more than one of fifty.
const FIRST_LOOK: usize = 1_000;
/// Jobs that each further look goes through: 12 ms on two slow cores.
const NEXT_LOOK: usize = 10_000;
/// Jobs that a page goes through at most. A page of a filter that matches few jobs ends there, short or empty.
const MOST_LOOKED_AT: usize = 100_000;

/// Job ids begin with the time at which a process made them. Its clock may differ from the database's by so many
/// milliseconds at most: one day.
const CLOCKS_DIFFER: i64 = 86_400_000;

/// What one look went through.
struct Look {
    /// Of the jobs that match.
    ids: Vec<Uuid>,
    looked_at: i64,
    /// The oldest job that it looked at.
    last: Option<Uuid>,
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
    // Read one by one: a job that this version cannot read must not break a page.
    params: Json<Value>,
    metadata: Json<Value>,
    result: Option<Json<Value>>,
    failure: Option<Json<Value>>,
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
                      params AS "params: Json<Value>", metadata AS "metadata: Json<Value>",
                      result AS "result: Json<Value>", failure AS "failure: Json<Value>", jobs.created_at, started_at,
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

    /// A page of up to `limit` of the account's jobs. With `cursor`, only those before it. The time that a page takes
    /// is bounded: if few jobs match the filter, a page may be short, or empty, and have a next one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_jobs(
        &self,
        account: Account,
        filter: &JobFilter,
        cursor: Option<JobId>,
        limit: usize,
    ) -> Result<JobPage, Error> {
        let mut place = filter.created_before.map_or(Uuid::max(), |time| first_id(time, CLOCKS_DIFFER + 1));
        place = cursor.map_or(place, |id| place.min(id.0));
        // One more than asked for shows whether there is a next page.
        let mut look = if filter.is_empty() { limit + 1 } else { FIRST_LOOK.max(limit + 1) };
        let (mut ids, mut looked_at) = (Vec::new(), 0);
        let next = loop {
            let found = self.look_for_jobs(account, filter, place, look, limit + 1 - ids.len()).await?;
            ids.extend(found.ids);
            if ids.len() > limit {
                ids.truncate(limit);
                break ids.last().copied();
            }
            let more = usize::try_from(found.looked_at).is_ok_and(|looked_at| looked_at == look);
            let Some(last) = found.last.filter(|_| more) else { break None };
            looked_at += look;
            if looked_at >= MOST_LOOKED_AT {
                break Some(last);
            }
            (place, look) = (last, NEXT_LOOK);
        };
        Ok(JobPage { jobs: self.show_jobs(account, &ids).await?, next: next.map(JobId) })
    }

    /// Jobs of the organisation that wait or run. Counting stops at `most`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_jobs_in_flight(&self, tenant: TenantId, most: i64) -> Result<i64, Error> {
        let count = sqlx::query_scalar!(
            // The conditions on `sandbox` and 'succeeded' only let the index jobs_not_succeeded be used.
            r#"SELECT count(*) AS "count!" FROM (
                   SELECT 1 FROM jobs WHERE tenant_id = $1 AND sandbox IN (false, true) AND state <> 'succeeded'
                                        AND state IN ('queued', 'running') LIMIT $2) AS found"#,
            tenant.0,
            most,
        );
        Ok(count.fetch_one(&self.pool).await?)
    }

    /// Goes through the account's `look` newest jobs before `place`, and finds up to `limit` that match.
    async fn look_for_jobs(
        &self,
        account: Account,
        filter: &JobFilter,
        place: Uuid,
        look: usize,
        limit: usize,
    ) -> Result<Look, Error> {
        let looked = sqlx::query_as!(
            Look,
            // Only one half of the union runs: states that few jobs are in have an index of their own. The verdict of a
            // case is looked up in a subquery and not in a join, which could be planned as a scan of all cases.
            r#"WITH looked_at AS MATERIALIZED (
                   (SELECT id, state, verdict, kind, created_at FROM jobs
                    WHERE ($4::text IS NULL OR $4 = 'succeeded')
                      AND tenant_id = $1 AND sandbox = $2 AND id < $3 AND id >= $9 ORDER BY id DESC LIMIT $10)
                   UNION ALL
                   (SELECT id, state, verdict, kind, created_at FROM jobs
                    WHERE $4 <> 'succeeded' AND state <> 'succeeded' AND state = $4
                      AND tenant_id = $1 AND sandbox = $2 AND id < $3 AND id >= $9 ORDER BY id DESC LIMIT $10))
               SELECT ARRAY(
                          SELECT id FROM looked_at
                          WHERE ($4 IS NULL OR state = $4)
                            AND ($5::text IS NULL OR $5 = CASE WHEN verdict = 'in_review'
                                THEN coalesce((SELECT review.verdict FROM review_cases AS review WHERE review.job_id = id),
                                              verdict)
                                ELSE verdict END)
                            AND ($6::text IS NULL OR kind = $6)
                            AND ($7::timestamptz IS NULL OR created_at >= $7)
                            AND ($8::timestamptz IS NULL OR created_at < $8)
                          ORDER BY id DESC LIMIT $11) AS "ids!",
                      (SELECT count(*) FROM looked_at) AS "looked_at!",
                      (SELECT id FROM looked_at ORDER BY id LIMIT 1) AS last"#,
            account.tenant_id.0,
            account.sandbox,
            place,
            filter.state.map(JobState::name),
            filter.verdict.map(Verdict::name),
            filter.kind.map(Service::name),
            filter.created_after,
            filter.created_before,
            filter.created_after.map_or(Uuid::nil(), |time| first_id(time, -CLOCKS_DIFFER)),
            i64::try_from(look).unwrap_or(i64::MAX),
            i64::try_from(limit).unwrap_or(i64::MAX),
        );
        Ok(looked.fetch_one(&self.pool).await?)
    }

    /// These jobs of the account, newest first. What this version cannot read is left out.
    async fn show_jobs(&self, account: Account, ids: &[Uuid]) -> Result<Vec<JobView>, Error> {
        let rows = sqlx::query_as!(
            JobRow,
            r#"SELECT jobs.id, request_id, kind, jobs.sandbox, lane, jobs.state, attempt, jobs.verdict,
                      params AS "params: Json<Value>", metadata AS "metadata: Json<Value>",
                      result AS "result: Json<Value>", failure AS "failure: Json<Value>", jobs.created_at, started_at,
                      finished_at, erased_at, review.verdict AS "choice?", review.revision AS "revision?", decided_at,
                      entry.reasons AS "reasons?"
               FROM jobs
               LEFT JOIN review_cases AS review ON review.job_id = jobs.id AND review.verdict IS NOT NULL
               LEFT JOIN review_decisions AS entry ON entry.job_id = jobs.id AND entry.revision = review.revision
               WHERE jobs.tenant_id = $1 AND jobs.sandbox = $2 AND jobs.id = ANY($3)
               ORDER BY jobs.id DESC"#,
            account.tenant_id.0,
            account.sandbox,
            ids,
        )
        .fetch_all(&self.pool)
        .await?;
        let read = |row: JobRow| {
            let id = row.id;
            JobView::try_from(row).inspect_err(|error| warn!(job = %id, %error, "left out of a list")).ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }
}

/// The first id that a process may make at this time, plus or minus some milliseconds.
fn first_id(time: DateTime<Utc>, milliseconds: i64) -> Uuid {
    let since_epoch = time.timestamp_millis().saturating_add(milliseconds).clamp(0, (1 << 48) - 1);
    Uuid::from_u128(u128::from(since_epoch.unsigned_abs()) << 80)
}

fn readable<T: DeserializeOwned>(value: Json<Value>, what: &'static str) -> Result<T, Error> {
    serde_json::from_value(value.0).map_err(|_| Error::Unreadable { what })
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
        let result = row.result.map(|result| readable::<Outcome>(result, "result of a job")).transpose()?;
        let outcome = result.map(|result| Outcome { verdict: verdict.unwrap_or(result.verdict), ..result });
        Ok(Self {
            summary: summary(row.id, row.request_id, row.kind, row.sandbox, Json(StoredMetadata::from(row.metadata.0))),
            params: readable::<JobParams>(row.params, "kind of job")?,
            lane: row.lane,
            state,
            attempt: row.attempt,
            verdict,
            outcome,
            review,
            failure: row.failure.map(|failure| readable::<Failure>(failure, "failure of a job")).transpose()?,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            erased_at: row.erased_at,
        })
    }
}
