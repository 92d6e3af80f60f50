//! `/livez`: this process runs. `/readyz`: it can do its work, and if not, what is missing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use crate::docs::answers::Readiness;

/// Answers whether a part stands.
pub type ProbeFuture = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A part that this process needs, and how to ask it.
#[derive(Clone)]
pub struct Probe {
    pub name: &'static str,
    pub ask: Arc<dyn Fn() -> ProbeFuture + Send + Sync>,
}

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
}

/// Whether this process runs.
#[utoipa::path(get, path = "/livez", operation_id = "live", tag = "health", security(()),
    responses((status = 200, body = String, description = "It runs.")))]
async fn live() -> &'static str {
    "ok"
}

/// Whether this process can do its work, and if not, what is missing.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "health", security(()),
    responses(
        (status = 200, body = Readiness, description = "It can."),
        (status = 503, body = Readiness, description = "A part is missing."),
    ))]
async fn ready(State(context): State<ApiContext>) -> (StatusCode, Json<Value>) {
    let mut parts = serde_json::Map::new();
    let mut ready = true;
    for probe in context.probes.iter() {
        let stands = tokio::time::timeout(PATIENCE, (probe.ask)()).await.unwrap_or(false);
        ready &= stands;
        parts.insert(probe.name.to_owned(), json!(if stands { "ok" } else { "not ready" }));
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer = json!({ "ready": ready, "parts": parts });
    if let Some(provider) = context.provider {
        answer["provider"] = json!(provider);
    }
    (status, Json(answer))
}
