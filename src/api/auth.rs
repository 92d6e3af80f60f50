//! Who calls: `Authorization: Bearer vv_live_...`, resolved to an organisation.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::ApiContext;
use super::error::ApiError;
use super::limits::{AllowanceSlot, BodyShare, Turn};
use crate::domain::api_key::ApiKeyText;
use crate::domain::tenant::{Account, Scope, TenantSettings};

/// Who calls, and what they may do. Every query of a handler takes the account.
#[derive(Clone)]
pub struct Caller {
    pub account: Account,
    pub scopes: BTreeSet<Scope>,
    /// The organisation's.
    pub settings: TenantSettings,
    /// The key's public part.
    pub key_id: String,
    _turn: Arc<Turn>,
    body: Option<BodyShare>,
}

impl Caller {
    /// The body was taken in and its memory is free: what comes is waiting.
    pub(super) fn body_taken_in(&self) {
        if let Some(body) = &self.body {
            body.release();
        }
    }

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
        let stored = context.store.find_api_key(&key.id).await?.ok_or_else(unauthorized)?;
        if key.sandbox != stored.account.sandbox || !key.matches(&context.pepper, &stored.secret_hmac) {
            return Err(unauthorized());
        }
        let limits = &context.limits;
        limits.count(stored.account, &stored.settings, parts.extensions.get::<AllowanceSlot>())?;
        let turn = limits.turn(stored.account, &stored.settings)?;
        let body = parts.extensions.get::<BodyShare>().cloned();
        if let Some(body) = &body {
            limits.own_body(stored.account, body)?;
        }
        Ok(Self {
            account: stored.account,
            scopes: stored.scopes,
            settings: stored.settings,
            key_id: key.id,
            _turn: Arc::new(turn),
            body,
        })
    }
}
