//! Takes a request of any form to `intake`, and answers that its job was accepted.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApiContext;
use super::auth::Caller;
use super::error::ApiError;
use crate::domain::job::{JobState, Lane};
use crate::domain::notice::{JobLinks, JobSummary, ReportStatus};
use crate::domain::request::Form;
use crate::domain::tenant::Scope;
use crate::intake::{AcceptedJob, SubmissionContext};

/// Says that the same request was answered before under the same idempotency key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The job is stored and will run.
#[derive(Serialize, ToSchema)]
pub(super) struct Submitted {
    id: Uuid,
    /// 12 characters for people to quote.
    request_id: String,
    kind: String,
    /// The state when the job was accepted. `links.self` has its state now.
    state: JobState,
    /// `Not Finished`, in the words of the report.
    status: ReportStatus,
    metadata: BTreeMap<String, String>,
    links: JobLinks,
    /// Submitted with a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

/// Submits a request. Callers over HTTP usually wait for the result, so a request that names no lane goes to the
/// lane `interactive`.
pub(super) async fn submit(
    context: &ApiContext,
    caller: &Caller,
    form: Form,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<AcceptedJob, ApiError> {
    caller.may(Scope::Submit)?;
    let key = headers.get("idempotency-key").map(|value| {
        value.to_str().map_err(|_| {
            ApiError::of_field(
                "invalid_idempotency_key",
                "Idempotency-Key",
                "Idempotency-Key must be ASCII text of 1 to 255 characters",
            )
        })
    });
    let origin = SubmissionContext {
        account: caller.account,
        settings: &caller.settings,
        form,
        idempotency_key: key.transpose()?,
        reply: None,
        lane: Lane::Interactive,
    };
    let accepted = context.intake.submit(origin, body).await?;
    caller.body_taken_in();
    Ok(accepted)
}

/// The answer to a submission and to every repetition of it.
pub(super) fn accepted(accepted: AcceptedJob) -> Response {
    let (replayed, summary) = (accepted.duplicate, accepted.summary);
    let mut response = in_progress(summary, JobState::Queued);
    mark_replayed(&mut response, replayed);
    response
}

/// 202: the job exists, but its result does not yet.
pub(super) fn in_progress(summary: JobSummary, state: JobState) -> Response {
    let links = JobLinks::with_report(&summary);
    let location = [(header::LOCATION, links.this.clone())];
    let submitted = Submitted {
        id: summary.id.0,
        request_id: summary.request_id.to_string(),
        kind: summary.kind,
        state,
        status: ReportStatus::NotFinished,
        metadata: summary.metadata,
        links,
        sandbox: summary.sandbox,
    };
    (StatusCode::ACCEPTED, location, Json(submitted)).into_response()
}

pub(super) fn mark_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
}
