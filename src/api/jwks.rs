//! `GET /.well-known/jwks.json`: the public keys that check our signatures.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::error::ApiError;
use crate::keys::PublicKey;

/// A JWK set (RFC 7517) of Ed25519 keys (RFC 8037).
#[derive(Serialize, ToSchema)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Lists the public keys that verify our signatures, including those of retired keys.
#[utoipa::path(get, operation_id = "list_signing_keys", path = "/.well-known/jwks.json", tag = "signatures", security(()),
    responses((status = 200, body = Jwks)))]
async fn list(State(context): State<ApiContext>) -> Result<Response, ApiError> {
    let keys = context.images.public_keys().await?;
    let jwks = Jwks { keys: keys.iter().map(PublicKey::jwk).collect() };
    Ok(([(header::CACHE_CONTROL, "public, max-age=300")], Json(jwks)).into_response())
}
