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
use crate::docs::answers::Report;
use crate::domain::job::{Params, Verdict};
use crate::domain::tenant::Scope;
use crate::domain::warning::Warning;
use crate::store::jobs::JobView;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(find))
}

/// The facial similarity report of a `face_match` job.
#[utoipa::path(get, path = "/v1/face-match/{id}", operation_id = "get_face_match", tag = "face match",
    params(("id" = String, Path, format = "uuid", description = "The job."), Wait),
    responses(
        (status = 200, body = Report, description = "The report as it stands: `Not Finished` until the job has its verdict."),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "`wait` is at fault."),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "There is no such job, or it is of another kind."),
    ))]
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
        Params::FaceMatch { .. } => Ok(Json(render(&job))),
        _ => Err(ApiError::no_report()),
    }
}

fn render(job: &JobView) -> Value {
    let verdict = job.outcome.as_ref().map_or(Verdict::NotFinished, |it| it.verdict);
    let warnings = match (&job.outcome, &job.failure) {
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
            // No image URL is issued by this version.
            "source_image": null,
            "target_image": null,
            "warnings": warnings,
        },
    })
}
