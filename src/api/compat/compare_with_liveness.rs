//! `POST /v2/face-recognition/compare-with-liveness`: is the person on the selfie in the gallery, and is the selfie
//! live?

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::api::ApiContext;
use crate::api::auth::Caller;
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, Problem};
use crate::api::submit::Submitted;
use crate::api::sync::{LIVENESS_UNAVAILABLE, liveness_unavailable, submit_and_wait};
use crate::domain::capture_os::CaptureOs;
use crate::domain::evidence::{Mode, Similarity, Threshold};
use crate::domain::ids::JobId;
use crate::domain::image::ImageRole;
use crate::domain::job::JobParams;
use crate::domain::outcome::{ImageFinding, Outcome};
use crate::domain::policy;
use crate::domain::request::Form;
use crate::domain::time::time;
use crate::store::jobs::JobView;

pub(super) const PATH: &str = "/v2/face-recognition/compare-with-liveness";

const ISSUER: &str = "visavis";

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    let limit = DefaultBodyLimit::max(Form::CompareWithLiveness.max_body());
    OpenApiRouter::new().routes(routes!(compare)).layer(limit)
}

/// A probe and a gallery. Images are JPEG, PNG or WebP in Base64 or as a data URL, at most 10 MB each once decoded; the
/// whole body has at most 80 MiB. Unknown fields are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's document alone")]
struct CompareRequest {
    /// `DESKTOP`, `IOS` or `ANDROID`.
    #[schema(pattern = "^(DESKTOP|IOS|ANDROID)$")]
    os: String,
    /// One selfie.
    #[schema(min_length = 1)]
    probe: String,
    #[schema(min_items = 1, max_items = 32)]
    gallery: Vec<String>,
    /// `FAST` or `ACCURATE`.
    #[schema(pattern = "^(FAST|ACCURATE)$")]
    search_mode: String,
    /// If the best score is below it, liveness is not tested. Default: 0.85.
    #[schema(minimum = 0.67, maximum = 0.95)]
    compare_min_score: Option<f64>,
    /// Default: the organisation's for this `os`, else its general one, else 0.60.
    #[schema(minimum = 0.52, maximum = 1.0)]
    liveness_min_score: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct CompareAnswer {
    #[schema(value_type = CompareData)]
    data: Value,
    signature: Signature,
    /// 5 letters for people to quote.
    id: String,
    /// The result is made up, because the API key is a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

#[derive(Serialize, ToSchema)]
struct CompareData {
    comparison: ComparisonRecord,
    /// Absent when the best score is below `compare_min_score`.
    #[serde(skip_serializing_if = "Option::is_none")]
    liveness: Option<LivenessRecord>,
}

#[derive(Serialize, ToSchema)]
struct ComparisonRecord {
    /// The id of the organisation.
    client: String,
    r#type: &'static str,
    #[schema(value_type = String)]
    search_mode: Mode,
    /// Always empty: no image is sent back.
    gallery: [String; 0],
    /// Always empty: no image is sent back.
    probe: [String; 0],
    status: &'static str,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "comparedAt")]
    compared_at: String,
    result: ComparisonResult,
    #[serde(rename = "updatedAt")]
    updated_at: String,
    #[serde(rename = "createdAt")]
    created_at: String,
    #[serde(rename = "__v")]
    version: u8,
}

#[derive(Serialize, ToSchema)]
struct ComparisonResult {
    /// The best score of the gallery, in [0, 1].
    #[schema(value_type = f64)]
    score: Similarity,
    /// One score for each gallery image, in the order of the request; null if no face was found in it.
    #[schema(value_type = Vec<Option<f64>>)]
    gallery_scores: Vec<Option<Similarity>>,
}

#[derive(Serialize, ToSchema)]
struct LivenessRecord {
    /// The id of the organisation.
    client: String,
    r#type: &'static str,
    status: &'static str,
    #[schema(value_type = String)]
    search_mode: Mode,
    #[schema(value_type = String)]
    os: CaptureOs,
    #[schema(value_type = f64)]
    liveness_min_score: Threshold,
    #[serde(rename = "_id")]
    id: String,
    result: LivenessRecordResult,
    #[serde(rename = "updatedAt")]
    updated_at: String,
    #[serde(rename = "createdAt")]
    created_at: String,
    #[serde(rename = "__v")]
    version: u8,
}

#[derive(Serialize, ToSchema)]
struct LivenessRecordResult {
    /// In [0, 1]; below 0.5 if the model was uncertain.
    #[schema(value_type = f64)]
    liveness_score: Similarity,
    /// Whether the score is at or above the minimum.
    passed: bool,
    #[schema(value_type = f64)]
    min_score: Threshold,
}

#[derive(Serialize, ToSchema)]
struct Signature {
    /// When the comparison ended, such as `September 15, 2024 3:13 AM`, in UTC.
    #[serde(rename = "dateTime")]
    date_time: String,
    message: String,
    /// Detached JWS over `data`. The keys to verify it are at `/.well-known/jwks.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    jws: Option<String>,
}

/// What was wrong.
#[derive(Serialize, ToSchema)]
struct CompareError {
    /// `MissingParameter`, `InvalidParameter`, `FaceNotFound`, `Unauthorized` or `LivenessUnavailable`.
    code: &'static str,
    message: String,
}

/// Compares a selfie with a gallery, and tests whether a living person took it.
#[utoipa::path(post, path = PATH, operation_id = "compare_with_liveness", tag = "compare with liveness", request_body = CompareRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters. The same key and body get the same answer again."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: seconds to wait for the result, 0 to 60. Default: 30.")),
    responses(
        (status = 200, body = CompareAnswer),
        (status = 202, body = Submitted, description = "The wait ended first: read the job at `Location`."),
        (status = 400, body = CompareError, description = "InvalidParameter"),
        (status = 401, body = CompareError, description = "Unauthorized"),
        (status = 409, content(
            (CompareError = "application/json"),
            (Problem = "application/problem+json")), description = "MissingParameter, or another body under the same idempotency key"),
        (status = 410, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = CompareError, description = "FaceNotFound"),
        (status = 503, content(
            (CompareError = "application/json"),
            (Problem = "application/problem+json")), description = "LivenessUnavailable, or the service is overloaded.")))]
async fn compare(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let waited = submit_and_wait(&context, &caller, Form::CompareWithLiveness, &headers, body).await?;
    let client = caller.account.tenant_id.to_string();
    Ok(waited.answer(|job, outcome| render(&context, &client, job, outcome)))
}

/// The answer depends only on the stored job, so a repetition gets the same answer.
fn render(context: &ApiContext, client: &str, job: &JobView, outcome: &Outcome) -> Result<Response, ApiError> {
    let JobParams::CompareWithLiveness { liveness_min, os, mode, .. } = outcome.params else {
        return Err(ApiError::no_such_job());
    };
    let Some(compared) = &outcome.comparison else { return Err(unusable(outcome)) };
    let ended_at = job.finished_at.unwrap_or(job.created_at);
    let (created_at, updated_at) = (time(job.created_at), time(ended_at));
    let comparison = ComparisonRecord {
        client: client.to_owned(),
        r#type: "compareLive",
        search_mode: mode,
        gallery: [],
        probe: [],
        status: "success",
        id: object_id(job.summary.id, "comparison"),
        compared_at: updated_at.clone(),
        result: ComparisonResult { score: compared.similarity, gallery_scores: outcome.gallery_scores.clone() },
        updated_at: updated_at.clone(),
        created_at: created_at.clone(),
        version: 0,
    };
    let liveness = match &outcome.liveness {
        _ if !policy::wants_liveness(&outcome.params, Some(compared)) => None,
        Some(tested) => {
            let passed = policy::is_live(tested, liveness_min);
            Some(LivenessRecord {
                client: client.to_owned(),
                r#type: "liveness",
                status: "success",
                search_mode: mode,
                os,
                liveness_min_score: liveness_min,
                id: object_id(job.summary.id, "liveness"),
                result: LivenessRecordResult { liveness_score: tested.score, passed, min_score: liveness_min },
                updated_at,
                created_at,
                version: 0,
            })
        }
        // An answer without liveness would say that the score was too low.
        None => {
            return Err(liveness_unavailable());
        }
    };
    let data = json(&CompareData { comparison, liveness });
    let signature = Signature {
        date_time: in_words(ended_at),
        message: format!("Certified by {ISSUER}"),
        jws: context.sign(&data),
    };
    let (id, sandbox) = (letters(job.summary.id), job.summary.sandbox);
    Ok(Json(CompareAnswer { data, signature, id, sandbox }).into_response())
}

/// Why nothing could be compared. The probe comes first: without its face no gallery image can be compared.
fn unusable(outcome: &Outcome) -> ApiError {
    let no_face = |field| ApiError {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        ..ApiError::of_field("no_face_found", field, &format!("no face was found in {field}"))
    };
    let probe = outcome.image(ImageRole::Probe, 0).map(|report| &report.seen);
    match probe {
        Some(ImageFinding::Unreadable { reason, .. }) => {
            return ApiError::of_field("invalid_image", "probe", &format!("probe cannot be read: {reason}"));
        }
        Some(ImageFinding::Picture { faces: 0, .. }) => return no_face("probe"),
        _ => {}
    }
    let mut gallery = outcome.images.iter().filter(|report| report.role == ImageRole::Reference).peekable();
    let all_unreadable =
        gallery.peek().is_some() && gallery.all(|report| matches!(report.seen, ImageFinding::Unreadable { .. }));
    if all_unreadable {
        return ApiError::of_field("invalid_image", "gallery", "no image of gallery can be read");
    }
    no_face("gallery")
}

/// 24 hexadecimal characters derived from the job and the part of the answer.
fn object_id(job: JobId, part: &str) -> String {
    hex::encode(&hashed(job, part)[..12])
}

/// 5 upper-case letters derived from the job.
fn letters(job: JobId) -> String {
    hashed(job, "letters")[..5].iter().map(|byte| char::from(b'A' + byte % 26)).collect()
}

fn hashed(job: JobId, part: &str) -> Vec<u8> {
    digest(&SHA256, &[part.as_bytes(), job.0.as_bytes()].concat()).as_ref().to_vec()
}

fn in_words(instant: DateTime<Utc>) -> String {
    instant.format("%B %-d, %Y %-I:%M %p").to_string()
}

/// The error in this product's shape, for the statuses that it knows.
pub(super) fn translate(error: &ApiError) -> Option<(StatusCode, Value)> {
    let detail = error.detail.clone();
    let (status, code, message) = match (error.status, error.code, &error.field) {
        // The status 409 and the trailing newline are that product's.
        (StatusCode::BAD_REQUEST, "missing_field", Some(field)) => {
            (StatusCode::CONFLICT, "MissingParameter", format!("missing {field}\n"))
        }
        (StatusCode::BAD_REQUEST, ..) => (error.status, "InvalidParameter", detail),
        (StatusCode::UNAUTHORIZED, ..) => (error.status, "Unauthorized", detail),
        (StatusCode::UNPROCESSABLE_ENTITY, ..) => (error.status, "FaceNotFound", detail),
        (_, LIVENESS_UNAVAILABLE, _) => (error.status, "LivenessUnavailable", detail),
        _ => return None,
    };
    Some((status, json(&CompareError { code, message })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_that_product_does() {
        for (instant, expected) in [
            ("2024-09-15T03:13:59Z", "September 15, 2024 3:13 AM"),
            ("2026-01-05T12:05:00Z", "January 5, 2026 12:05 PM"),
            ("2026-12-31T00:00:00Z", "December 31, 2026 12:00 AM"),
        ] {
            assert_eq!(in_words(instant.parse().unwrap()), expected);
        }
    }

    #[test]
    fn identifiers_are_functions_of_the_job() {
        let job = JobId::new();
        assert_eq!(object_id(job, "comparison"), object_id(job, "comparison"));
        assert_ne!(object_id(job, "comparison"), object_id(job, "liveness"));
        assert_eq!((object_id(job, "x").len(), letters(job).len()), (24, 5));
        assert!(letters(job).bytes().all(|byte| byte.is_ascii_uppercase()));
    }
}
