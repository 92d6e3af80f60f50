//! `GET /v1/organisation`: which organisation the API key belongs to, and what it may do.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::error::ApiError;
use super::job_answer::percent;
use crate::domain::tenant::{self, Scope, TenantSettings};

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(show))
}

/// The caller's organisation and API key.
#[derive(Serialize, ToSchema)]
struct OwnOrganisation {
    id: String,
    name: String,
    /// The API key is a test key: outcomes are made up and free of charge.
    sandbox: bool,
    /// An organisation that is not approved may not submit anything.
    approved: bool,
    /// The kinds of jobs that it may submit.
    services: Vec<String>,
    /// Hours for which images are kept after the verdict.
    retention_hours: i64,
    /// Default threshold of `likeness_check`.
    similarity_threshold: f64,
    /// Default threshold of `id_match`.
    id_match_threshold: f64,
    /// Default of `approve_score` in a `face_match`, 0 to 100.
    approve_score: f64,
    /// Default of `review_score` in a `face_match`, 0 to 100.
    review_score: f64,
    /// Limit of requests a minute.
    requests_per_minute: u32,
    /// Limit of requests at the same time.
    concurrent_requests: u32,
    /// Limit of jobs that wait or run.
    jobs_in_flight: u32,
    /// The public part of the API key of this call.
    key_id: String,
    /// What that API key may be used for.
    scopes: Vec<String>,
}

/// Shows the organisation and the API key of this call.
#[utoipa::path(get, path = "/v1/organisation", tag = "organisation", operation_id = "show_organisation",
    responses((status = 200, body = OwnOrganisation)))]
async fn show(State(context): State<ApiContext>, caller: Caller) -> Result<Json<OwnOrganisation>, ApiError> {
    let found = context.store.show_tenant(caller.account.tenant_id).await?;
    let own = found.ok_or_else(|| ApiError::no_such("organisation"))?;
    let defaults = context.intake.defaults.of(&own.settings);
    let TenantSettings { approved, services, requests_per_minute, concurrent_requests, jobs_in_flight, .. } =
        own.settings;
    Ok(Json(OwnOrganisation {
        id: own.id.to_string(),
        name: own.name,
        sandbox: caller.account.sandbox,
        approved,
        services: services.iter().map(|service| service.name().to_owned()).collect(),
        retention_hours: own.retention_seconds / 3600,
        similarity_threshold: defaults.threshold.get(),
        id_match_threshold: defaults.id_match.get(),
        approve_score: percent(defaults.approve),
        review_score: percent(defaults.review),
        requests_per_minute: requests_per_minute.unwrap_or(tenant::REQUESTS_PER_MINUTE),
        concurrent_requests: concurrent_requests.unwrap_or(tenant::CONCURRENT_REQUESTS),
        jobs_in_flight: jobs_in_flight.unwrap_or(tenant::JOBS_IN_FLIGHT),
        key_id: caller.key_id.clone(),
        scopes: caller.scopes.iter().copied().map(Scope::name).map(str::to_owned).collect(),
    }))
}
