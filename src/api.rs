//! The HTTP face: jobs in, jobs and reports out. Thin: it reads requests, calls `intake` or `store`, and writes JSON.

mod auth;
mod error;
mod face_match;
mod faces;
mod health;
mod jobs;
mod list;
mod openapi;
mod submit;
mod sync;
mod waiters;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::{Level, info_span};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

pub use health::{Probe, ProbeFuture};
pub use waiters::Waiters;

use crate::domain::request::MAX_BODY;
use crate::intake::Intake;

/// What handlers need; clones share it.
#[derive(Clone)]
pub struct ApiContext {
    pub intake: Intake,
    pub waiters: Waiters,
    /// What must stand before this process may be sent traffic.
    pub probes: std::sync::Arc<[Probe]>,
    /// Signs answers; none: they go unsigned.
    pub signer: Option<Signer>,
}

/// Makes a detached signature over a value, or none.
pub type Signer = std::sync::Arc<dyn Fn(&serde_json::Value) -> Option<String> + Send + Sync>;

impl ApiContext {
    fn sign(&self, value: &serde_json::Value) -> Option<String> {
        self.signer.as_ref().and_then(|sign| sign(value))
    }
}

/// Every route.
pub fn router(context: ApiContext) -> Router {
    // The path is logged, the query never: one day it holds signatures.
    let trace = TraceLayer::new_for_http()
        .make_span_with(|request: &axum::http::Request<_>| {
            info_span!("http", method = %request.method(), path = request.uri().path())
        })
        .on_response(DefaultOnResponse::new().level(Level::DEBUG));
    let (routes, document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(jobs::routes())
        .merge(list::routes())
        .merge(face_match::routes())
        .merge(faces::routes())
        .merge(health::routes())
        .split_for_parts();
    routes
        .merge(openapi::pages(document))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(error::panicked))
        // Outside of every layer that may refuse a request.
        .layer(from_fn(faces::in_their_own_words))
        .layer(trace)
        .with_state(context)
}
