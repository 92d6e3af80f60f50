//! The HTTP face: jobs in, jobs and reports out. Thin: it reads requests, calls `intake` or `store`, and writes JSON.

mod auth;
mod billing;
mod error;
mod face_match;
mod health;
mod jobs;
mod openapi;
mod waiters;

use axum::Router;
use axum::extract::DefaultBodyLimit;
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
        .merge(face_match::routes())
        .merge(billing::routes())
        .merge(health::routes())
        .split_for_parts();
    routes
        .merge(openapi::pages(document))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(trace)
        .with_state(context)
}
