//! `/livez`: this process runs. `/readyz`: this process can do its work; if it cannot, what is missing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;

/// Resolves to whether a part is ready.
pub type ProbeFuture = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A part that this process needs, and how to ask whether it is ready.
#[derive(Clone)]
pub struct Probe {
    pub name: &'static str,
    pub ask: Arc<dyn Fn() -> ProbeFuture + Send + Sync>,
}

/// Time limit of a probe.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether this process can do its work.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// The parts that it needs, by name.
    #[schema(value_type = BTreeMap<String, PartState>)]
    parts: Map<String, Value>,
    /// Where networks compute, such as `cpu` or `cuda`, if this process compares faces.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'static str>,
}

/// Whether a part is ready.
#[derive(Serialize, ToSchema)]
enum PartState {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "not ready")]
    NotReady,
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
}

/// Says whether this process runs.
#[utoipa::path(get, path = "/livez", operation_id = "live", tag = "health", security(()),
    responses((status = 200, body = String, description = "It runs.")))]
async fn live() -> &'static str {
    "ok"
}

/// Says whether this process can do its work; if it cannot, what is missing.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "health", security(()),
    responses(
        (status = 200, body = Readiness, description = "It can."),
        (status = 503, body = Readiness, description = "A part is missing."),
    ))]
async fn ready(State(context): State<ApiContext>) -> (StatusCode, Json<Readiness>) {
    let mut parts = Map::new();
    let mut ready = true;
    for probe in context.probes.iter() {
        let is_ready = tokio::time::timeout(PATIENCE, (probe.ask)()).await.unwrap_or(false);
        ready &= is_ready;
        parts.insert(probe.name.to_owned(), json!(if is_ready { PartState::Ok } else { PartState::NotReady }));
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, parts, provider: context.provider }))
}
