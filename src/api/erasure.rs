//! `DELETE /v1/jobs/{id}`: erases a job at once, and answers a signed receipt.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::error::{ApiError, Problem};
use crate::domain::ids::JobId;
use crate::domain::tenant::Scope;

/// What was erased, and when.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's document alone")]
struct ErasureReceipt {
    job_id: String,
    request_id: String,
    /// RFC 3339, UTC.
    erased_at: String,
    /// Images as they were sent.
    images: u64,
    /// JPEG files made from them.
    renditions: u64,
    /// Encrypted records: the ID number asked for, the identity found.
    records: u64,
    /// A detached JWS (RFC 7515, appendix F) over the other fields as RFC 8785 spells them; its key is at
    /// `/.well-known/jwks.json`.
    signature: String,
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(erase))
}

/// Erases a job at once: its images, result, metadata and sealed records. One that has not ended is cancelled. The same
/// receipt is answered each time.
#[utoipa::path(delete, operation_id = "erase_job", path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses(
        (status = 200, body = ErasureReceipt),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
async fn erase(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Erase)?;
    let id = id.parse().map(JobId).map_err(|_| ApiError::no_such_job())?;
    let receipt = context.images.erase_job(caller.account, id).await?;
    Ok(Json(receipt.ok_or_else(ApiError::no_such_job)?))
}
