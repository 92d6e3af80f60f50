//! `POST /v1/face-match` and `GET /v1/face-match/{id}`: the facial similarity report, in its reviewers' own words.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::ApiContext;
use super::auth::Caller;
use super::body::JsonBody;
use super::error::{ApiError, Problem};
use super::jobs::{Wait, await_job, read_wait};
use super::media;
use super::submit::{Submitted, accepted, submit};
use super::sync::outcome;
use crate::docs::requests;
use crate::domain::evidence::Mode;
use crate::domain::job::{JobParams, Lane, Verdict};
use crate::domain::request::Form;
use crate::domain::tenant::Scope;
use crate::domain::warning::Warning;
use crate::store::jobs::JobView;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    let limit = DefaultBodyLimit::max(Form::FaceMatch.max_body());
    OpenApiRouter::new().routes(routes!(start)).layer(limit).routes(routes!(find))
}

/// The live side is one of `target_image`, `target_frames` and `target_video`. Fields that are not listed are refused; a body
/// may have 80 MiB.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API's document alone")]
struct FaceMatchRequest {
    /// The document, or its portrait.
    source_image: requests::Image,
    /// The live image.
    target_image: Option<requests::Image>,
    /// Several live images, in the order in which they were taken: the best one is compared.
    #[schema(min_items = 2, max_items = 30)]
    target_frames: Option<Vec<requests::Image>>,
    /// A live video: the best of its frames is compared.
    target_video: Option<requests::Video>,
    /// From `POST /v1/liveness/challenges`, with frames or a video that show its actions.
    #[schema(min_length = 1)]
    challenge: Option<String>,
    /// Approved at or above it. Default: the organisation's, or 75.
    approve_score: Option<requests::ScoreThreshold>,
    /// Rejected below it; not above `approve_score`. Default: the organisation's, or 60.
    review_score: Option<requests::ScoreThreshold>,
    search_mode: Option<Mode>,
    metadata: Option<requests::Metadata>,
}

#[derive(Serialize, ToSchema)]
struct ReportAnswer {
    id: Uuid,
    /// 12 characters to quote.
    request_id: String,
    face_match: Report,
    /// Made up for a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

#[derive(Serialize, ToSchema)]
struct Report {
    /// `Approved`, `Rejected`, `In Review` or `Not Finished`.
    status: &'static str,
    /// 0 to 100, 2 decimals; null while `Not Finished`.
    score: Option<f64>,
    /// The portrait of the document, at a URL that expires.
    source_image: Option<String>,
    /// The live image, at a URL that expires.
    target_image: Option<String>,
    warnings: Vec<Warning>,
}

/// Starts a facial similarity report; answers as soon as it is safe.
#[utoipa::path(post, path = "/v1/face-match", operation_id = "submit_face_match", tag = "face match", request_body = FaceMatchRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; the same key and body give the first answer again")),
    responses(
        (status = 202, body = Submitted),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
async fn start(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(accepted(submit(&context, &caller, (Form::FaceMatch, Lane::Bulk), &headers, body).await?))
}

/// The facial similarity report of a `face_match` job; with `wait`, as soon as it is over or the wait is.
#[utoipa::path(get, path = "/v1/face-match/{id}", operation_id = "get_face_match", tag = "face match", params(("id" = String, Path, format = "uuid", description = "The job."), Wait),
    responses(
        (status = 200, body = ReportAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 410, body = Problem, content_type = "application/problem+json", description = "the job's result was erased")))]
async fn find(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<ReportAnswer>, ApiError> {
    caller.may(Scope::Read)?;
    let wait = read_wait(&wait)?;
    let job = await_job(&context, caller.account, &id, wait).await?;
    match job.params {
        JobParams::FaceMatch { .. } => {
            let urls = media::issue(&context, caller.account, &job).await?;
            Ok(Json(render(&job, urls)?))
        }
        _ => Err(ApiError::no_report()),
    }
}

fn render(
    job: &JobView,
    (source_image, target_image): (Option<String>, Option<String>),
) -> Result<ReportAnswer, ApiError> {
    let report = match &job.failure {
        // The verdict stays when everything else is erased.
        _ if job.erased_at.is_some() => {
            let status = job.verdict.unwrap_or(Verdict::NotFinished).status();
            Report { status, ..unfinished(Warning::erased()) }
        }
        Some(failure) => unfinished(Warning::processing_failed(&failure.code)),
        None if !job.is_terminal() => unfinished(Warning::in_progress(job.state)),
        None => {
            let outcome = outcome(job)?;
            Report {
                status: outcome.verdict.status(),
                score: outcome.comparison.as_ref().map(|it| it.similarity.percent()),
                source_image,
                target_image,
                warnings: outcome.warnings.clone(),
            }
        }
    };
    let summary = &job.summary;
    let request_id = summary.request_id.to_string();
    Ok(ReportAnswer { id: summary.id.0, request_id, face_match: report, sandbox: summary.sandbox })
}

fn unfinished(warning: Warning) -> Report {
    let status = Verdict::NotFinished.status();
    Report { status, score: None, source_image: None, target_image: None, warnings: vec![warning] }
}
