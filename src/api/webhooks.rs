//! `/v1/webhooks`: the account's endpoints and their secrets.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::body::{BodyFields, JsonBody};
use super::error::{ApiError, Problem};
use crate::domain::ids::EndpointId;
use crate::domain::tenant::{Account, Scope};
use crate::domain::webhook::EventType;
use crate::store::webhook_endpoints::{
    EndpointChange, EndpointRotation, EndpointView, MAX_ENDPOINTS, RateChange, Written,
};
use crate::webhooks::EndpointAndSecret;
use crate::webhooks::endpoints::EndpointSpec;
use crate::webhooks::signature::show_public_key;

/// Bytes; bodies hold only settings.
const MAX_BODY: usize = 64 << 10;
/// Characters.
const MAX_DESCRIPTION: usize = 200;
/// Attempts a second.
const MAX_RATE: i32 = 1000;
const RATE: &str = "a whole number, 1 to 1000, or null for no limit";
/// Hours: a week is enough to change over to the new secret.
const MAX_GRACE: u64 = 168;
/// Hours.
const DEFAULT_GRACE: u64 = 24;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, change, delete))
        .routes(routes!(rotate))
        .routes(routes!(test))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// An endpoint to which events are delivered.
#[derive(Serialize, ToSchema)]
struct Endpoint {
    #[schema(format = "uuid")]
    id: String,
    url: String,
    description: String,
    #[schema(value_type = Vec<EventType>)]
    event_types: Vec<String>,
    /// The most attempts a second; null: no limit.
    rate_limit: Option<i32>,
    enabled: bool,
    /// Why it is disabled: `by_request`, `gone` (it answered 410), or `failing` (nothing arrived for 5 days).
    disabled_reason: Option<String>,
    disabled_at: Option<DateTime<Utc>>,
    /// When it first failed since the last success.
    failing_since: Option<DateTime<Utc>>,
    /// The public keys that verify `v1a` signatures, newest first. There are two during a rotation.
    public_keys: Vec<String>,
    created_at: DateTime<Utc>,
}

/// An endpoint with its secret. The secret is shown only in this answer.
#[derive(Serialize, ToSchema)]
struct EndpointWithSecret {
    #[serde(flatten)]
    endpoint: Endpoint,
    /// The secret that verifies `v1` signatures.
    #[schema(pattern = "^whsec_")]
    secret: String,
}

/// The endpoints of the account, oldest first.
#[derive(Serialize, ToSchema)]
struct EndpointList {
    webhooks: Vec<Endpoint>,
}

/// A new endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API's document alone")]
struct EndpointRequest {
    /// `https://`, on port 443 or 8443 of a host on the public internet.
    #[schema(max_length = 2048, examples("https://example.com/hooks"))]
    url: String,
    #[schema(min_items = 1)]
    event_types: Vec<EventType>,
    #[schema(max_length = 200, nullable = false)]
    description: Option<String>,
    /// The most attempts a second. Default: no limit.
    #[schema(minimum = 1, maximum = 1000)]
    rate_limit: Option<i32>,
}

/// Changes to an endpoint. Absent fields keep their values.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API's document alone")]
struct EndpointPatch {
    #[schema(max_length = 2048, nullable = false)]
    url: Option<String>,
    #[schema(min_items = 1, nullable = false)]
    event_types: Option<Vec<EventType>>,
    #[schema(max_length = 200, nullable = false)]
    description: Option<String>,
    /// Null: no limit.
    #[schema(minimum = 1, maximum = 1000)]
    rate_limit: Option<i32>,
    /// `false` gives up the deliveries that wait for it. `true` starts with new events.
    #[schema(nullable = false)]
    enabled: Option<bool>,
}

/// How to rotate a secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API's document alone")]
struct SecretRotation {
    /// Hours for which the old secret signs too. Default: 24.
    #[schema(minimum = 0, maximum = 168, nullable = false)]
    grace_hours: Option<u64>,
}

/// A test event was sent.
#[derive(Serialize, ToSchema)]
struct TestSent {
    /// The `webhook-id` that the endpoint will see.
    #[schema(format = "uuid")]
    event_id: String,
    links: TestLinks,
}

#[derive(Serialize, ToSchema)]
struct TestLinks {
    /// Where to read the delivery and its attempts.
    delivery: String,
}

/// Creates an endpoint. Its secret is shown only in this answer.
#[utoipa::path(post, path = "/v1/webhooks", operation_id = "create_webhook", tag = "webhooks", request_body = EndpointRequest,
    responses(
        (status = 201, body = EndpointWithSecret),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "There are 50 endpoints already."),
    ))]
async fn create(
    State(context): State<ApiContext>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<EndpointWithSecret>), ApiError> {
    caller.may(Scope::Webhooks)?;
    let wanted = EndpointFields::read(&context, &body, false)?;
    let missing =
        |field| ApiError::of_field("missing_field", field, &format!("{field} is missing: send url and event_types"));
    let wanted = EndpointSpec {
        url: wanted.url.as_deref().ok_or_else(|| missing("url"))?,
        description: wanted.description.as_deref().unwrap_or_default(),
        event_types: wanted.event_types.as_deref().ok_or_else(|| missing("event_types"))?,
        rate_limit: wanted.rate_limit.per_second(),
    };
    let made = context.endpoints.create(caller.account, &wanted).await?;
    let made = made.ok_or_else(|| {
        let detail =
            format!("there are {MAX_ENDPOINTS} endpoints already: delete one, or subscribe one to more event types");
        ApiError::conflict("too_many_webhooks", None, &detail)
    })?;
    Ok((StatusCode::CREATED, Json(reveal(made))))
}

/// Lists the endpoints of the account, oldest first.
#[utoipa::path(get, path = "/v1/webhooks", operation_id = "list_webhooks", tag = "webhooks",
    responses((status = 200, body = EndpointList)))]
async fn list(State(context): State<ApiContext>, caller: Caller) -> Result<Json<EndpointList>, ApiError> {
    caller.may(Scope::Webhooks)?;
    let found = context.store.list_endpoints(caller.account).await?;
    Ok(Json(EndpointList { webhooks: found.into_iter().map(render).collect() }))
}

/// Reads an endpoint.
#[utoipa::path(get, path = "/v1/webhooks/{id}", operation_id = "get_webhook", tag = "webhooks",
    params(("id" = String, Path, format = "uuid")),
    responses((status = 200, body = Endpoint), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn show(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Endpoint>, ApiError> {
    caller.may(Scope::Webhooks)?;
    Ok(Json(render(find(&context, caller.account, &id).await?)))
}

/// Changes an endpoint.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", operation_id = "change_webhook", tag = "webhooks", request_body = EndpointPatch,
    params(("id" = String, Path, format = "uuid")),
    responses((status = 200, body = Endpoint), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn change(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Endpoint>, ApiError> {
    caller.may(Scope::Webhooks)?;
    let found = find(&context, caller.account, &id).await?;
    let input = EndpointFields::read(&context, &body, true)?;
    let change = EndpointChange {
        url: input.url.as_deref(),
        description: input.description.as_deref(),
        event_types: input.event_types.as_deref(),
        rate_limit: input.rate_limit,
        enabled: input.enabled,
    };
    context.store.change_endpoint(caller.account, found.id, &change).await?;
    Ok(Json(render(find(&context, caller.account, &id).await?)))
}

/// Deletes an endpoint with its secrets and its deliveries. Nothing more is sent to it.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks",
    params(("id" = String, Path, format = "uuid")),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn delete(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.may(Scope::Webhooks)?;
    let deleted = context.store.delete_endpoint(caller.account, parse(&id)?).await?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(no_such()) }
}

/// Gives an endpoint a new secret. The old one also signs during the grace period, so that receivers can change over.
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate", operation_id = "rotate_webhook_secret", tag = "webhooks",
    params(("id" = String, Path, format = "uuid")), request_body = Option<SecretRotation>,
    responses(
        (status = 201, body = EndpointWithSecret),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Two secrets are valid already."),
    ))]
async fn rotate(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<EndpointWithSecret>), ApiError> {
    caller.may(Scope::Webhooks)?;
    let found = find(&context, caller.account, &id).await?;
    let mut fields = BodyFields::of_optional(&body)?;
    let grace = fields.take::<u64>("grace_hours", "a whole number of hours, 0 to 168")?.unwrap_or(DEFAULT_GRACE);
    fields.end("grace_hours")?;
    if grace > MAX_GRACE {
        return Err(ApiError::of_field("invalid_field", "grace_hours", "grace_hours must be a whole number, 0 to 168"));
    }
    match context.endpoints.rotate(caller.account, found.id, Duration::from_hours(grace)).await? {
        Ok(fresh) => Ok((StatusCode::CREATED, Json(reveal(fresh)))),
        Err(EndpointRotation::TwoLive) => {
            let detail =
                "two secrets of this endpoint are valid already: wait until the older one's grace period is over";
            Err(ApiError::conflict("two_live_secrets", None, detail))
        }
        Err(_) => Err(no_such()),
    }
}

/// Sends an event of the type `endpoint.test` to an endpoint, whatever it subscribed to.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", operation_id = "test_webhook", tag = "webhooks",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 202, body = TestSent),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The endpoint is disabled."),
    ))]
async fn test(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<TestSent>), ApiError> {
    caller.may(Scope::Webhooks)?;
    let endpoint = parse(&id)?;
    let event_id: Uuid = done(context.store.insert_test_event(caller.account, endpoint).await?)?;
    let links = TestLinks { delivery: format!("/v1/webhooks/{endpoint}/deliveries/{event_id}") };
    Ok((StatusCode::ACCEPTED, Json(TestSent { event_id: event_id.to_string(), links })))
}

/// The fields of an endpoint in a request, checked. Absent fields are `None`.
#[derive(Default)]
struct EndpointFields {
    url: Option<String>,
    description: Option<String>,
    event_types: Option<Vec<EventType>>,
    rate_limit: RateChange,
    enabled: Option<bool>,
}

impl EndpointFields {
    fn read(context: &ApiContext, body: &[u8], is_patch: bool) -> Result<Self, ApiError> {
        let mut fields = BodyFields::of(body)?;
        let input = Self {
            url: fields.take("url", "a string")?,
            description: fields.take("description", "a string")?,
            event_types: fields
                .take::<Vec<String>>("event_types", "an array of strings")?
                .map(read_types)
                .transpose()?,
            rate_limit: fields
                .take::<Option<i32>>("rate_limit", RATE)?
                .map_or(RateChange::Keep, |rate| rate.map_or(RateChange::Unlimited, RateChange::PerSecond)),
            enabled: if is_patch { fields.take("enabled", "true or false")? } else { None },
        };
        let known = "url, event_types, description, rate_limit";
        fields.end(&if is_patch { format!("{known}, enabled") } else { known.to_owned() })?;
        if let Some(url) = &input.url {
            context.endpoints.check(url).map_err(|refusal| {
                ApiError::of_field("invalid_url", "url", &format!("url is not one that we call: {refusal}"))
            })?;
            // The URL parser drops control characters, but the text is stored as it was sent.
            if url.contains(char::is_control) {
                return Err(ApiError::of_field("invalid_url", "url", "url must not contain control characters"));
            }
        }
        if let Some(description) = &input.description
            && (description.chars().count() > MAX_DESCRIPTION || description.contains('\0'))
        {
            let detail = "description must have at most 200 characters, without U+0000";
            return Err(ApiError::of_field("invalid_field", "description", detail));
        }
        if input.rate_limit.per_second().is_some_and(|rate| !(1..=MAX_RATE).contains(&rate)) {
            return Err(ApiError::of_field("invalid_field", "rate_limit", &format!("rate_limit must be {RATE}")));
        }
        Ok(input)
    }
}

fn read_types(names: Vec<String>) -> Result<Vec<EventType>, ApiError> {
    let known = || EventType::ALL.iter().map(|event| event.name()).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        let detail = format!("event_types is empty: name at least one of {}", known());
        return Err(ApiError::of_field("invalid_event_type", "event_types", &detail));
    }
    let read = |(index, name): (usize, String)| {
        EventType::parse(&name).ok_or_else(|| {
            let detail = format!("event_types[{index}] is not a type of event: use {}", known());
            ApiError::of_field("invalid_event_type", &format!("event_types[{index}]"), &detail)
        })
    };
    let types: BTreeSet<_> = names.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(types.into_iter().collect())
}

pub(super) fn parse(id: &str) -> Result<EndpointId, ApiError> {
    id.parse().map(EndpointId).map_err(|_| no_such())
}

pub(super) fn no_such() -> ApiError {
    ApiError::no_such("webhook")
}

pub(super) async fn find(context: &ApiContext, account: Account, id: &str) -> Result<EndpointView, ApiError> {
    context.store.find_endpoint(account, parse(id)?).await?.ok_or_else(no_such)
}

/// The value that was written, or why nothing was.
pub(super) fn done<T>(written: Written<T>) -> Result<T, ApiError> {
    match written {
        Written::Done(value) => Ok(value),
        Written::NoSuchEndpoint => Err(no_such()),
        Written::Disabled => {
            let detail = "this endpoint is disabled: enable it first (PATCH with enabled: true)";
            Err(ApiError::conflict("webhook_disabled", None, detail))
        }
    }
}

fn reveal(fresh: EndpointAndSecret) -> EndpointWithSecret {
    EndpointWithSecret { endpoint: render(fresh.endpoint), secret: fresh.secret }
}

fn render(endpoint: EndpointView) -> Endpoint {
    Endpoint {
        id: endpoint.id.to_string(),
        url: endpoint.url,
        description: endpoint.description,
        event_types: endpoint.event_types,
        rate_limit: endpoint.rate_limit,
        enabled: endpoint.disabled.is_none(),
        disabled_reason: endpoint.disabled,
        disabled_at: endpoint.disabled_at,
        failing_since: endpoint.failing_since,
        public_keys: endpoint.public_keys.iter().map(|key| show_public_key(key)).collect(),
        created_at: endpoint.created_at,
    }
}
