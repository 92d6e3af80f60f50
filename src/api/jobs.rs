//! `POST /v1/jobs` and `GET /v1/jobs/{id}`: the native job API.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::body::JsonBody;
use super::error::{ApiError, Problem};
use super::job_answer::JobAnswer;
use super::submit::{Submitted, accepted, submit};
use crate::docs::requests::JobRequest;
use crate::domain::ids::JobId;
use crate::domain::request::Form;
use crate::domain::tenant::{Account, Scope};
use crate::store::jobs::JobView;

/// The longest wait of a poll, in seconds.
pub(super) const MAX_WAIT: u64 = 60;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Seconds to wait for the job to end.
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u64>,
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(find))
}

/// Submits a job of any kind and answers as soon as it is stored.
///
/// The `links` of the answer say where to read the job. The job waits in the lane `interactive` unless the request says
/// `bulk`.
#[utoipa::path(post, path = "/v1/jobs", operation_id = "submit_job", tag = "jobs", request_body = JobRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = r"^[!-~]([ -~]*[!-~])?$",
        description = "The same key and body get the first answer again. The same key with another body is refused with 409.")),
    responses(
        (status = 202, body = Submitted, description = "The job is stored and will run.",
            headers(("Location" = String, description = "The path of the job.")),
            links(("job" = (operation_id = "get_job", parameters(("id" = "$response.body#/id")))))),
        (status = 402, body = Problem, content_type = "application/problem+json",
            description = "The wallet does not cover this `id_match`, and the organisation may not overdraw it."),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Another request was sent under this Idempotency-Key."),
    ))]
async fn start(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(accepted(submit(&context, &caller, Form::Native, &headers, body).await?))
}

/// Reads a job. With `wait`, the answer comes when the job has ended or the wait is over.
#[utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "get_job", tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job."), Wait),
    responses(
        (status = 200, body = JobAnswer, description = "The job as it stands."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job."),
    ))]
async fn find(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<JobAnswer>, ApiError> {
    caller.may(Scope::Read)?;
    let wait = read_wait(&wait)?;
    Ok(Json(await_job(&context, caller.account, &id, wait).await?.into()))
}

/// Reads `?wait=N` in whole seconds.
pub(super) fn read_wait(wait: &Result<Query<Wait>, QueryRejection>) -> Result<Duration, ApiError> {
    match wait {
        Ok(Query(Wait { wait })) if wait.unwrap_or(0) <= MAX_WAIT => Ok(Duration::from_secs(wait.unwrap_or(0))),
        _ => Err(ApiError::of_field("invalid_wait", "wait", "wait must be a whole number of seconds, 0 to 60")),
    }
}

/// Waits until the job has ended or the wait is over, and returns the job as it stands then.
pub(super) async fn await_job(
    context: &ApiContext,
    account: Account,
    id: &str,
    wait: Duration,
) -> Result<JobView, ApiError> {
    let id = id.parse().map(JobId).map_err(|_| ApiError::no_such_job())?;
    let find = async || context.store.find_job(account, id).await?.ok_or_else(ApiError::no_such_job);
    let job = find().await?;
    if job.is_terminal() || wait.is_zero() {
        return Ok(job);
    }
    context.waiters.wait(id, wait).await;
    find().await
}
