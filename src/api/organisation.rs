//! `GET /v1/organisation`: who the caller is, and what it may do.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::error::ApiError;
use crate::domain::evidence::Threshold;
use crate::domain::tenant::{Scope, TenantSettings};

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(show))
}

/// The caller's organisation and key.
#[derive(Serialize, ToSchema)]
struct OwnOrganisation {
    id: String,
    name: String,
    /// Made-up outcomes, free of charge.
    sandbox: bool,
    /// One that is not approved may submit nothing.
    approved: bool,
    /// Kinds of jobs that it may submit.
    services: Vec<String>,
    /// Hours that images are kept after the verdict.
    retention_hours: i64,
    /// Of `likeness_check`, where a request names none.
    similarity_threshold: f64,
    /// Of `id_match`, likewise.
    id_match_threshold: f64,
    /// Of `face_match`, 0 to 100, likewise.
    approve_score: f64,
    /// Of `face_match`, 0 to 100, likewise.
    review_score: f64,
    /// Requests in a minute; null: no limit.
    requests_per_minute: Option<u32>,
    /// Requests at once; null: no limit.
    concurrent_requests: Option<u32>,
    /// The public part of the key that this call came with.
    key_id: String,
    /// What that key may be used for.
    scopes: Vec<String>,
}

/// Who calls, and what it may do.
#[utoipa::path(get, path = "/v1/organisation", tag = "organisation", operation_id = "show_organisation",
    responses((status = 200, body = OwnOrganisation)))]
async fn show(State(context): State<ApiContext>, caller: Caller) -> Result<Json<OwnOrganisation>, ApiError> {
    let found = context.store.show_tenant(caller.account.tenant_id).await?;
    let it = found.ok_or_else(|| ApiError::no_such("organisation"))?;
    let defaults = context.intake.defaults.of(&it.settings);
    let percent = |threshold: Threshold| (threshold.get() * 1e6).round() / 1e4;
    let TenantSettings { approved, services, requests_per_minute, concurrent_requests, .. } = it.settings;
    Ok(Json(OwnOrganisation {
        id: it.id.to_string(),
        name: it.name,
        sandbox: caller.account.sandbox,
        approved,
        services: services.iter().map(|it| it.name().to_owned()).collect(),
        retention_hours: it.retention_seconds / 3600,
        similarity_threshold: defaults.threshold.get(),
        id_match_threshold: defaults.id_match.get(),
        approve_score: percent(defaults.approve),
        review_score: percent(defaults.review),
        requests_per_minute,
        concurrent_requests,
        key_id: caller.key_id.clone(),
        scopes: caller.scopes.iter().copied().map(Scope::name).map(str::to_owned).collect(),
    }))
}
