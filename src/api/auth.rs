//! Who calls: `Authorization: Bearer vv_live_...`, resolved to an organisation.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::ApiContext;
use super::error::ApiError;
use crate::domain::api_key::ApiKeyText;
use crate::domain::tenant::{Account, Scope, TenantSettings};

/// Who calls, and what they may do. Every query of a handler takes the account.
#[derive(Debug, Clone)]
pub struct Caller {
    pub account: Account,
    pub scopes: BTreeSet<Scope>,
    /// The organisation's.
    pub settings: TenantSettings,
}

impl Caller {
    /// # Errors
    /// When the key lacks `scope`.
    pub(super) fn may(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let detail = format!("this API key lacks the scope {}: use another, or have one made", scope.name());
        Err(ApiError::new(StatusCode::FORBIDDEN, "missing_scope", &detail))
    }
}

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
        Ok(Self { account: stored.account, scopes: stored.scopes, settings: stored.settings })
    }
}
