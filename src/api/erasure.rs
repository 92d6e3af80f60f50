//! `DELETE /v1/jobs/{id}`: erases a job immediately and answers with a signed receipt.

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
    /// Number of images that were sent.
    images: u64,
    /// Number of JPEG files that were made from them.
    renditions: u64,
    /// Number of encrypted records: the ID number that was sent, the identity record that was found.
    records: u64,
    /// A detached JWS (RFC 7515, appendix F) over the other fields in canonical form (RFC 8785). The keys to verify it
    /// are at `/.well-known/jwks.json`.
    signature: String,
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(erase))
}

/// Erases a job immediately: its images, result, metadata and encrypted records.
///
/// A job that has not ended is cancelled. Repeated calls get the same receipt.
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
