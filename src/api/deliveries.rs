//! The delivery ledger of a webhook endpoint: deliveries, their attempts, and replays.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::body::{BodyFields, JsonBody};
use super::error::{ApiError, Problem};
use super::list::{PageLinks, read, read_limit};
use super::webhooks::{done, find, no_such, parse};
use crate::domain::ids::EndpointId;
use crate::domain::tenant::Scope;
use crate::store::delivery_ledger::{AttemptView, DeliveryView, Replay};

/// The longest time whose events one replay may take. All its events are counted first, which must not take long.
const LONGEST_REPLAY: TimeDelta = TimeDelta::days(31);
/// The most deliveries that one call replays.
const MAX_REPLAY: i64 = 10_000;
/// Bytes.
const MAX_BODY: usize = 64 << 10;
const STATES: [&str; 3] = ["pending", "delivered", "failed"];

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(replay))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// The delivery of one event to one endpoint.
#[derive(Serialize, ToSchema)]
struct Delivery {
    /// The `webhook-id` that the endpoint sees.
    #[schema(format = "uuid")]
    event_id: String,
    #[serde(rename = "type")]
    kind: String,
    /// `pending`, `delivered` or `failed`.
    status: String,
    /// Attempts since the delivery began or was last replayed.
    attempts: i32,
    /// When the next attempt is due; null once the delivery has ended.
    next_attempt_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    links: DeliveryLinks,
}

#[derive(Serialize, ToSchema)]
struct DeliveryLinks {
    #[serde(rename = "self")]
    this: String,
}

#[derive(Serialize, ToSchema)]
struct DeliveryList {
    deliveries: Vec<Delivery>,
    links: PageLinks,
}

/// An attempt of a delivery.
#[derive(Serialize, ToSchema)]
struct DeliveryAttempt {
    at: DateTime<Utc>,
    duration_ms: i32,
    /// The HTTP status of the answer; null if there was no answer.
    status: Option<i16>,
    /// Why there was no answer: `timeout`, `no_connection`, `broken_off`, `refused_target`, `no_secret`,
    /// `malformed_header`.
    error: Option<String>,
    /// The first 1,024 bytes of the answer, as text.
    answer: String,
}

/// A delivery with all its attempts, oldest first, including those before a replay.
#[derive(Serialize, ToSchema)]
struct DeliveryWithAttempts {
    #[serde(flatten)]
    delivery: Delivery,
    history: Vec<DeliveryAttempt>,
}

/// Which deliveries, and how many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveriesQuery {
    /// Deliveries on a page, 1 to 100. Default: 20.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// Where the page begins: take it from `links.next` of the previous page.
    cursor: Option<String>,
    /// `pending`, `delivered` or `failed`.
    status: Option<String>,
}

/// What to deliver again. Send exactly one of `event_id`, `failed`, and `since` with `until`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API's document alone")]
struct ReplayRequest {
    /// One delivery.
    #[schema(format = "uuid", nullable = false)]
    event_id: Option<String>,
    /// `true`: every delivery that failed, at most 10,000 in one call.
    #[schema(nullable = false)]
    failed: Option<bool>,
    /// Every event from this time on that the endpoint subscribes to, whether delivered before or not.
    #[schema(format = DateTime, nullable = false)]
    since: Option<String>,
    /// Only events before this time.
    #[schema(format = DateTime, nullable = false)]
    until: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Replayed {
    /// Number of deliveries that start again. Pending ones go on as they are.
    replayed: u64,
}

/// Lists the deliveries of an endpoint by page, newest event first.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", operation_id = "list_deliveries", tag = "webhooks",
    params(("id" = String, Path, format = "uuid"), DeliveriesQuery),
    responses((status = 200, body = DeliveryList),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    page: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Result<Json<DeliveryList>, ApiError> {
    caller.may(Scope::Webhooks)?;
    let endpoint = find(&context, caller.account, &id).await?.id;
    let Ok(Query(page)) = page else {
        let detail = "the query takes only limit, cursor and status, each at most once";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail));
    };
    let limit = read_limit(page.limit.as_ref())?;
    let cursor =
        read(page.cursor.as_ref(), "invalid_cursor", "cursor", "the one in links.next of the previous page", |text| {
            text.parse::<Uuid>().ok()
        })?;
    let state = |name: &str| STATES.contains(&name).then(|| name.to_owned());
    let status = read(page.status.as_ref(), "invalid_status", "status", "pending, delivered or failed", state)?;
    let store = context.store.for_reads();
    // One more than asked for shows whether there is a next page.
    let fetched = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut found = store.list_deliveries(caller.account, endpoint, status.as_deref(), cursor, fetched).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| {
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair("cursor", &last.event_id.to_string());
        if let Some(status) = &status {
            query.append_pair("status", status);
        }
        format!("/v1/webhooks/{endpoint}/deliveries?{}", query.finish())
    });
    let deliveries = found.into_iter().map(|delivery| render(endpoint, delivery)).collect();
    Ok(Json(DeliveryList { deliveries, links: PageLinks { next } }))
}

/// Reads a delivery with all its attempts.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries/{event_id}", operation_id = "get_delivery", tag = "webhooks",
    params(("id" = String, Path, format = "uuid"), ("event_id" = String, Path, format = "uuid")),
    responses((status = 200, body = DeliveryWithAttempts),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn show(
    State(context): State<ApiContext>,
    caller: Caller,
    Path((id, event_id)): Path<(String, String)>,
) -> Result<Json<DeliveryWithAttempts>, ApiError> {
    caller.may(Scope::Webhooks)?;
    let endpoint = parse(&id)?;
    let event_id: Uuid = event_id.parse().map_err(|_| no_such())?;
    let store = &context.store;
    let found = store.find_delivery(caller.account, endpoint, event_id).await?.ok_or_else(no_such)?;
    let history = store.list_attempts(caller.account, endpoint, event_id).await?;
    let history = history.into_iter().map(DeliveryAttempt::from).collect();
    Ok(Json(DeliveryWithAttempts { delivery: render(endpoint, found), history }))
}

/// Delivers again, with a fresh retry schedule: one delivery, all that failed, or the events of a time.
#[utoipa::path(post, path = "/v1/webhooks/{id}/replay", operation_id = "replay_deliveries", tag = "webhooks", request_body = ReplayRequest,
    params(("id" = String, Path, format = "uuid")),
    responses((status = 202, body = Replayed),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The endpoint is disabled.")))]
async fn replay(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Replayed>), ApiError> {
    caller.may(Scope::Webhooks)?;
    let endpoint = find(&context, caller.account, &id).await?.id;
    let which = read_replay(&body)?;
    let store = &context.store;
    match which {
        Replay::One(event_id) if store.find_delivery(caller.account, endpoint, event_id).await?.is_none() => {
            return Err(no_such().at("event_id"));
        }
        Replay::Between(since, until) => {
            let count = store.count_replayable(caller.account, endpoint, since, until, MAX_REPLAY + 1).await?;
            if count > MAX_REPLAY {
                let detail = "there are more than 10,000 events between since and until: choose a shorter time";
                return Err(ApiError::of_field("too_many_events", "until", detail));
            }
        }
        _ => {}
    }
    let replayed = done(store.replay(caller.account, endpoint, which, MAX_REPLAY).await?)?;
    Ok((StatusCode::ACCEPTED, Json(Replayed { replayed })))
}

fn read_replay(body: &[u8]) -> Result<Replay, ApiError> {
    const TIME: &str = "an RFC 3339 time such as 2026-01-31T08:00:00Z";
    let mut fields = BodyFields::of(body)?;
    let event_id: Option<Uuid> = fields.take("event_id", "the id of an event")?;
    let failed: Option<bool> = fields.take("failed", "true")?;
    let since: Option<DateTime<Utc>> = fields.take("since", TIME)?;
    let until: Option<DateTime<Utc>> = fields.take("until", TIME)?;
    fields.end("event_id, failed, since, until")?;
    match (event_id, failed, since, until) {
        (Some(event_id), None, None, None) => Ok(Replay::One(event_id)),
        (None, Some(true), None, None) => Ok(Replay::Failed),
        (None, None, Some(since), Some(until)) if until > since + LONGEST_REPLAY => {
            Err(ApiError::of_field("invalid_field", "until", "until must be at most 31 days after since"))
        }
        (None, None, Some(since), Some(until)) if since < until => Ok(Replay::Between(since, until)),
        (None, None, Some(_), Some(_)) => {
            Err(ApiError::of_field("invalid_field", "until", "until must be later than since"))
        }
        (None, None, Some(_), None) => {
            Err(ApiError::of_field("missing_field", "until", "until is missing: send it together with since"))
        }
        (None, None, None, Some(_)) => {
            Err(ApiError::of_field("missing_field", "since", "since is missing: send it together with until"))
        }
        (None, Some(false), None, None) => Err(ApiError::of_field("invalid_field", "failed", "failed must be true")),
        _ => {
            let detail = "send exactly one of event_id, failed (true), and since with until";
            Err(ApiError::of_field("ambiguous_replay", "event_id", detail))
        }
    }
}

fn render(endpoint: EndpointId, delivery: DeliveryView) -> Delivery {
    Delivery {
        links: DeliveryLinks { this: format!("/v1/webhooks/{endpoint}/deliveries/{}", delivery.event_id) },
        event_id: delivery.event_id.to_string(),
        kind: delivery.kind,
        next_attempt_at: delivery.finished_at.is_none().then_some(delivery.next_at),
        status: delivery.state,
        attempts: delivery.attempts,
        created_at: delivery.created_at,
        finished_at: delivery.finished_at,
    }
}

impl From<AttemptView> for DeliveryAttempt {
    fn from(attempt: AttemptView) -> Self {
        let AttemptView { at, duration_ms, status, error, answer } = attempt;
        Self { at, duration_ms, status, error, answer }
    }
}
