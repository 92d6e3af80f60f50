//! `POST /v1/face/id-match/`: is the person on the selfie the holder of this identity number?

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde::Serialize;
use serde_json::Value;
use tracing::error;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::api::ApiContext;
use crate::api::auth::Caller;
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, Problem};
use crate::api::submit::Submitted;
use crate::api::sync::submit_and_wait;
use crate::domain::evidence::{Similarity, Threshold};
use crate::domain::ids::{JobId, RequestId};
use crate::domain::image::ImageRole;
use crate::domain::job::{JobParams, Verdict};
use crate::domain::outcome::{ImageFinding, Outcome};
use crate::domain::policy;
use crate::domain::request::Form;
use crate::domain::tenant::Account;
use crate::domain::warning::Risk;
use crate::keys::WrappedKey;
use crate::store::jobs::JobView;
use crate::store::sealed::SealPurpose;

pub(super) const PATH: &str = "/v1/face/id-match/";
pub(super) const PATH_WITHOUT_SLASH: &str = "/v1/face/id-match";

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    let limit = DefaultBodyLimit::max(Form::IdMatch.max_body());
    OpenApiRouter::new().routes(routes!(check)).route(PATH_WITHOUT_SLASH, post(check)).layer(limit)
}

/// A selfie and an identity number. Unknown fields are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's document alone")]
struct IdMatchRequest {
    /// One face: a JPEG, PNG or WebP in Base64 or as a data URL, at most 10 MB once decoded, at least 224 x 224 pixels.
    #[schema(min_length = 1)]
    selfie: String,
    #[schema(min_length = 1, max_length = 64)]
    id_number: String,
    /// `nin`, `BVN`, `vnin`, `drivers_license` or `passport`, in upper or lower case.
    #[schema(example = "BVN")]
    id_type: String,
    /// 0.85 strict, 0.75 balanced, 0.60 permissive.
    #[schema(minimum = 0.0, maximum = 1.0)]
    threshold: Option<f64>,
}

/// The envelope of every answer.
#[derive(Serialize, ToSchema)]
struct IdMatchEnvelope {
    /// Whether the call reached a result. The result itself is in `data.match_result`.
    success: bool,
    /// `SUCCESS`, or the code of an error.
    code: &'static str,
    message: String,
    /// Always `ID_FACE_MATCH`.
    verification_type: &'static str,
    data: Option<IdMatchData>,
    meta: Meta,
}

#[derive(Serialize, ToSchema)]
struct Meta {
    /// 12 characters for people to quote.
    request_id: String,
    /// The result is made up, because the API key is a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

#[derive(Serialize, ToSchema)]
struct IdMatchData {
    /// `CONFIRMED` or `MISMATCH`.
    match_result: &'static str,
    confidence: Confidence,
    /// The full record of the identity source; null once it was erased.
    identity: Value,
    details: Details,
}

#[derive(Serialize, ToSchema)]
struct Confidence {
    /// In [0, 1], rounded to 2 decimals.
    score: f64,
    #[schema(value_type = f64)]
    threshold: Threshold,
    /// `STRONG_MATCH`, `MATCH` or `NO_MATCH`.
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Details {
    /// `MATCH_SUCCESS` or `SCORE_BELOW_THRESHOLD`.
    reason_code: &'static str,
    /// A sentence for an audit log.
    remarks: String,
}

/// Compares a selfie with the portrait that the identity source has for a number, while the caller waits.
#[utoipa::path(post, path = PATH, operation_id = "match_id", tag = "ID face match", request_body = IdMatchRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters. The same key and body get the same answer again."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: seconds to wait for the result, 0 to 60. Default: 30.")),
    responses(
        (status = 200, body = IdMatchEnvelope),
        (status = 202, body = Submitted, description = "The wait ended first: read the job at `Location`."),
        (status = 400, body = IdMatchEnvelope, description = "VALIDATION_ERROR, INVALID_THRESHOLD, INVALID_THRESHOLD_RANGE, INVALID_INPUT"),
        (status = 401, body = IdMatchEnvelope, description = "UNAUTHORIZED"),
        (status = 402, body = IdMatchEnvelope, description = "INSUFFICIENT_FUNDS"),
        (status = 403, body = IdMatchEnvelope, description = "FORBIDDEN, SUBSCRIPTION_REQUIRED"),
        (status = 404, body = IdMatchEnvelope, description = "ID_NOT_FOUND"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 410, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = IdMatchEnvelope, description = "LANDMARKS_NOT_FOUND"),
        (status = 429, body = IdMatchEnvelope, description = "RATE_LIMITED"),
        (status = 500, body = IdMatchEnvelope, description = "SERVICE_ERROR")))]
async fn check(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let waited = submit_and_wait(&context, &caller, Form::IdMatch, &headers, body).await?;
    let compared = waited.job.outcome.as_ref().is_some_and(|outcome| outcome.comparison.is_some());
    let identity =
        if compared { identity(&context, caller.account, waited.job.summary.id).await? } else { Value::Null };
    Ok(waited.answer(|job, outcome| render(job, outcome, identity)))
}

/// The record from the identity source; null once it was erased.
async fn identity(context: &ApiContext, account: Account, id: JobId) -> Result<Value, ApiError> {
    let tenant_id = account.tenant_id;
    let record = context.store.find_sealed(tenant_id, id, SealPurpose::Identity).await?;
    let Some(record) = record else { return Ok(Value::Null) };
    let unreadable = |why: &dyn std::fmt::Display| {
        error!(job = %id, %why, "an identity record cannot be read");
        ApiError::internal()
    };
    let key = WrappedKey { master_key_id: record.master_key_id, wrapped: record.wrapped_key };
    let place = SealPurpose::Identity.place(tenant_id, id);
    let plain = context.intake.media.keyring().open(&place, &key, record.sealed).map_err(|why| unreadable(&why))?;
    // The error of the parser might quote the record, so it is dropped.
    serde_json::from_slice(&plain).map_err(|_| unreadable(&"it is not JSON"))
}

fn render(job: &JobView, outcome: &Outcome, identity: Value) -> Result<Response, ApiError> {
    let JobParams::IdMatch { threshold, .. } = outcome.params else { return Err(ApiError::no_such_job()) };
    let Some(comparison) = &outcome.comparison else { return Err(unusable(outcome)) };
    let data = explain(comparison.similarity, threshold, outcome.verdict == Verdict::Approved, identity);
    let envelope = IdMatchEnvelope {
        success: true,
        code: "SUCCESS",
        message: "The ID face match was completed.".to_owned(),
        verification_type: VERIFICATION_TYPE,
        data: Some(data),
        meta: Meta { request_id: job.summary.request_id.to_string(), sandbox: job.summary.sandbox },
    };
    Ok(Json(envelope).into_response())
}

const VERIFICATION_TYPE: &str = "ID_FACE_MATCH";

/// Explains the verdict, which is given. All comparisons use the unrounded score.
fn explain(similarity: Similarity, threshold: Threshold, confirmed: bool, identity: Value) -> IdMatchData {
    let (score, limit) = (similarity.get(), threshold.get());
    let (match_result, status, reason_code, remarks) = if confirmed {
        let status = if policy::is_strong_match(similarity) { "STRONG_MATCH" } else { "MATCH" };
        let remarks = format!(
            "The face on the selfie matches the photo on record for this ID number: the score {score:.4} meets the threshold {limit:.4}."
        );
        ("CONFIRMED", status, "MATCH_SUCCESS", remarks)
    } else {
        let remarks = format!(
            "The face on the selfie does not match the photo on record for this ID number: the score {score:.4} is below the threshold {limit:.4}."
        );
        ("MISMATCH", "NO_MATCH", "SCORE_BELOW_THRESHOLD", remarks)
    };
    let confidence = Confidence { score: (score * 1e2).round() / 1e2, threshold, status };
    IdMatchData { match_result, confidence, identity, details: Details { reason_code, remarks } }
}

/// Why there is no comparison.
fn unusable(outcome: &Outcome) -> ApiError {
    if outcome.has(Risk::IdNotFound) {
        let detail = "the source of this ID type has no photo for this number";
        return ApiError::new(StatusCode::NOT_FOUND, "id_not_found", detail);
    }
    if let Some(ImageFinding::Unreadable { reason, .. }) = outcome.image(ImageRole::Probe, 0).map(|report| &report.seen)
    {
        return ApiError::of_field("invalid_image", outcome.params.field(ImageRole::Probe), reason);
    }
    let without_face = [ImageRole::Probe, ImageRole::Reference].into_iter().filter(|role| {
        let report = outcome.image(*role, 0);
        report.is_some_and(|report| report.seen.faces() == 0)
    });
    let names: Vec<_> =
        without_face.map(|role| if role == ImageRole::Probe { "selfie" } else { "photo on record" }).collect();
    let place = if names.is_empty() { "images".to_owned() } else { names.join(" and the ") };
    let detail = format!("no face was detected in the {place}");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "landmarks_not_found", &detail)
}

/// The error in this product's shape, for the statuses that it knows.
pub(super) fn translate(error: &ApiError) -> Option<(StatusCode, Value)> {
    let (status, code) = match (error.status, error.code) {
        (StatusCode::BAD_REQUEST, "invalid_threshold") => (error.status, "INVALID_THRESHOLD"),
        (StatusCode::BAD_REQUEST, "threshold_out_of_range") => (error.status, "INVALID_THRESHOLD_RANGE"),
        (StatusCode::BAD_REQUEST, "invalid_type" | "invalid_base64") => (error.status, "INVALID_INPUT"),
        (StatusCode::BAD_REQUEST, _) => (error.status, "VALIDATION_ERROR"),
        (StatusCode::UNAUTHORIZED, _) => (error.status, "UNAUTHORIZED"),
        (StatusCode::PAYMENT_REQUIRED, _) => (error.status, "INSUFFICIENT_FUNDS"),
        (StatusCode::FORBIDDEN, "subscription_required") => (error.status, "SUBSCRIPTION_REQUIRED"),
        (StatusCode::FORBIDDEN, _) => (error.status, "FORBIDDEN"),
        (StatusCode::NOT_FOUND, "id_not_found") => (error.status, "ID_NOT_FOUND"),
        (StatusCode::UNPROCESSABLE_ENTITY, _) => (error.status, "LANDMARKS_NOT_FOUND"),
        (StatusCode::TOO_MANY_REQUESTS, _) => (error.status, "RATE_LIMITED"),
        // That product's clients know only this status for faults of the server.
        (status, _) if status.is_server_error() => (StatusCode::INTERNAL_SERVER_ERROR, "SERVICE_ERROR"),
        _ => return None,
    };
    let request_id = error.request_id.clone().unwrap_or_else(|| RequestId::from_bits(rand::random()));
    let envelope = IdMatchEnvelope {
        success: false,
        code,
        message: error.detail.clone(),
        verification_type: VERIFICATION_TYPE,
        data: None,
        meta: Meta { request_id: request_id.to_string(), sandbox: false },
    };
    Some((status, json(&envelope)))
}
