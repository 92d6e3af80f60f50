//! `POST /v1/jobs` and `GET /v1/jobs/{id}`: the native job API.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::body::JsonBody;
use super::error::{ApiError, Problem};
use super::submit::{Links, Submitted, accepted, submit};
use crate::docs::answers;
use crate::docs::requests::JobRequest;
use crate::domain::ids::JobId;
use crate::domain::job::{JobParams, Lane, Verdict};
use crate::domain::outcome::{ImageFinding, ImageReport, Outcome};
use crate::domain::quality::QualityLimits;
use crate::domain::request::Form;
use crate::domain::tenant::{Account, Scope};
use crate::store::jobs::JobView;

/// The longest that a poll may wait, in seconds.
pub(super) const MAX_WAIT: u64 = 60;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Seconds to wait for the job's end.
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u64>,
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(find))
}

/// Submits a job of any kind; answers as soon as it is safe.
///
/// The `links` of the answer say where to read the job.
#[utoipa::path(post, path = "/v1/jobs", operation_id = "submit_job", tag = "jobs", request_body = JobRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = r"^[!-~]([ -~]*[!-~])?$",
        description = "The same key and body give the first answer again; the same key with another body is 409.")),
    responses(
        (status = 202, body = Submitted, description = "The job is stored and will run.",
            headers(("Location" = String, description = "The job's path.")),
            links(("job" = (operation_id = "get_job", parameters(("id" = "$response.body#/id")))))),
        (status = 402, body = Problem, content_type = "application/problem+json",
            description = "The wallet does not cover this `id_match`, and the organisation may not overdraw."),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Another request came under this Idempotency-Key."),
    ))]
async fn start(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(accepted(submit(&context, &caller, (Form::Native, Lane::Bulk), &headers, body).await?))
}

/// A job; with `wait`, as soon as it is over or the wait is.
#[utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "get_job", tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job."), Wait),
    responses(
        (status = 200, body = answers::Job, description = "The job as it stands."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job."),
    ))]
async fn find(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Read)?;
    let wait = read_wait(&wait)?;
    Ok(Json(render(&await_job(&context, caller.account, &id, wait).await?)))
}

/// `?wait=N`: whole seconds.
pub(super) fn read_wait(wait: &Result<Query<Wait>, QueryRejection>) -> Result<Duration, ApiError> {
    match wait {
        Ok(Query(Wait { wait })) if wait.unwrap_or(0) <= MAX_WAIT => Ok(Duration::from_secs(wait.unwrap_or(0))),
        _ => Err(ApiError::of_field("invalid_wait", "wait", "wait must be a whole number of seconds, 0 to 60")),
    }
}

/// The organisation's job, when it is over or the wait is.
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

pub(super) fn render(job: &JobView) -> Value {
    let outcome = job.outcome.as_ref();
    let mut rendered = json!({
        "id": job.summary.id,
        "request_id": job.summary.request_id,
        "kind": job.summary.kind,
        "lane": job.lane,
        "state": job.state,
        "verdict": job.verdict,
        "status": job.verdict.map(Verdict::status),
        "result": outcome.map(render_outcome),
        "warnings": outcome.map(|it| json!(it.warnings)).unwrap_or(json!([])),
        "failure": job.failure,
        "metadata": job.summary.metadata,
        "attempt": job.attempt,
        "created_at": time(job.created_at),
        "started_at": job.started_at.map(time),
        "finished_at": job.finished_at.map(time),
        "erased_at": job.erased_at.map(time),
        "links": Links::of(&job.summary),
    });
    if let Some(review) = &job.review {
        rendered["review"] = review.shown();
    }
    if job.summary.sandbox {
        rendered["sandbox"] = json!(true);
    }
    rendered
}

fn render_outcome(outcome: &Outcome) -> Value {
    let comparison = outcome.comparison.as_ref();
    let mut result = json!({
        "similarity": comparison.map(|it| it.similarity),
        "score": comparison.map(|it| it.similarity.percent()),
        "raw_score": comparison.map(|it| it.raw),
        "search_mode": outcome.params.mode(),
        "model": comparison.map(|it| &it.model),
        "calibration": comparison.map(|it| &it.calibration),
        "liveness": outcome.liveness,
        "images": outcome.images.iter().map(|it| render_image(outcome, it)).collect::<Vec<_>>(),
        "compute_ms": outcome.compute_ms,
    });
    if let Some(frames) = &outcome.frames {
        result["frames"] = json!(frames);
    }
    if let Some(answer) = &outcome.challenge {
        result["challenge"] = json!(answer);
    }
    match outcome.params {
        JobParams::LikenessCheck { threshold, .. } | JobParams::IdMatch { threshold, .. } => {
            result["threshold"] = json!(threshold);
        }
        JobParams::FaceMatch { approve, review, liveness_min, .. } => {
            result["approve_score"] = json!(percent(approve.get()));
            result["review_score"] = json!(percent(review.get()));
            result["liveness_min_score"] = json!(liveness_min);
        }
        JobParams::CompareWithLiveness { compare_min, liveness_min, .. } => {
            result["compare_min_score"] = json!(compare_min);
            result["liveness_min_score"] = json!(liveness_min);
            result["gallery_scores"] = json!(outcome.gallery_scores);
        }
    }
    result
}

fn render_image(outcome: &Outcome, image: &ImageReport) -> Value {
    let name = outcome.params.image_name(image.role, image.position);
    match &image.seen {
        ImageFinding::Unreadable { code, .. } => {
            json!({ "image": name, "width": null, "height": null, "faces": 0, "quality": null, "composite_quality": null,
                    "fault": code })
        }
        ImageFinding::Picture { width, height, faces, quality, .. } => {
            let composite = quality.map(|it| it.composite(&QualityLimits::default()));
            json!({ "image": name, "width": width, "height": height, "faces": faces, "quality": quality,
                    "composite_quality": composite })
        }
    }
}

/// To the report's scale, free of binary noise.
fn percent(value: f64) -> f64 {
    (value * 1e6).round() / 1e4
}

pub(super) fn time(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
