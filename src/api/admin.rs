//! `/admin/v1`: organisations and their API keys, for operators. Without an admin token these paths do not exist.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use chrono::{DateTime, Utc};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::body::{JsonBody, read, read_optional};
use super::error::{ApiError, Problem};
use crate::domain::api_key::ApiKeyText;
use crate::domain::ids::TenantId;
use crate::domain::tenant::{self, Account, Scope, TenantSettings};
use crate::store::api_keys::{ApiKeyView, KeyRotation, NewApiKey};
use crate::store::tenants::{TenantChange, TenantView};

/// The secret of the admin API. It has no `Debug` and is compared in constant time.
#[derive(Clone)]
pub struct AdminToken(Arc<(hmac::Key, hmac::Tag)>);

impl AdminToken {
    /// `None` when it is shorter than 32 characters.
    #[must_use]
    pub fn new(token: &str) -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new()).ok()?;
        let tag = hmac::sign(&key, token.as_bytes());
        (token.len() >= 32).then(|| Self(Arc::new((key, tag))))
    }

    fn matches(&self, token: &str) -> bool {
        hmac::verify(&self.0.0, token.as_bytes(), self.0.1.as_ref()).is_ok()
    }
}

/// Proof that the caller sent the admin token.
struct Admin;

impl FromRequestParts<ApiContext> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, context: &ApiContext) -> Result<Self, ApiError> {
        let Some(token) = &context.admin else { return Err(super::error::not_found().await) };
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match header.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(given) if token.matches(given.trim()) => Ok(Self),
            _ => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the admin token: Authorization: Bearer <VISAVIS_ADMIN_TOKEN>",
            )),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, change))
        .routes(routes!(create_key, list_keys))
        .routes(routes!(rotate_key))
        .routes(routes!(revoke_key))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// An organisation, as operators see it.
#[derive(Serialize, ToSchema)]
struct Organisation {
    id: String,
    name: String,
    /// The broker user whose submissions belong to the organisation.
    amqp_user: Option<String>,
    /// Hours for which images are kept after the verdict.
    retention_hours: i64,
    /// All settings; null means the deployment's default.
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    created_at: DateTime<Utc>,
}

/// A new organisation, or changes to one. Absent fields keep their values.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrganisationChange {
    /// 1 to 63 lower-case letters, digits and hyphens; cannot be changed.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 255)]
    amqp_user: Option<String>,
    #[schema(minimum = 1, maximum = 720)]
    retention_hours: Option<i64>,
    /// Settings to change, by name. Null restores the default.
    #[schema(value_type = Option<Object>)]
    settings: Option<Map<String, Value>>,
}

/// A page of organisations, ordered by name.
#[derive(Serialize, ToSchema)]
struct Organisations {
    organisations: Vec<Organisation>,
    /// Send it as `after` to get the next page; null on the last page.
    next: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OrganisationsQuery {
    /// The page begins after this name.
    after: Option<String>,
}

/// An API key without its secret.
#[derive(Serialize, ToSchema)]
struct Key {
    id: String,
    label: String,
    /// `live`, or `test` for the sandbox.
    environment: &'static str,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

/// A new API key. It is shown only in this answer.
#[derive(Serialize, ToSchema)]
struct NewKey {
    id: String,
    key: String,
}

/// Settings of a new API key.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct KeyRequest {
    /// `live`, the default, or `test` for the sandbox.
    environment: Option<Environment>,
    /// `submit`, `read`, `erase`, `billing`, `webhooks`. Default: all.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<BTreeSet<Scope>>,
    #[schema(max_length = 100)]
    label: Option<String>,
    /// Days until the key expires. Default: it never does.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Environment {
    Live,
    Test,
}

/// How to rotate an API key.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct RotationRequest {
    /// Hours for which the old key stays valid. Default: 24.
    #[schema(minimum = 0, maximum = 720)]
    grace_hours: Option<u32>,
}

/// Organisations on one page.
const PAGE: i64 = 100;
/// Bytes; bodies hold only settings.
const MAX_BODY: usize = 64 << 10;

/// Creates an organisation.
#[utoipa::path(post, path = "/admin/v1/organisations", tag = "admin", security(("admin_token" = [])), operation_id = "create_organisation", request_body = OrganisationChange,
    responses((status = 201, body = Organisation),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(context): State<ApiContext>,
    _admin: Admin,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Organisation>), ApiError> {
    let change: OrganisationChange = read(&body)?;
    let name = change.name.as_deref().unwrap_or_default();
    if !tenant::is_name(name) {
        let detail = "name must be 1 to 63 lower-case letters, digits and hyphens, and must not begin with a hyphen";
        return Err(ApiError::of_field("invalid_name", "name", detail));
    }
    let store = &context.store;
    if let Some(user) = &change.amqp_user {
        free_amqp_user(&context, user, None).await?;
    }
    let checked = checked(&TenantSettings::default(), &change)?;
    let Some(id) = store.insert_tenant(name, &checked).await? else {
        return Err(ApiError::conflict(
            "organisation_exists",
            Some("name"),
            "an organisation of this name exists: choose another name",
        ));
    };
    let made = store.show_tenant(id).await?.ok_or_else(|| ApiError::no_such("organisation"))?;
    Ok((StatusCode::CREATED, Json(render(made))))
}

/// Lists organisations by name, 100 on a page.
#[utoipa::path(get, path = "/admin/v1/organisations", tag = "admin", security(("admin_token" = [])), operation_id = "list_organisations", params(OrganisationsQuery),
    responses((status = 200, body = Organisations), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(context): State<ApiContext>,
    _admin: Admin,
    page: Result<Query<OrganisationsQuery>, QueryRejection>,
) -> Result<Json<Organisations>, ApiError> {
    let wrong = || ApiError::of_field("invalid_after", "after", "after must be the `next` of the previous page");
    let Ok(Query(page)) = page else { return Err(wrong()) };
    if page.after.as_ref().is_some_and(|name| name.contains('\0')) {
        return Err(wrong());
    }
    let found = context.store.for_reads().list_tenants(page.after.as_deref().unwrap_or_default(), PAGE).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count == PAGE);
    let next = found.last().filter(|_| full).map(|last| last.name.clone());
    Ok(Json(Organisations { organisations: found.into_iter().map(render).collect(), next }))
}

/// Reads an organisation.
#[utoipa::path(get, path = "/admin/v1/organisations/{organisation}", tag = "admin", security(("admin_token" = [])), operation_id = "read_organisation",
    params(("organisation" = String, Path)),
    responses((status = 200, body = Organisation),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn show(
    State(context): State<ApiContext>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<Organisation>, ApiError> {
    Ok(Json(render(find(&context, &id).await?)))
}

/// Changes the settings of an organisation.
#[utoipa::path(patch, path = "/admin/v1/organisations/{organisation}", tag = "admin", security(("admin_token" = [])), operation_id = "change_organisation",
    params(("organisation" = String, Path)), request_body = OrganisationChange,
    responses((status = 200, body = Organisation),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
async fn change(
    State(context): State<ApiContext>,
    _admin: Admin,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Organisation>, ApiError> {
    let change: OrganisationChange = read(&body)?;
    let found = find(&context, &id).await?;
    if change.name.as_ref().is_some_and(|name| *name != found.name) {
        return Err(ApiError::of_field("invalid_name", "name", "name cannot be changed: leave it out"));
    }
    if let Some(user) = &change.amqp_user {
        free_amqp_user(&context, user, Some(found.id)).await?;
    }
    let changed = context.store.change_tenant(found.id, |now| checked(&now.settings, &change)).await?;
    Ok(Json(render(changed.ok_or_else(|| ApiError::no_such("organisation"))?)))
}

/// Creates an API key for an organisation.
#[utoipa::path(post, path = "/admin/v1/organisations/{organisation}/keys", tag = "admin", security(("admin_token" = [])), operation_id = "create_key",
    params(("organisation" = String, Path)), request_body = Option<KeyRequest>,
    responses((status = 201, body = NewKey),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn create_key(
    State(context): State<ApiContext>,
    _admin: Admin,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<NewKey>), ApiError> {
    let request: KeyRequest = read_optional(&body)?;
    let found = find(&context, &id).await?;
    let label = request.label.unwrap_or_default();
    if !tenant::is_label(&label) {
        return Err(ApiError::of_field(
            "invalid_label",
            "label",
            "label must have at most 100 characters, without U+0000",
        ));
    }
    if request.days.is_some_and(|days| !(1..=3650).contains(&days)) {
        return Err(ApiError::of_field("invalid_days", "days", "days must be a whole number, 1 to 3650"));
    }
    let account = Account { tenant_id: found.id, sandbox: request.environment == Some(Environment::Test) };
    let key = ApiKeyText::from_random(account.sandbox, rand::random(), rand::random());
    let hmac = key.hmac(&context.pepper);
    let new = NewApiKey {
        id: &key.id,
        account,
        secret_hmac: &hmac,
        scopes: &request.scopes.unwrap_or_else(|| Scope::ALL.iter().copied().collect()),
        label: &label,
        lifetime: request.days.map(|days| Duration::from_hours(24 * u64::from(days))),
    };
    context.store.insert_api_key(&new).await?;
    Ok((StatusCode::CREATED, Json(NewKey { id: key.id.clone(), key: key.reveal() })))
}

/// Lists the API keys of an organisation without their secrets, newest first.
#[utoipa::path(get, path = "/admin/v1/organisations/{organisation}/keys", tag = "admin", security(("admin_token" = [])), operation_id = "list_keys",
    params(("organisation" = String, Path)),
    responses((status = 200, body = Vec<Key>),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn list_keys(
    State(context): State<ApiContext>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<Vec<Key>>, ApiError> {
    let found = find(&context, &id).await?;
    let keys = context.store.list_api_keys(found.id).await?;
    Ok(Json(keys.into_iter().map(render_key).collect()))
}

/// Replaces an API key. The old key stays valid for the grace period. At most two keys of a family are valid at a time.
#[utoipa::path(post, path = "/admin/v1/organisations/{organisation}/keys/{key}/rotate", tag = "admin", security(("admin_token" = [])), operation_id = "rotate_key",
    params(("organisation" = String, Path), ("key" = String, Path)), request_body = Option<RotationRequest>,
    responses((status = 201, body = NewKey),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
async fn rotate_key(
    State(context): State<ApiContext>,
    _admin: Admin,
    Path((id, key)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<NewKey>), ApiError> {
    let request: RotationRequest = read_optional(&body)?;
    let grace = request.grace_hours.unwrap_or(24);
    if grace > 720 {
        return Err(ApiError::of_field("invalid_grace", "grace_hours", "grace_hours must be a whole number, 0 to 720"));
    }
    let found = find(&context, &id).await?;
    let store = &context.store;
    let old = store.list_api_keys(found.id).await?.into_iter().find(|stored| stored.id == key);
    let old = old.ok_or_else(|| ApiError::no_such("key"))?;
    let new = ApiKeyText::from_random(old.sandbox, rand::random(), rand::random());
    let hmac = new.hmac(&context.pepper);
    let grace = Duration::from_hours(u64::from(grace));
    match store.rotate_api_key(found.id, &old.id, &new.id, &hmac, grace).await? {
        KeyRotation::Done => Ok((StatusCode::CREATED, Json(NewKey { id: new.id.clone(), key: new.reveal() }))),
        KeyRotation::NoSuchKey => {
            Err(ApiError::conflict("key_ended", None, "this key has already expired or been revoked: create a new one"))
        }
        KeyRotation::TwoLive => {
            let detail = "two keys of this family are valid already: revoke one, or wait until the older one expires";
            Err(ApiError::conflict("two_live_keys", None, detail))
        }
    }
}

/// Revokes an API key immediately.
#[utoipa::path(delete, path = "/admin/v1/organisations/{organisation}/keys/{key}", tag = "admin", security(("admin_token" = [])), operation_id = "revoke_key",
    params(("organisation" = String, Path), ("key" = String, Path)),
    responses((status = 204),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn revoke_key(
    State(context): State<ApiContext>,
    _admin: Admin,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let found = find(&context, &id).await?;
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let revoked = plain && context.store.revoke_api_key(found.id, &key).await?;
    if revoked { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::no_such("key")) }
}

async fn find(context: &ApiContext, id: &str) -> Result<TenantView, ApiError> {
    let id = id.parse().map(TenantId).map_err(|_| ApiError::no_such("organisation"))?;
    context.store.show_tenant(id).await?.ok_or_else(|| ApiError::no_such("organisation"))
}

/// Checks that no other organisation has this broker user.
async fn free_amqp_user(context: &ApiContext, user: &str, owner: Option<TenantId>) -> Result<(), ApiError> {
    if !(1..=255).contains(&user.len()) || user.chars().any(char::is_control) {
        return Err(ApiError::of_field(
            "invalid_amqp_user",
            "amqp_user",
            "amqp_user must have 1 to 255 characters, without control characters",
        ));
    }
    match context.store.find_tenant_by_amqp_user(user).await? {
        Some((found, _)) if Some(found) != owner => Err(ApiError::conflict(
            "amqp_user_taken",
            Some("amqp_user"),
            "amqp_user belongs to another organisation: choose another broker user",
        )),
        _ => Ok(()),
    }
}

/// Checks all changes, so that either all of them are made or none.
fn checked(settings: &TenantSettings, change: &OrganisationChange) -> Result<TenantChange, ApiError> {
    let settings = match &change.settings {
        None => None,
        Some(patch) => Some(settings.merged(patch).map_err(|fault| {
            ApiError::of_field("invalid_setting", &format!("settings.{}", fault.field), &fault.to_string())
        })?),
    };
    if change.retention_hours.is_some_and(|hours| !tenant::RETENTION_HOURS.contains(&hours)) {
        return Err(ApiError::of_field(
            "invalid_retention",
            "retention_hours",
            "retention_hours must be a whole number, 1 to 720",
        ));
    }
    Ok(TenantChange {
        amqp_user: change.amqp_user.clone(),
        retention_seconds: change.retention_hours.map(|hours| hours * 3600),
        settings,
    })
}

fn render(tenant: TenantView) -> Organisation {
    Organisation {
        id: tenant.id.to_string(),
        name: tenant.name,
        amqp_user: tenant.amqp_user,
        retention_hours: tenant.retention_seconds / 3600,
        settings: tenant.settings.fields(),
        created_at: tenant.created_at,
    }
}

fn render_key(key: ApiKeyView) -> Key {
    let environment = if key.sandbox { "test" } else { "live" };
    Key {
        id: key.id,
        label: key.label,
        environment,
        scopes: key.scopes,
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
    }
}
