//! Synchronous calls: submits a job and waits for its end without holding a database connection. If the wait ends
//! first, the answer is 202 with `Location`.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::ApiContext;
use super::auth::Caller;
use super::error::ApiError;
use super::jobs::MAX_WAIT;
use super::submit::{in_progress, mark_replayed, submit};
use crate::domain::outcome::Outcome;
use crate::domain::request::Form;
use crate::domain::tenant::Scope;
use crate::store::jobs::JobView;

/// The wait of callers that name none.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A job that a caller waited for. It has ended, or the wait has.
pub(super) struct Waited {
    pub(super) job: JobView,
    replayed: bool,
    applied: Option<String>,
}

/// Submits a job and waits for its end. The same request under the same idempotency key waits for the same job.
pub(super) async fn submit_and_wait(
    context: &ApiContext,
    caller: &Caller,
    form: Form,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Waited, ApiError> {
    // The answer holds the result, so the key must be allowed to read it.
    caller.may(Scope::Read)?;
    let prefer = Prefer::read(headers);
    let accepted = submit(context, caller, form, headers, body).await?;
    let id = accepted.summary.id;
    let find = async || context.store.find_job(caller.account, id).await?.ok_or_else(ApiError::no_such_job);
    // The job of a repeated request may have ended already.
    let found = if accepted.duplicate || prefer.wait.is_zero() { Some(find().await?) } else { None };
    let job = match found {
        Some(job) if job.is_terminal() || prefer.wait.is_zero() => job,
        _ => {
            context.waiters.wait(id, prefer.wait).await;
            find().await?
        }
    };
    Ok(Waited { job, replayed: accepted.duplicate, applied: prefer.applied })
}

impl Waited {
    /// Answers with what `render` makes of the outcome, or with why there is none.
    pub(super) fn answer(self, render: impl FnOnce(&JobView, &Outcome) -> Result<Response, ApiError>) -> Response {
        let Self { job, replayed, applied } = self;
        let mut response = if job.is_terminal() {
            let answer = outcome(&job).and_then(|outcome| render(&job, outcome));
            let of_job = |error| ApiError { request_id: Some(job.summary.request_id.clone()), ..error };
            answer.map_err(of_job).into_response()
        } else {
            in_progress(job.summary, job.state)
        };
        mark_replayed(&mut response, replayed);
        if let Some(applied) = applied.and_then(|preferences| HeaderValue::try_from(preferences).ok()) {
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
        response
    }
}

/// The outcome of a job that has ended.
///
/// # Errors
/// When the job ended without an outcome, or the outcome was erased.
pub(super) fn outcome(job: &JobView) -> Result<&Outcome, ApiError> {
    if let Some(outcome) = &job.outcome {
        return Ok(outcome);
    }
    Err(match &job.failure {
        Some(failure) if failure.code == LIVENESS_UNAVAILABLE => liveness_unavailable(),
        Some(failure) => {
            let detail = format!(
                "the job failed through a fault of ours ({}): submit it again, with a new Idempotency-Key if you sent one",
                failure.code
            );
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "processing_failed", &detail)
        }
        None => ApiError::new(StatusCode::GONE, "erased", "the job's result was erased, or it ended without one"),
    })
}

/// 503 without `Retry-After`, because only an operator can help.
pub(super) fn liveness_unavailable() -> ApiError {
    let detail = "the models in use cannot test liveness: the operator must restore `[liveness]` in their manifest \
                  (`visavis models list`). Then submit again, with a new Idempotency-Key if you sent one";
    ApiError { retry_after: None, ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, LIVENESS_UNAVAILABLE, detail) }
}

/// The failure of a job that needs a liveness model when there is none.
pub(super) const LIVENESS_UNAVAILABLE: &str = "liveness_unavailable";

/// The preferences of a caller (RFC 7240) that are honoured.
#[derive(Debug, PartialEq, Eq)]
struct Prefer {
    wait: Duration,
    /// The preferences that were honoured, for the answer.
    applied: Option<String>,
}

impl Prefer {
    /// Reads `wait=N` in seconds, at most [`MAX_WAIT`], and `respond-async`, which alone means no wait. Anything else
    /// is ignored, as the standard requires.
    fn read(headers: &HeaderMap) -> Self {
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let preferences = values.flat_map(|value| value.split(',')).map(|preference| {
            // Parameters of a preference change nothing here.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
        });
        let (mut wait, mut respond_async) = (None, false);
        for (name, value) in preferences {
            match name.as_str() {
                // The first `wait` counts.
                "wait" if wait.is_none() => wait = value.parse::<u64>().ok().map(|seconds| seconds.min(MAX_WAIT)),
                "respond-async" => respond_async = true,
                _ => {}
            }
        }
        let mut applied = Vec::new();
        if respond_async {
            applied.push("respond-async".to_owned());
        }
        if let Some(seconds) = wait {
            applied.push(format!("wait={seconds}"));
        }
        let otherwise = if respond_async { Duration::ZERO } else { DEFAULT_WAIT };
        Self {
            wait: wait.map_or(otherwise, Duration::from_secs),
            applied: (!applied.is_empty()).then(|| applied.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_as_the_standard_says() {
        for (values, wait, applied) in [
            (&[][..], 30, None),
            (&["wait=5"], 5, Some("wait=5")),
            (&["wait=0"], 0, Some("wait=0")),
            (&["wait=60"], 60, Some("wait=60")),
            (&["wait=61"], 60, Some("wait=60")),
            (&["Wait = \"7\""], 7, Some("wait=7")),
            (&["wait=soon"], 30, None),
            (&["wait=-1"], 30, None),
            (&["wait"], 30, None),
            (&["return=minimal, wait=3; x=y"], 3, Some("wait=3")),
            (&["wait=3", "wait=9"], 3, Some("wait=3")),
            (&["respond-async"], 0, Some("respond-async")),
            (&["respond-async", "wait=10"], 10, Some("respond-async, wait=10")),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", HeaderValue::from_static(value));
            }
            let expected = Prefer { wait: Duration::from_secs(wait), applied: applied.map(str::to_owned) };
            assert_eq!(Prefer::read(&headers), expected, "{values:?}");
        }
    }
}
