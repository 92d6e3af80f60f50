//! What is told about a job, in one shape for replies and events: thin, with no image and nothing biometric in it.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::ids::{JobId, RequestId};
use super::job::{Failure, JobState, Verdict};
use super::outcome::Outcome;
use super::request::RequestFault;
use super::review::Review;

/// The facts of a job that every notice repeats.
#[derive(Debug, Clone)]
pub struct JobSummary {
    pub id: JobId,
    pub request_id: RequestId,
    pub kind: String,
    /// Submitted with a test key.
    pub sandbox: bool,
    pub metadata: BTreeMap<String, String>,
}

/// The job is stored and will run. `duplicate`: it had been submitted before under this key.
#[must_use]
pub fn accepted(summary: &JobSummary, state: JobState, duplicate: bool) -> Value {
    let mut notice = base(summary, state);
    notice["status"] = json!(Verdict::NotFinished.status());
    notice["duplicate"] = json!(duplicate);
    notice
}

/// The submission was refused and nothing was stored.
#[must_use]
pub fn rejected(fault: &RequestFault) -> Value {
    json!({ "code": fault.code, "field": fault.field, "message": fault.message })
}

/// The job has its verdict.
#[must_use]
pub fn completed(summary: &JobSummary, outcome: &Outcome) -> Value {
    let mut notice = base(summary, JobState::Succeeded);
    notice["verdict"] = json!(outcome.verdict);
    notice["status"] = json!(outcome.verdict.status());
    notice["score"] = json!(outcome.comparison.as_ref().map(|it| it.similarity.percent()));
    notice["warnings"] = json!(outcome.warnings);
    notice
}

/// A reviewer decided, or corrected what was decided: as [`completed`], with the reviewer's verdict. Neither who it was
/// nor the note is told.
#[must_use]
pub fn decided(summary: &JobSummary, outcome: Option<&Outcome>, review: &Review) -> Value {
    let mut notice = base(summary, JobState::Succeeded);
    notice["verdict"] = json!(review.choice);
    notice["status"] = json!(review.choice.verdict().status());
    notice["score"] = json!(outcome.and_then(|it| it.comparison.as_ref()).map(|it| it.similarity.percent()));
    notice["warnings"] = json!(outcome.map(|it| it.warnings.as_slice()).unwrap_or_default());
    notice["review"] = review.shown();
    notice
}

/// The job ended without a verdict, by a fault of ours.
#[must_use]
pub fn failed(summary: &JobSummary, failure: &Failure) -> Value {
    let mut notice = base(summary, JobState::Failed);
    notice["failure"] = json!(failure);
    notice
}

/// The job was erased before it ended. Repeats no metadata: they are erased, too.
#[must_use]
pub fn cancelled(summary: &JobSummary) -> Value {
    let mut notice = base(&without_metadata(summary), JobState::Cancelled);
    notice["failure"] = json!({ "code": "cancelled", "detail": "the job was erased before it ended" });
    notice
}

/// Images, result and metadata of a job are gone.
#[must_use]
pub fn erased(summary: &JobSummary, state: JobState, verdict: Option<Verdict>, at: DateTime<Utc>) -> Value {
    let mut notice = base(&without_metadata(summary), state);
    notice["verdict"] = json!(verdict);
    notice["erased_at"] = json!(at.to_rfc3339_opts(SecondsFormat::Millis, true));
    notice
}

/// What earlier notices of an erased job keep of their fields.
pub const KEPT_AFTER_ERASURE: [&str; 11] =
    ["id", "request_id", "kind", "state", "links", "sandbox", "duplicate", "verdict", "status", "failure", "review"];

fn without_metadata(summary: &JobSummary) -> JobSummary {
    JobSummary { metadata: BTreeMap::new(), ..summary.clone() }
}

fn base(summary: &JobSummary, state: JobState) -> Value {
    let mut notice = json!({
        "id": summary.id,
        "request_id": summary.request_id,
        "kind": summary.kind,
        "state": state,
        "metadata": summary.metadata,
        "links": { "self": format!("/v1/jobs/{}", summary.id) },
    });
    if summary.sandbox {
        notice["sandbox"] = json!(true);
    }
    notice
}
