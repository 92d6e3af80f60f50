//! `/v1/images`: images and videos that are uploaded first and named in requests later.

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::body::{declared_type, unsupported_type, whole};
use super::error::{ApiError, Problem};
use super::media::BinaryFile;
use crate::domain::ids::ImageId;
use crate::domain::image::VideoFormat;
use crate::domain::request::parse_upload;
use crate::domain::tenant::Scope;
use crate::domain::time::time;
use crate::images::UploadView;

/// Bytes: a video of 50 MB in Base64, with room for white space.
const MAX_BODY: usize = 72 << 20;

/// An upload as JSON.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's document alone")]
struct NewImage {
    /// The image or the video in Base64, or a data URL.
    image: String,
}

/// An uploaded image or video.
#[derive(Serialize, ToSchema)]
struct ImageView {
    /// Name it in requests: `{"image_id": "..."}`.
    id: String,
    /// `jpeg`, `png`, `webp`, `mp4` or `webm`.
    format: &'static str,
    /// Size of the file in bytes.
    bytes: i64,
    /// Width in pixels of the upright image; null for a video.
    width: Option<i32>,
    /// Height in pixels of the upright image; null for a video.
    height: Option<i32>,
    /// When it will be erased. RFC 3339, UTC.
    expires_at: String,
    /// Temporary URL of a JPEG to look at. It works for 60 minutes without other credentials. Absent for a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl ImageView {
    fn of(upload: &UploadView, url: Option<String>) -> Self {
        Self {
            id: upload.id.to_string(),
            format: upload.format.name(),
            bytes: upload.bytes,
            width: upload.size.map(|(width, _)| width),
            height: upload.size.map(|(_, height)| height),
            expires_at: time(upload.expires_at),
            url,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    let upload = OpenApiRouter::new().routes(routes!(upload)).layer(DefaultBodyLimit::max(MAX_BODY));
    upload.merge(OpenApiRouter::new().routes(routes!(find, erase)))
}

/// Uploads an image of at most 10 MB or a video of at most 50 MB, as bytes or as JSON.
///
/// It is erased when the organisation's retention is over, and after a day at most.
#[utoipa::path(post, operation_id = "upload_image", path = "/v1/images", tag = "images",
    request_body(content((NewImage = "application/json"), (BinaryFile = "application/octet-stream"),
        (BinaryFile = "image/jpeg"), (BinaryFile = "image/png"), (BinaryFile = "image/webp"), (BinaryFile = "video/mp4"), (BinaryFile = "video/webm"))),
    responses(
        (status = 201, body = ImageView, headers(("Location" = String))),
        (status = 408, body = Problem, content_type = "application/problem+json"),
    ))]
async fn upload(State(context): State<ApiContext>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    caller.may(Scope::Submit)?;
    if !caller.settings.approved {
        let detail = "the organisation has not been approved yet: ask your operator to approve it";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "organisation_not_approved", detail));
    }
    let declared = Declared::of(request.headers())?;
    let limits = (context.intake.defaults.max_image_bytes, context.intake.defaults.max_video_bytes);
    let body = whole(request, &context).await?;
    let uploaded = match declared {
        Declared::Bytes => {
            check_size(&body, limits)?;
            context.images.upload(caller.account, body).await?
        }
        Declared::Json => {
            // Decoding up to 50 MB must not block the threads that keep leases and heartbeats.
            let read = tokio::task::spawn_blocking(move || parse_upload(&body, limits.1)).await;
            let stopped = |_| crate::intake::Error::Stopped;
            let bytes = read.map_err(stopped)?.map_err(|fault| match fault.code {
                "image_too_large" => ApiError::of_request(StatusCode::PAYLOAD_TOO_LARGE, fault),
                _ => ApiError::of_request(StatusCode::BAD_REQUEST, fault),
            })?;
            check_size(&bytes, limits).map_err(|error| error.at("image"))?;
            let uploaded = context.images.upload(caller.account, bytes).await;
            uploaded.map_err(|error| match error {
                error @ crate::images::Error::Image(_) => ApiError::from(error).at("image"),
                error => error.into(),
            })?
        }
    };
    let location = format!("/v1/images/{}", uploaded.id);
    let view = Json(ImageView::of(&uploaded, None));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], view).into_response())
}

/// Reads an upload, with a fresh URL to look at it.
#[utoipa::path(get, operation_id = "find_image", path = "/v1/images/{id}", tag = "images", params(("id" = String, Path)),
    responses(
        (status = 200, body = ImageView),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
async fn find(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ImageView>, ApiError> {
    caller.may(Scope::Read)?;
    let found = context.images.find_upload(caller.account, read_id(&id)?).await?;
    let (upload, url) = found.ok_or_else(|| ApiError::no_such("image"))?;
    Ok(Json(ImageView::of(&upload, url)))
}

/// Erases an upload immediately. Jobs that named it keep copies of their own.
#[utoipa::path(delete, operation_id = "erase_image", path = "/v1/images/{id}", tag = "images", params(("id" = String, Path)),
    responses(
        (status = 204, description = "erased"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
async fn erase(
    State(context): State<ApiContext>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.may(Scope::Erase)?;
    if context.images.delete_upload(caller.account, read_id(&id)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::no_such("image"))
    }
}

/// What the sender says the body is. The format of an image or a video is decided by its bytes.
enum Declared {
    Bytes,
    Json,
}

impl Declared {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let declared = declared_type(headers);
        match declared.as_str() {
            "application/json" => Ok(Self::Json),
            "application/octet-stream" => Ok(Self::Bytes),
            file if file.starts_with("image/") || file.starts_with("video/") => Ok(Self::Bytes),
            _ => {
                let instead = "send the bytes of the file as image/*, video/* or application/octet-stream: \
                               curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg ...; or JSON with the file \
                               in Base64";
                Err(unsupported_type(&declared, instead))
            }
        }
    }
}

fn read_id(id: &str) -> Result<ImageId, ApiError> {
    id.parse().map(ImageId).map_err(|_| ApiError::no_such("image"))
}

/// Checks the size against the limits, in bytes, of an image and of a video.
fn check_size(bytes: &[u8], (image, video): (usize, usize)) -> Result<(), ApiError> {
    let (what, max) = if VideoFormat::sniff(bytes).is_some() { ("video", video) } else { ("image", image) };
    if bytes.len() <= max {
        return Ok(());
    }
    let detail = format!("the {what} has {} bytes, and at most {max} are taken: send a smaller one", bytes.len());
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "image_too_large", &detail))
}
