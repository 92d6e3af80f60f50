//! The way from a request to `intake`, one for every form, and the answer that a job was accepted.

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
use crate::domain::job::{JobState, Lane, Verdict};
use crate::domain::notice::JobSummary;
use crate::domain::request::Form;
use crate::domain::tenant::{Scope, Service};
use crate::intake::{AcceptedJob, SubmissionContext};

/// Says that an answer was given before, to the same request under the same idempotency key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The job is stored and will run.
#[derive(Serialize, ToSchema)]
pub(super) struct Submitted {
    id: Uuid,
    /// 12 characters to quote.
    request_id: String,
    kind: String,
    /// As the job was accepted: its state now is at `links.self`.
    state: JobState,
    /// `Not Finished`, in the words of the report.
    status: &'static str,
    metadata: BTreeMap<String, String>,
    links: Links,
    /// Submitted with a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

/// Where to read more of a job.
#[derive(Serialize, ToSchema)]
pub(super) struct Links {
    #[serde(rename = "self")]
    this: String,
    /// Of a `face_match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

impl Links {
    pub(super) fn of(summary: &JobSummary) -> Self {
        let is_report = summary.kind == Service::FaceMatch.name();
        Self {
            this: format!("/v1/jobs/{}", summary.id),
            report: is_report.then(|| format!("/v1/face-match/{}", summary.id)),
        }
    }
}

/// Takes a request in.
pub(super) async fn submit(
    context: &ApiContext,
    caller: &Caller,
    (form, lane): (Form, Lane),
    headers: &HeaderMap,
    body: Bytes,
) -> Result<AcceptedJob, ApiError> {
    caller.may(Scope::Submit)?;
    let key = headers.get("idempotency-key").map(|value| {
        value.to_str().map_err(|_| {
            ApiError::of_field("invalid_idempotency_key", "Idempotency-Key", "Idempotency-Key must be ASCII text")
        })
    });
    let origin = SubmissionContext {
        account: caller.account,
        settings: &caller.settings,
        form,
        idempotency_key: key.transpose()?,
        reply: None,
        lane,
    };
    let accepted = context.intake.submit(origin, body).await?;
    caller.body_taken_in();
    Ok(accepted)
}

/// The first answer to a submission, and to every repetition of it.
pub(super) fn accepted(accepted: AcceptedJob) -> Response {
    let (replayed, summary) = (accepted.duplicate, accepted.summary);
    let mut response = in_progress(summary, JobState::Queued);
    mark_replayed(&mut response, replayed);
    response
}

/// 202: the job is there, its result is not.
pub(super) fn in_progress(summary: JobSummary, state: JobState) -> Response {
    let links = Links::of(&summary);
    let location = [(header::LOCATION, links.this.clone())];
    let submitted = Submitted {
        id: summary.id.0,
        request_id: summary.request_id.to_string(),
        kind: summary.kind,
        state,
        status: Verdict::NotFinished.status(),
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
