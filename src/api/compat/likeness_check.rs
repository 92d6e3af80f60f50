//! `POST /likeness_check`: are these two the same person?

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::json;
use crate::api::ApiContext;
use crate::api::auth::Caller;
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, Problem};
use crate::api::submit::Submitted;
use crate::api::sync::submit_and_wait;
use crate::domain::evidence::{Similarity, Threshold};
use crate::domain::image::ImageRole;
use crate::domain::job::{JobParams, Verdict};
use crate::domain::outcome::{ImageFinding, Outcome};
use crate::domain::request::Form;
use crate::store::jobs::JobView;

pub(super) const PATH: &str = "/likeness_check";

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    let limit = DefaultBodyLimit::max(Form::LikenessCheck.max_body());
    OpenApiRouter::new().routes(routes!(check)).layer(limit)
}

/// Two images and a threshold. Fields that are not listed are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's document alone")]
struct LikenessRequest {
    /// The reference image, usually the portrait on the ID document. A JPEG or PNG in Base64 or as a data URL; at most
    /// 5 MB once decoded.
    #[schema(min_length = 1)]
    photo: String,
    /// The probe, usually a live selfie. The same rules apply.
    #[schema(min_length = 1)]
    probe_image: String,
    /// Replaces the default for this request.
    #[schema(minimum = 0.0, maximum = 1.0)]
    similarity_threshold: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct LikenessAnswer {
    result: LikenessResult,
    /// Quote it to ask about this call.
    reference_id: Uuid,
    /// The result is made up, because the API key is a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

#[derive(Serialize, ToSchema)]
struct LikenessResult {
    /// In [0, 1]; higher is more similar. Not rounded.
    #[schema(value_type = f64)]
    similarity: Similarity,
    /// The threshold that was applied.
    #[schema(value_type = f64)]
    threshold: Threshold,
    /// Whether the similarity is at or above the threshold.
    biometric_passed: bool,
}

/// What was wrong with a request.
#[derive(Serialize, ToSchema)]
struct LikenessError {
    /// Stable, for programs: `no_face_found`, `invalid_image`, `unsupported_image_format`, `image_too_large`,
    /// `missing_photo`, `missing_probe_image`, `invalid_similarity_threshold` and others.
    message: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// Compares a photo with a probe while the caller waits.
#[utoipa::path(post, path = PATH, operation_id = "check_likeness", tag = "likeness check", request_body = LikenessRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters. The same key and body get the same answer again."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: seconds to wait for the result, 0 to 60. Default: 30.")),
    responses(
        (status = 200, body = LikenessAnswer),
        (status = 202, body = Submitted, description = "The wait ended first: read the job at `Location`."),
        (status = 400, body = LikenessError),
        (status = 401, body = LikenessError),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 410, body = Problem, content_type = "application/problem+json")))]
async fn check(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let waited = submit_and_wait(&context, &caller, Form::LikenessCheck, &headers, body).await?;
    Ok(waited.answer(render))
}

fn render(job: &JobView, outcome: &Outcome) -> Result<Response, ApiError> {
    let JobParams::LikenessCheck { threshold, .. } = outcome.params else { return Err(ApiError::no_such_job()) };
    let Some(comparison) = &outcome.comparison else { return Err(unusable(outcome)) };
    let result = LikenessResult {
        similarity: comparison.similarity,
        threshold,
        biometric_passed: outcome.verdict == Verdict::Approved,
    };
    let answer = LikenessAnswer { result, reference_id: job.summary.id.0, sandbox: job.summary.sandbox };
    Ok(Json(answer).into_response())
}

/// The first image in which no face can be compared.
fn unusable(outcome: &Outcome) -> ApiError {
    for role in [ImageRole::Reference, ImageRole::Probe] {
        let field = outcome.params.field(role);
        match outcome.image(role, 0).map(|report| &report.seen) {
            Some(ImageFinding::Unreadable { code, reason }) => {
                let code = match code.as_str() {
                    "unsupported_image_format" | "animated_image" => "unsupported_image_format",
                    "image_too_large" | "too_many_pixels" => "image_too_large",
                    _ => "invalid_image",
                };
                return ApiError::of_field(code, field, reason);
            }
            Some(ImageFinding::Picture { faces: 0, .. }) => {
                return ApiError::of_field(
                    "no_face_found",
                    field,
                    "no face was found in this image: take the photo again, with the whole face in view",
                );
            }
            _ => {}
        }
    }
    ApiError::new(StatusCode::BAD_REQUEST, "no_face_found", "no usable face was found in one of the images")
}

/// The error in this product's shape, for the statuses that it knows.
pub(super) fn translate(error: &ApiError) -> Option<(StatusCode, Value)> {
    let message = match (error.status, error.code, error.field.as_deref()) {
        (StatusCode::UNAUTHORIZED, ..) => "unauthorized",
        (StatusCode::BAD_REQUEST, "missing_field", Some("photo")) => "missing_photo",
        (StatusCode::BAD_REQUEST, "missing_field", Some("probe_image")) => "missing_probe_image",
        (StatusCode::BAD_REQUEST, _, Some("similarity_threshold")) => "invalid_similarity_threshold",
        (StatusCode::BAD_REQUEST, "invalid_type" | "invalid_base64" | "empty_image", _) => "invalid_image",
        (StatusCode::BAD_REQUEST, code, _) => code,
        _ => return None,
    };
    Some((error.status, json(&LikenessError { message: message.to_owned(), field: error.field.clone() })))
}
