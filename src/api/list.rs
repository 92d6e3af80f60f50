//! `GET /v1/jobs`: the jobs of an account by page, newest first.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::error::ApiError;
use super::job_answer::JobAnswer;
use crate::domain::ids::JobId;
use crate::domain::job::{JobState, Verdict};
use crate::domain::tenant::{Scope, Service};
use crate::store::views::JobFilter;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which jobs to list, and how many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// Jobs on a page, 1 to 100. Default: 20.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// Where the page begins: take it from `links.next` of the previous page.
    cursor: Option<String>,
    /// A verdict: `approved`, `in_review`, `rejected` or `not_finished`.
    status: Option<String>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    state: Option<String>,
    /// `likeness_check`, `id_match`, `face_match` or `compare_with_liveness`.
    kind: Option<String>,
    /// Only jobs created at this time or later (RFC 3339).
    #[param(format = DateTime)]
    created_after: Option<String>,
    /// Only jobs created before this time (RFC 3339).
    #[param(format = DateTime)]
    created_before: Option<String>,
}

/// A page of jobs, newest first. If few jobs match, a page may be short or empty and still have a next one.
#[derive(Serialize, ToSchema)]
struct JobList {
    /// Each as `GET /v1/jobs/{id}` answers it.
    jobs: Vec<JobAnswer>,
    links: PageLinks,
}

/// The links of a page.
#[derive(Serialize, ToSchema)]
pub(super) struct PageLinks {
    /// The next page, with older entries; null on the last page.
    pub(super) next: Option<String>,
}

/// Lists jobs by page, newest first.
#[utoipa::path(get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(JobsQuery),
    responses(
        (status = 200, body = JobList)))]
async fn list(
    State(context): State<ApiContext>,
    caller: Caller,
    page: Result<Query<JobsQuery>, QueryRejection>,
) -> Result<Json<JobList>, ApiError> {
    caller.may(Scope::Read)?;
    let Query(page) = page.map_err(|_| {
        let detail = "the query takes only limit, cursor, status, state, kind, created_after and created_before, each at most once";
        ApiError::of_field("invalid_query", "query", detail)
    })?;
    let limit = read_limit(page.limit.as_ref())?;
    let cursor =
        read(page.cursor.as_ref(), "invalid_cursor", "cursor", "the one in links.next of the previous page", |text| {
            text.parse().ok().map(JobId)
        })?;
    let filter = page.filter()?;
    let found = context.store.for_reads().list_jobs(caller.account, &filter, cursor, limit).await?;
    let next = found.next.map(|before| page.next(limit, before));
    Ok(Json(JobList { jobs: found.jobs.into_iter().map(JobAnswer::from).collect(), links: PageLinks { next } }))
}

impl JobsQuery {
    fn filter(&self) -> Result<JobFilter, ApiError> {
        const TIME: &str = "an RFC 3339 time such as 2026-01-31T08:00:00Z";
        let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        let verdicts = "approved, in_review, rejected or not_finished";
        let states = "queued, running, succeeded, failed or cancelled";
        let kinds = "likeness_check, id_match, face_match or compare_with_liveness";
        Ok(JobFilter {
            verdict: read(self.status.as_ref(), "invalid_status", "status", verdicts, Verdict::parse)?,
            state: read(self.state.as_ref(), "invalid_state", "state", states, JobState::parse)?,
            kind: read(self.kind.as_ref(), "invalid_kind", "kind", kinds, Service::parse)?,
            created_after: read(self.created_after.as_ref(), "invalid_time", "created_after", TIME, time)?,
            created_before: read(self.created_before.as_ref(), "invalid_time", "created_before", TIME, time)?,
        })
    }

    /// The path of the page with the jobs before `before`, with the same filters.
    fn next(&self, limit: usize, before: JobId) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair("cursor", &before.to_string());
        for (name, value) in [
            ("status", &self.status),
            ("state", &self.state),
            ("kind", &self.kind),
            ("created_after", &self.created_after),
            ("created_before", &self.created_before),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("/v1/jobs?{}", query.finish())
    }
}

/// Reads the number of entries on a page: 1 to 100, by default 20.
pub(super) fn read_limit(text: Option<&String>) -> Result<usize, ApiError> {
    let limit = read(text, "invalid_limit", "limit", "a whole number, 1 to 100", |text| {
        text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))
    })?;
    Ok(limit.unwrap_or(DEFAULT_LIMIT))
}

/// Reads a field of a query, if it is there; `expected` says what it must be.
pub(super) fn read<T>(
    value: Option<&String>,
    code: &'static str,
    field: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let wrong = || ApiError::of_field(code, field, &format!("{field} must be {expected}"));
    parse(value).map(Some).ok_or_else(wrong)
}
