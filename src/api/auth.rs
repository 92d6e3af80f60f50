//! Who calls: `Authorization: Bearer vv_live_...`, resolved to an organisation.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::ApiContext;
use super::error::ApiError;
use crate::domain::api_key::ApiKeyText;
use crate::domain::ids::TenantId;

/// The organisation that calls. Every query of a handler takes it.
pub struct Caller(pub TenantId);

impl FromRequestParts<ApiContext> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &ApiContext) -> Result<Self, ApiError> {
        // One answer for every reason: which part was wrong is nobody's business.
        let unauthorized = || {
            let detail = "send a valid API key: Authorization: Bearer vv_live_...";
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        };
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let (scheme, token) = header.and_then(|it| it.split_once(' ')).ok_or_else(unauthorized)?;
        let key = ApiKeyText::parse(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        let key = key.ok_or_else(unauthorized)?;
        let stored = context.intake.store.find_api_key(&key.id).await?.ok_or_else(unauthorized)?;
        if !key.matches(&context.intake.pepper, &stored.secret_hmac) {
            return Err(unauthorized());
        }
        Ok(Self(stored.tenant_id))
    }
}
