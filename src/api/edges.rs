//! Layers around every request and answer: the request id, the log span, memory for the body, and the
//! headers that keep answers out of caches.

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::{Instrument as _, debug, info_span};
use uuid::Uuid;

use super::body_memory::BodyMemory;
use super::error::ApiError;
use super::limits::AllowanceSlot;
use crate::domain::request::LARGEST_BODY;

/// Callers may choose the request id, so that both sides find the request in their logs.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps every route and every fallback in a log span, and adds the headers that all answers have.
pub(super) async fn wrap(mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    // The path is logged but never the query, which holds signatures.
    let span = info_span!("http", method = %request.method(), path = request.uri().path(), http_id = %id);
    async move {
        let slot = AllowanceSlot::default();
        request.extensions_mut().insert(slot.clone());
        let mut response = next.run(request).await;
        debug!(status = response.status().as_u16(), "answered");
        let headers = response.headers_mut();
        slot.write(headers);
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, value);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
    .instrument(span)
    .await
}

/// The caller's request id if it is short and printable, else a new one.
fn request_id(request: &Request) -> String {
    let named = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    named.filter(fits).map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Meters the body as it is read. If it had to be cut off, the answer says why, whatever the handler made of it.
pub(super) async fn meter_body(State(memory): State<BodyMemory>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let announced = request.body().size_hint().exact().unwrap_or_default();
    let meter = memory.meter(usize::try_from(announced).unwrap_or(usize::MAX).min(LARGEST_BODY));
    let mut request = request.map(|body| meter.clone().read(body));
    request.extensions_mut().insert(meter.clone());
    let response = next.run(request).await;
    meter.fault().map_or(response, ApiError::into_response)
}
