//! Resolves `Authorization: Bearer vv_live_...` to an organisation and what it may do.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::ApiContext;
use super::body_memory::BodyMeter;
use super::error::ApiError;
use super::limits::{AllowanceSlot, RequestPermit};
use crate::domain::api_key::ApiKeyText;
use crate::domain::tenant::{Account, Scope, TenantSettings};

/// Who calls, and what they may do. Handlers pass the account to every query.
#[derive(Clone)]
pub struct Caller {
    pub account: Account,
    pub scopes: BTreeSet<Scope>,
    /// The organisation's settings.
    pub settings: TenantSettings,
    /// The public part of the API key.
    pub key_id: String,
    /// Counts this request among those in progress until it is dropped.
    _permit: Arc<RequestPermit>,
    body: Option<BodyMeter>,
}

impl Caller {
    /// Frees the body's memory once the body was taken in: the request may still wait long for its result.
    pub(super) fn body_taken_in(&self) {
        if let Some(body) = &self.body {
            body.free();
        }
    }

    /// # Errors
    /// When the API key lacks `scope`.
    pub(super) fn may(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let detail = format!(
            "this API key lacks the scope {}: use a key that has it, or ask your operator for one",
            scope.name()
        );
        Err(ApiError::new(StatusCode::FORBIDDEN, "missing_scope", &detail))
    }
}

impl FromRequestParts<ApiContext> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &ApiContext) -> Result<Self, ApiError> {
        // The same answer whatever is wrong: a guesser must not learn which part of a key is right.
        let unauthorized = || {
            let detail = "send a valid API key: Authorization: Bearer vv_live_...";
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        };
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|value| value.split_once(' ')).ok_or_else(unauthorized)?;
        let key = ApiKeyText::parse(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        let key = key.ok_or_else(unauthorized)?;
        let stored = context.store.find_api_key(&key.id).await?.ok_or_else(unauthorized)?;
        if key.sandbox != stored.account.sandbox || !key.matches(&context.pepper, &stored.secret_hmac) {
            return Err(unauthorized());
        }
        let limits = &context.limits;
        limits.count(stored.account, &stored.settings, parts.extensions.get::<AllowanceSlot>())?;
        let permit = limits.start_request(stored.account, &stored.settings)?;
        let body = parts.extensions.get::<BodyMeter>().cloned();
        if let Some(body) = &body {
            body.belongs_to(stored.account.tenant_id)?;
        }
        Ok(Self {
            account: stored.account,
            scopes: stored.scopes,
            settings: stored.settings,
            key_id: key.id,
            _permit: Arc::new(permit),
            body,
        })
    }
}
