//! The HTTP API: jobs in, jobs and reports out. It is thin: it reads requests, calls `intake` or `store`, and writes
//! JSON.

mod admin;
mod auth;
mod billing;
mod body;
mod body_memory;
mod compat;
mod deliveries;
mod edges;
mod erasure;
mod error;
mod face_match;
mod feed;
mod health;
mod home;
mod images;
mod job_answer;
mod jobs;
mod jwks;
mod limits;
mod list;
mod liveness;
mod media;
mod openapi;
mod organisation;
mod pages;
mod streams;
mod submit;
mod sync;
mod waiters;
mod webhooks;

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

pub use admin::AdminToken;
pub use feed::Feed;
pub use health::{Probe, ProbeAnswer, ProbeFuture};
pub use limits::Limits;
pub use waiters::Waiters;

use crate::desk::Desk;
use crate::domain::pepper::Pepper;
use crate::domain::request::LARGEST_BODY;
use crate::images::Images;
use crate::intake::Intake;
use crate::store::Store;
use crate::webhooks::Endpoints;

/// The dependencies of handlers; clones share them.
#[derive(Clone)]
pub struct ApiContext {
    pub store: Store,
    /// Hashes the secrets of API keys.
    pub pepper: Pepper,
    pub intake: Intake,
    pub images: Images,
    pub waiters: Waiters,
    pub endpoints: Endpoints,
    pub feed: Feed,
    pub desk: Desk,
    pub limits: Limits,
    /// Without a token there is no admin API.
    pub admin: Option<AdminToken>,
    /// The parts that must be ready before this process gets traffic.
    pub probes: std::sync::Arc<[Probe]>,
    /// Where networks compute, if this process compares faces.
    pub provider: Option<&'static str>,
    /// Signs answers. Without it they have no signature.
    pub signer: Option<AnswerSigner>,
}

/// Makes a detached signature over a value, or none.
pub type AnswerSigner = std::sync::Arc<dyn Fn(&serde_json::Value) -> Option<String> + Send + Sync>;

impl ApiContext {
    fn sign(&self, value: &serde_json::Value) -> Option<String> {
        self.signer.as_ref().and_then(|sign| sign(value))
    }
}

/// All routes. Browsers on pages of `origins` may call them.
pub fn router(context: ApiContext, origins: &[HeaderValue]) -> Router {
    let (operations, document) = documented();
    let router = operations
        .merge(pages::routes(document))
        .merge(home::routes())
        .merge(context.desk.clone().routes())
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(context.limits.bodies().clone(), edges::meter_body))
        .layer(CatchPanicLayer::custom(error::panicked))
        // Outside every layer that may refuse a request.
        .layer(middleware::from_fn(compat::translate_errors))
        .layer(CompressionLayer::new());
    let router = if origins.is_empty() { router } else { router.layer(cors(origins)) };
    router.layer(middleware::from_fn(edges::wrap)).with_state(context)
}

/// Browsers on pages of the listed origins may call with an API key. The API never reads cookies.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            IDEMPOTENCY_KEY,
            PREFER,
            edges::REQUEST_ID,
            LAST_EVENT_ID,
        ])
        .expose_headers(
            [edges::REQUEST_ID, header::LOCATION, header::RETRY_AFTER]
                .into_iter()
                .chain(limits::HEADERS)
                .collect::<Vec<_>>(),
        )
        .max_age(Duration::from_hours(1))
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The OpenAPI document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    documented().1
}

/// All handlers, and the document that they describe themselves in.
fn documented() -> (Router<ApiContext>, utoipa::openapi::OpenApi) {
    let (operations, document) = OpenApiRouter::with_openapi(openapi::DocumentBase::openapi())
        .merge(jobs::routes())
        .merge(list::routes())
        .merge(streams::routes())
        .merge(erasure::routes())
        .merge(face_match::routes())
        .merge(compat::routes())
        .merge(liveness::routes())
        .merge(images::routes())
        .merge(media::routes())
        .merge(jwks::routes())
        .merge(organisation::routes())
        .merge(billing::routes())
        .merge(webhooks::routes())
        .merge(deliveries::routes())
        .merge(admin::routes())
        .merge(health::routes())
        .split_for_parts();
    (operations, openapi::finish(document))
}
