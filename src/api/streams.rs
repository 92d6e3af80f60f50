//! `GET /v1/events` and `GET /v1/jobs/{id}/events`: events as they happen (server-sent events, WHATWG HTML 9.2). A
//! client that reconnects with `Last-Event-ID` first gets the events since then, so it misses none.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::Instant;
use tracing::warn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::ApiContext;
use super::auth::Caller;
use super::error::{ApiError, Problem};
use super::feed::{Full, Listener, StreamEvent};
use crate::docs::events::Event as EventSchema;
use crate::domain::ids::JobId;
use crate::domain::tenant::{Account, Scope};
use crate::store::Store;
use crate::store::events::{Cursor, EventSpan};

/// Between two heartbeats: well below the idle time after which proxies close a connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this time and its client resumes. So a revoked key does not listen for ever.
const LIFETIME: Duration = Duration::from_mins(15);
/// How long a client waits before it resumes.
const RESUME: Duration = Duration::from_secs(1);
/// Events that one query reads for a client that resumes.
const PAGE: i64 = 100;
const DAY: Duration = Duration::from_hours(24);

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(account_events)).routes(routes!(job_events))
}

/// Streams every event of the account as it happens: server-sent events whose `data` is what webhooks get.
///
/// Ends after 15 minutes at most; resume with `Last-Event-ID`, as browsers do on their own.
#[utoipa::path(get, path = "/v1/events", operation_id = "stream_events", tag = "jobs",
    params(("Last-Event-ID" = Option<String>, Header, format = "uuid",
        description = "The events since then come first. Without it, the stream begins with the next event.")),
    responses(
        (status = 200, body = EventSchema, content_type = "text/event-stream", description = "Events, one after the other."),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 410, body = Problem, content_type = "application/problem+json",
            description = "Events since then are no longer kept. The detail names the oldest that is."),
    ))]
async fn account_events(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    caller.may(Scope::Read)?;
    open(&context, &caller, None, &headers).await
}

/// Streams every event of one job, past ones first: server-sent events whose `data` is what webhooks get.
///
/// Ends after 15 minutes at most; resume with `Last-Event-ID`, as browsers do on their own.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", operation_id = "stream_job_events", tag = "jobs",
    params(("id" = String, Path, format = "uuid", description = "The job."),
        ("Last-Event-ID" = Option<String>, Header, format = "uuid", description = "Only events since then.")),
    responses(
        (status = 200, body = EventSchema, content_type = "text/event-stream", description = "Events, one after the other."),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 410, body = Problem, content_type = "application/problem+json",
            description = "Events since then are no longer kept. The detail names the oldest that is."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job."),
    ))]
async fn job_events(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    caller.may(Scope::Read)?;
    let id = id.parse().map(JobId).map_err(|_| ApiError::no_such_job())?;
    context.store.find_job(caller.account, id).await?.ok_or_else(ApiError::no_such_job)?;
    open(&context, &caller, Some(id), &headers).await
}

async fn open(
    context: &ApiContext,
    caller: &Caller,
    job: Option<JobId>,
    headers: &HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, ApiError> {
    let (account, events_days) = (caller.account, caller.settings.events_days);
    let store = context.store.clone();
    let resumed = match last_event_id(headers)? {
        None => None,
        Some(id) => match store.find_cursor(account, id).await? {
            Some(found) => Some(found),
            None if is_older(id, store.ago(DAY * events_days).await?) => {
                return Err(gone(store.find_oldest_event(account).await?));
            }
            None => return Err(wrong_id("names no event of yours: leave it out to start from now")),
        },
    };
    let listener = context.feed.listen(account, job).await?.map_err(|full| match full {
        Full::Process => {
            let detail = "too many streams are open: try again later, or use webhooks";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail)
        }
        Full::Account => {
            let detail = "you have 100 open streams: close one, or share one";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail).after(RESUME)
        }
    })?;
    let from = resumed.or_else(|| job.map(|_| Cursor::START));
    let reading = Reading {
        store,
        account,
        job,
        missed: from.map(|from| (from, listener.from)),
        ready: VecDeque::new(),
        listener,
        until: Instant::now() + LIFETIME,
    };
    // Sent immediately, so that the client knows that the stream is open.
    let hello = stream::iter([Ok(Event::default().comment("listening").retry(RESUME))]);
    let events = hello
        .chain(stream::unfold(reading, |mut reading| async { reading.next().await.map(|event| (Ok(event), reading)) }));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Uuid>, ApiError> {
    let Some(header) = headers.get("last-event-id") else { return Ok(None) };
    let id = header.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| wrong_id("must be the id of an event"))
}

fn wrong_id(what: &str) -> ApiError {
    ApiError::of_field("invalid_last_event_id", "Last-Event-ID", &format!("Last-Event-ID {what}"))
}

/// Whether an event's id was made before `moment`. Ids are UUIDs of version 7, which begin with their time.
fn is_older(id: Uuid, moment: DateTime<Utc>) -> bool {
    let made = id.get_timestamp().map(|at| at.to_unix().0);
    made.and_then(|seconds| i64::try_from(seconds).ok()).is_some_and(|seconds| seconds < moment.timestamp())
}

fn gone(oldest: Option<Uuid>) -> ApiError {
    let oldest = oldest.map_or_else(|| "none is kept".to_owned(), |id| format!("the oldest that is kept is {id}"));
    let detail = format!(
        "events since this Last-Event-ID are no longer kept; {oldest}: read what you missed from GET /v1/jobs, then \
         leave Last-Event-ID out to start from now"
    );
    let field = Some("Last-Event-ID".to_owned());
    ApiError { field, ..ApiError::new(StatusCode::GONE, "events_expired", &detail) }
}

/// How far a stream was read.
struct Reading {
    store: Store,
    account: Account,
    job: Option<JobId>,
    /// The events between these two places must still be read.
    missed: Option<(Cursor, Cursor)>,
    ready: VecDeque<Arc<StreamEvent>>,
    listener: Listener,
    until: Instant,
}

impl Reading {
    /// The next event; none when the stream ends. Clients then resume.
    async fn next(&mut self) -> Option<Event> {
        // Checked even while catching up: a revoked key must not read for longer.
        if Instant::now() >= self.until {
            return None;
        }
        while let Some((from, to)) = self.missed
            && self.ready.is_empty()
        {
            let events = match self.job {
                None => self.store.list_account_events(self.account, EventSpan { after: from, until: to }, PAGE).await,
                Some(job) => {
                    self.store.list_job_events(self.account, job, EventSpan { after: from, until: to }, PAGE).await
                }
            };
            match events {
                Ok(events) => {
                    self.missed = events.last().map(|last| (last.cursor, to));
                    self.ready.extend(events.into_iter().filter_map(StreamEvent::of).map(Arc::new));
                }
                Err(error) => {
                    warn!(%error, "a stream ends: the database does not answer");
                    return None;
                }
            }
        }
        let event = match self.ready.pop_front() {
            Some(event) => event,
            None => tokio::time::timeout_at(self.until, self.listener.events.recv()).await.ok()??,
        };
        Some(Event::default().id(event.id.to_string()).event(&event.kind).data(&event.body))
    }
}
