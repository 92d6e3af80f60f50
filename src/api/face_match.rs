//! `GET /v1/face-match/{id}`: the facial similarity report, in its reviewers' own words.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::jobs::{Wait, await_job, read_wait};
use super::media;
use crate::domain::job::{Params, Verdict};
use crate::domain::tenant::Scope;
use crate::domain::warning::Warning;
use crate::store::jobs::JobView;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(find))
}

/// The facial similarity report of a `face_match` job.
#[utoipa::path(get, path = "/v1/face-match/{id}", tag = "face match", params(("id" = String, Path), Wait),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
async fn find(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Read)?;
    let wait = read_wait(&wait)?;
    let job = await_job(&context, caller.account, &id, wait).await?;
    match job.params {
        Params::FaceMatch { .. } => {
            let urls = media::issue(&context, caller.account, &job).await?;
            Ok(Json(render(&job, urls)))
        }
        _ => Err(ApiError::no_report()),
    }
}

fn render(job: &JobView, (source_image, target_image): (Option<String>, Option<String>)) -> Value {
    let verdict = job.verdict.unwrap_or(Verdict::NotFinished);
    let warnings = match (&job.outcome, &job.failure) {
        _ if job.erased_at.is_some() => vec![Warning::erased()],
        (Some(outcome), _) => outcome.warnings.clone(),
        (None, Some(failure)) => vec![Warning::processing_failed(&failure.code)],
        (None, None) => vec![Warning::in_progress(&job.state)],
    };
    let comparison = job.outcome.as_ref().and_then(|it| it.comparison.as_ref());
    json!({
        "id": job.subject.id,
        "request_id": job.subject.request_id,
        "face_match": {
            "status": verdict.status(),
            "score": comparison.map(|it| it.similarity.percent()),
            "source_image": source_image,
            "target_image": target_image,
            "warnings": warnings,
        },
    })
}
