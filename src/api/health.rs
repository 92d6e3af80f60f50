//! `/livez`: this process runs. `/readyz`: this process can do its work; if it cannot, what is missing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;

/// Resolves to whether a part is ready, or to what is wrong with it in a few words.
pub type ProbeFuture = Pin<Box<dyn Future<Output = ProbeAnswer> + Send>>;

/// What a part says about itself. Anybody may read it, so it names no host and no path.
pub type ProbeAnswer = Result<(), &'static str>;

/// A part that this process needs, and how to ask whether it is ready.
#[derive(Clone)]
pub struct Probe {
    name: &'static str,
    /// An answer holds for this time, however many ask.
    holds: Duration,
    ask: Arc<dyn Fn() -> ProbeFuture + Send + Sync>,
    /// What it said last, and when.
    last: Arc<Mutex<Option<(Instant, ProbeAnswer)>>>,
}

/// Time limit of a probe.
const PATIENCE: Duration = Duration::from_secs(3);
/// Callers that wait for this time, and nobody is served: the process does not live. Its watchdog ends it.
const STUCK: Duration = Duration::from_secs(30);

impl Probe {
    pub fn new(name: &'static str, holds: Duration, ask: impl Fn() -> ProbeFuture + Send + Sync + 'static) -> Self {
        Self { name, holds, ask: Arc::new(ask), last: Arc::default() }
    }

    async fn answer(&self) -> ProbeAnswer {
        // Held while asking, so that many callers ask once.
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = *last
            && at.elapsed() < self.holds
        {
            return answer;
        }
        let answer = tokio::time::timeout(PATIENCE, (self.ask)()).await.unwrap_or(Err("no answer in time"));
        *last = Some((Instant::now(), answer));
        answer
    }
}

/// Whether this process can do its work.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// The parts that it needs, by name.
    #[schema(value_type = BTreeMap<String, PartState>)]
    parts: Map<String, Value>,
    /// Why parts are not ready, by name.
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(skip_serializing_if = "Map::is_empty")]
    reasons: Map<String, Value>,
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
    responses(
        (status = 200, body = String, description = "It runs."),
        (status = 503, body = String, description = "It runs, but its connections with the database serve nobody."),
    ))]
async fn live(State(context): State<ApiContext>) -> (StatusCode, &'static str) {
    if context.store.unserved_for() < STUCK {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no connection with the database became free for 30 seconds")
    }
}

/// Says whether this process can do its work; if it cannot, what is missing.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "health", security(()),
    responses(
        (status = 200, body = Readiness, description = "It can."),
        (status = 503, body = Readiness, description = "A part is missing."),
    ))]
async fn ready(State(context): State<ApiContext>) -> (StatusCode, Json<Readiness>) {
    let (mut parts, mut reasons) = (Map::new(), Map::new());
    let answers = join_all(context.probes.iter().map(|probe| async { (probe.name, probe.answer().await) })).await;
    for (name, answer) in answers {
        parts.insert(name.to_owned(), json!(if answer.is_ok() { PartState::Ok } else { PartState::NotReady }));
        if let Err(reason) = answer {
            reasons.insert(name.to_owned(), json!(reason));
        }
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, parts, reasons, provider: context.provider }))
}
