//! Notices about jobs and endpoints: replies to producers, and the data of events. They are thin: they hold no image
//! and nothing biometric. Each type here is both what is sent and what the documents describe.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ids::{EndpointId, JobId, RequestId};
use super::job::{Failure, JobState, Verdict};
use super::outcome::Outcome;
use super::request::RequestFault;
use super::review::{Reason, Review, ReviewDecision};
use super::tenant::Service;
use super::time::time;
use super::warning::Warning;
use super::webhook::Disabled;

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

/// A verdict in the words of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum ReportStatus {
    /// A successful match.
    Approved,
    /// A person must look at it.
    #[serde(rename = "In Review")]
    InReview,
    /// A significant discrepancy.
    Rejected,
    /// There is no verdict yet, or none could be reached: the warnings say why.
    #[serde(rename = "Not Finished")]
    NotFinished,
}

impl From<Verdict> for ReportStatus {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Approved => Self::Approved,
            Verdict::InReview => Self::InReview,
            Verdict::Rejected => Self::Rejected,
            Verdict::NotFinished => Self::NotFinished,
        }
    }
}

/// Where to read more of a job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobLinks {
    #[serde(rename = "self")]
    #[schema(examples("/v1/jobs/01a20177-fb1d-70ef-bfb0-d6924cc85f44"))]
    pub this: String,
    /// The report of a `face_match`; only in answers over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub report: Option<String>,
}

impl JobLinks {
    /// As notices have them.
    #[must_use]
    pub fn of(summary: &JobSummary) -> Self {
        Self { this: format!("/v1/jobs/{}", summary.id), report: None }
    }

    /// As answers over HTTP have them: with the report, if the kind of job has one.
    #[must_use]
    pub fn with_report(summary: &JobSummary) -> Self {
        let has_report = summary.kind == Service::FaceMatch.name();
        Self { report: has_report.then(|| format!("/v1/face-match/{}", summary.id)), ..Self::of(summary) }
    }
}

/// What every notice about a job begins with.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobHeader {
    #[schema(value_type = String, format = "uuid")]
    pub id: JobId,
    /// The 12 characters that people quote.
    #[schema(value_type = String, pattern = "^[0-9A-HJKMNP-TV-Z]{12}$", examples("43KKQCNSM6Q2"))]
    pub request_id: RequestId,
    #[schema(value_type = Service)]
    pub kind: String,
    pub state: JobState,
    /// The caller's own strings, as submitted; empty once the job was erased.
    pub metadata: BTreeMap<String, String>,
    pub links: JobLinks,
    /// Submitted with a test key; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sandbox: Option<bool>,
}

impl JobHeader {
    fn of(summary: &JobSummary, state: JobState) -> Self {
        Self {
            id: summary.id,
            request_id: summary.request_id.clone(),
            kind: summary.kind.clone(),
            state,
            metadata: summary.metadata.clone(),
            links: JobLinks::of(summary),
            sandbox: summary.sandbox.then_some(true),
        }
    }

    /// Without the metadata, which are erased with the job.
    fn of_erased(summary: &JobSummary, state: JobState) -> Self {
        Self { metadata: BTreeMap::new(), ..Self::of(summary, state) }
    }
}

/// The job is stored and will run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Accepted)]
pub struct AcceptedNotice {
    #[serde(flatten)]
    pub job: JobHeader,
    pub status: ReportStatus,
    /// The job was submitted before under this idempotency key: nothing new was stored.
    pub duplicate: bool,
}

/// The submission was refused and nothing was stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rejected)]
pub struct RejectedNotice<'a> {
    /// Stable, for programs.
    #[schema(examples("missing_field"))]
    pub code: &'a str,
    /// The field at fault, as a path.
    #[schema(required, examples("request.photo"))]
    pub field: Option<&'a str>,
    /// For people: what is wrong, and what to do.
    pub message: &'a str,
}

/// The job has its verdict.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Completed)]
pub struct CompletedNotice {
    #[serde(flatten)]
    pub job: JobHeader,
    #[serde(flatten)]
    pub finding: VerdictNotice,
}

/// A reviewer decided, or corrected an earlier decision. Neither the reviewer nor the note is named.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decided)]
pub struct DecidedNotice {
    #[serde(flatten)]
    pub job: JobHeader,
    /// The reviewer's verdict.
    #[serde(flatten)]
    pub finding: VerdictNotice,
    pub review: JobReview,
}

/// A verdict and what it rests on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VerdictOfJob)]
pub struct VerdictNotice {
    pub verdict: Verdict,
    pub status: ReportStatus,
    /// Similarity in percent; null if no two faces could be compared. Absent once the job was erased.
    #[schema(required = false, minimum = 0.0, maximum = 100.0)]
    pub score: Option<f64>,
    /// Absent once the job was erased.
    #[schema(required = false)]
    pub warnings: Vec<Warning>,
}

impl VerdictNotice {
    fn of(verdict: Verdict, outcome: Option<&Outcome>) -> Self {
        let comparison = outcome.and_then(|outcome| outcome.comparison.as_ref());
        Self {
            verdict,
            status: verdict.into(),
            score: comparison.map(|comparison| comparison.similarity.percent()),
            warnings: outcome.map(|outcome| outcome.warnings.clone()).unwrap_or_default(),
        }
    }
}

/// What a reviewer decided.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobReview {
    #[schema(inline)]
    pub decision: ReviewDecision,
    /// Chosen from the desk's list. The reviewer's note is not included.
    pub reasons: Vec<Reason>,
    /// The later of two reviews of a job has the higher revision. The first one need not be 1.
    #[schema(minimum = 1)]
    pub revision: i32,
    #[schema(format = "date-time")]
    pub decided_at: String,
}

impl From<&Review> for JobReview {
    fn from(review: &Review) -> Self {
        Self {
            decision: review.choice,
            reasons: review.reasons.clone(),
            revision: review.revision,
            decided_at: time(review.decided_at),
        }
    }
}

/// The job ended without a verdict, through a fault of ours or because it was erased before it ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failed)]
pub struct FailedNotice {
    #[serde(flatten)]
    pub job: JobHeader,
    pub failure: Failure,
}

/// Images, result and metadata of a job were erased.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erased)]
pub struct ErasedNotice {
    #[serde(flatten)]
    pub job: JobHeader,
    /// The verdict, which stays; null if the job ended without one.
    #[schema(required)]
    pub verdict: Option<Verdict>,
    #[schema(format = "date-time")]
    pub erased_at: String,
}

/// Another endpoint of the account gets no more deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointDisabled)]
pub struct DisabledNotice {
    #[schema(value_type = String, format = "uuid")]
    pub endpoint_id: EndpointId,
    /// `gone`: it answered 410. `failing`: nothing arrived for too long.
    pub reason: &'static str,
    pub links: EndpointLinks,
}

/// Where to read the endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointLinks {
    #[serde(rename = "self")]
    pub this: String,
}

/// A test, sent because the owner of the endpoint asked for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointTest)]
pub struct TestNotice {
    #[schema(value_type = String, format = "uuid")]
    pub endpoint_id: EndpointId,
}

/// The job is stored and will run. `duplicate`: it was submitted before under this key.
#[must_use]
pub fn accepted(summary: &JobSummary, state: JobState, duplicate: bool) -> Value {
    json(&AcceptedNotice { job: JobHeader::of(summary, state), status: ReportStatus::NotFinished, duplicate })
}

/// The submission was refused and nothing was stored.
#[must_use]
pub fn rejected(fault: &RequestFault) -> Value {
    json(&RejectedNotice { code: fault.code, field: fault.field.as_deref(), message: &fault.message })
}

/// The job has its verdict.
#[must_use]
pub fn completed(summary: &JobSummary, outcome: &Outcome) -> Value {
    let job = JobHeader::of(summary, JobState::Succeeded);
    json(&CompletedNotice { job, finding: VerdictNotice::of(outcome.verdict, Some(outcome)) })
}

/// A reviewer decided, or corrected an earlier decision.
#[must_use]
pub fn decided(summary: &JobSummary, outcome: Option<&Outcome>, review: &Review) -> Value {
    let finding = VerdictNotice::of(review.choice.verdict(), outcome);
    json(&DecidedNotice { job: JobHeader::of(summary, JobState::Succeeded), finding, review: review.into() })
}

/// The job ended without a verdict, through a fault of ours.
#[must_use]
pub fn failed(summary: &JobSummary, failure: &Failure) -> Value {
    json(&FailedNotice { job: JobHeader::of(summary, JobState::Failed), failure: failure.clone() })
}

/// The job was erased before it ended.
#[must_use]
pub fn cancelled(summary: &JobSummary) -> Value {
    let failure = Failure { code: "cancelled".to_owned(), detail: "the job was erased before it ended".to_owned() };
    json(&FailedNotice { job: JobHeader::of_erased(summary, JobState::Cancelled), failure })
}

/// Images, result and metadata of a job were erased.
#[must_use]
pub fn erased(summary: &JobSummary, state: JobState, verdict: Option<Verdict>, at: DateTime<Utc>) -> Value {
    json(&ErasedNotice { job: JobHeader::of_erased(summary, state), verdict, erased_at: time(at) })
}

/// An endpoint gets no more deliveries.
#[must_use]
pub fn disabled(endpoint_id: EndpointId, why: Disabled) -> Value {
    let links = EndpointLinks { this: format!("/v1/webhooks/{endpoint_id}") };
    json(&DisabledNotice { endpoint_id, reason: why.name(), links })
}

/// The owner of an endpoint asked for a test.
#[must_use]
pub fn test(endpoint_id: EndpointId) -> Value {
    json(&TestNotice { endpoint_id })
}

/// The fields that notices keep once their job was erased.
pub const KEPT_AFTER_ERASURE: [&str; 11] =
    ["id", "request_id", "kind", "state", "links", "sandbox", "duplicate", "verdict", "status", "failure", "review"];

/// A notice as JSON. This cannot fail, because all keys are strings.
fn json(notice: &impl Serialize) -> Value {
    serde_json::to_value(notice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::{self, Evidence};

    fn summary(sandbox: bool) -> JobSummary {
        JobSummary {
            id: JobId("01a20177-fb1d-70ef-bfb0-d6924cc85f44".parse().unwrap()),
            request_id: RequestId::from_bits(7),
            kind: "face_match".to_owned(),
            sandbox,
            metadata: BTreeMap::from([("case".to_owned(), "7".to_owned())]),
        }
    }

    fn outcome() -> Outcome {
        let params = json!({ "kind": "likeness_check", "threshold": 0.75, "mode": "FAST" });
        policy::decide(serde_json::from_value(params).unwrap(), Evidence::default())
    }

    fn names(notice: &Value) -> Vec<&str> {
        notice.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn an_accepted_job_is_described_field_by_field() {
        let id = "01a20177-fb1d-70ef-bfb0-d6924cc85f44";
        let expected = json!({
            "id": id,
            "request_id": RequestId::from_bits(7),
            "kind": "face_match",
            "state": "queued",
            "metadata": { "case": "7" },
            "links": { "self": format!("/v1/jobs/{id}") },
            "status": "Not Finished",
            "duplicate": false,
        });
        assert_eq!(accepted(&summary(false), JobState::Queued, false).to_string(), expected.to_string());
    }

    #[test]
    fn every_notice_has_its_fields_in_their_order() {
        const HEADER: [&str; 7] = ["id", "request_id", "kind", "state", "metadata", "links", "sandbox"];
        let (summary, outcome) = (summary(true), outcome());
        let review = Review {
            choice: ReviewDecision::Approved,
            reasons: vec![Reason::Aged],
            revision: 2,
            decided_at: DateTime::UNIX_EPOCH,
        };
        let failure = Failure { code: "gone".to_owned(), detail: "it went".to_owned() };
        let verdict = ["verdict", "status", "score", "warnings"];
        for (notice, rest) in [
            (accepted(&summary, JobState::Queued, true), &["status", "duplicate"][..]),
            (completed(&summary, &outcome), &verdict),
            (decided(&summary, None, &review), &["verdict", "status", "score", "warnings", "review"]),
            (failed(&summary, &failure), &["failure"]),
            (cancelled(&summary), &["failure"]),
            (erased(&summary, JobState::Failed, None, DateTime::UNIX_EPOCH), &["verdict", "erased_at"]),
        ] {
            assert_eq!(names(&notice), [&HEADER[..], rest].concat(), "{notice}");
        }
        let review = &decided(&summary, None, &review)["review"];
        assert_eq!(
            review.to_string(),
            r#"{"decision":"approved","reasons":["aged"],"revision":2,"decided_at":"1970-01-01T00:00:00.000Z"}"#
        );
        let fault = RequestFault { code: "missing_field", field: None, message: "photo is required".to_owned() };
        assert_eq!(
            rejected(&fault).to_string(),
            r#"{"code":"missing_field","field":null,"message":"photo is required"}"#
        );
    }

    #[test]
    fn notices_of_an_erased_job_repeat_no_metadata() {
        for notice in [
            cancelled(&summary(false)),
            erased(&summary(false), JobState::Succeeded, Some(Verdict::Approved), DateTime::UNIX_EPOCH),
        ] {
            assert_eq!(notice["metadata"], json!({}), "{notice}");
        }
    }
}
