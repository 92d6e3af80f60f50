//! `POST /v1/face-match` and `GET /v1/face-match/{id}`: the facial similarity report.

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
use crate::domain::job::{JobParams, Verdict};
use crate::domain::notice::ReportStatus;
use crate::domain::request::Form;
use crate::domain::tenant::Scope;
use crate::domain::warning::Warning;
use crate::store::jobs::JobView;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    let limit = DefaultBodyLimit::max(Form::FaceMatch.max_body());
    OpenApiRouter::new().routes(routes!(start)).layer(limit).routes(routes!(find))
}

/// The live side is one of `target_image`, `target_frames` and `target_video`. Unknown fields are refused. The body has
/// at most 80 MiB.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API's document alone")]
struct FaceMatchRequest {
    /// A photo of the document, or of its portrait.
    source_image: requests::Image,
    /// The live image.
    target_image: Option<requests::Image>,
    /// Several live images in the order in which they were taken. The best one is compared.
    #[schema(min_items = 2, max_items = 30)]
    target_frames: Option<Vec<requests::Image>>,
    /// A live video. The best of its frames is compared.
    target_video: Option<requests::Video>,
    /// From `POST /v1/liveness/challenges`; needs frames or a video that show its actions.
    #[schema(min_length = 1)]
    challenge: Option<String>,
    /// At or above it: approved. Default: the organisation's, else 75.
    approve_score: Option<requests::ScoreThreshold>,
    /// Below it: rejected. It must not be above `approve_score`. Default: the organisation's, else 60.
    review_score: Option<requests::ScoreThreshold>,
    search_mode: Option<Mode>,
    metadata: Option<requests::Metadata>,
}

#[derive(Serialize, ToSchema)]
struct ReportAnswer {
    id: Uuid,
    /// 12 characters for people to quote.
    request_id: String,
    face_match: FaceMatchReport,
    /// The result is made up, because the API key is a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

/// What a reviewer reads. Keep only status and score: the URLs expire after 60 minutes.
#[derive(Serialize, ToSchema)]
struct FaceMatchReport {
    status: ReportStatus,
    /// Similarity from 0 to 100, 2 decimals; null while `Not Finished`.
    score: Option<f64>,
    /// Temporary URL of the portrait from the document: a JPEG of at most 1920 x 1080 pixels.
    source_image: Option<String>,
    /// Temporary URL of the live image: a JPEG of at least 720p if the original is that large.
    target_image: Option<String>,
    warnings: Vec<Warning>,
}

/// Submits a facial similarity report and answers as soon as its job is stored.
#[utoipa::path(post, path = "/v1/face-match", operation_id = "submit_face_match", tag = "face match", request_body = FaceMatchRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters. The same key and body get the first answer again.")),
    responses(
        (status = 202, body = Submitted),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
async fn start(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(accepted(submit(&context, &caller, Form::FaceMatch, &headers, body).await?))
}

/// Reads the facial similarity report of a job.
///
/// With `wait`, the answer comes when the job has ended or the wait is over.
#[utoipa::path(get, path = "/v1/face-match/{id}", operation_id = "get_face_match", tag = "face match", params(("id" = String, Path, format = "uuid", description = "The job."), Wait),
    responses(
        (status = 200, body = ReportAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 410, body = Problem, content_type = "application/problem+json", description = "The result of the job was erased.")))]
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
        // The verdict stays when everything else was erased.
        _ if job.erased_at.is_some() => {
            let status = job.verdict.unwrap_or(Verdict::NotFinished).into();
            FaceMatchReport { status, ..unfinished(Warning::erased()) }
        }
        Some(failure) => unfinished(Warning::processing_failed(&failure.code)),
        None if !job.is_terminal() => unfinished(Warning::in_progress(job.state)),
        None => {
            let outcome = outcome(job)?;
            FaceMatchReport {
                status: outcome.verdict.into(),
                score: outcome.comparison.as_ref().map(|comparison| comparison.similarity.percent()),
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

/// A report without a verdict; the warning says why.
fn unfinished(warning: Warning) -> FaceMatchReport {
    let status = ReportStatus::NotFinished;
    FaceMatchReport { status, score: None, source_image: None, target_image: None, warnings: vec![warning] }
}
