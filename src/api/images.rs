//! `/v1/images`: images and videos uploaded by themselves, for requests to name.

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::body::whole;
use super::error::{ApiError, Problem};
use super::media::File;
use crate::domain::ids::ImageId;
use crate::domain::image::VideoFormat;
use crate::domain::request::parse_upload;
use crate::domain::tenant::Scope;
use crate::images::UploadView;

/// A video of 50 MB in Base64, and room for white space.
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
    /// To be named in requests: `{"image_id": "..."}`.
    id: String,
    /// `jpeg`, `png`, `webp`, `mp4` or `webm`.
    format: &'static str,
    /// Size of the file.
    bytes: i64,
    /// Pixels across, once upright; none of a video.
    width: Option<i32>,
    /// Pixels down, once upright; none of a video.
    height: Option<i32>,
    /// From then on it is erased. RFC 3339, UTC.
    expires_at: String,
    /// A JPEG of it to look at, for 60 minutes, without further credentials; of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl ImageView {
    fn of(upload: &UploadView, url: Option<String>) -> Self {
        Self {
            id: upload.id.to_string(),
            format: upload.format.name(),
            bytes: upload.bytes,
            width: upload.size.map(|it| it.0),
            height: upload.size.map(|it| it.1),
            expires_at: upload.expires_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            url,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    let upload = OpenApiRouter::new().routes(routes!(upload)).layer(DefaultBodyLimit::max(MAX_BODY));
    upload.merge(OpenApiRouter::new().routes(routes!(find, erase)))
}

/// Uploads an image of at most 10 MB or a video of at most 50 MB: its bytes, or JSON. It is erased when the organisation's retention is over, after a day at most.
#[utoipa::path(post, operation_id = "upload_image", path = "/v1/images", tag = "images",
    request_body(content((NewImage = "application/json"), (File = "application/octet-stream"),
        (File = "image/jpeg"), (File = "image/png"), (File = "image/webp"), (File = "video/mp4"), (File = "video/webm"))),
    responses(
        (status = 201, body = ImageView, headers(("Location" = String))),
        (status = 408, body = Problem, content_type = "application/problem+json"),
    ))]
async fn upload(State(context): State<ApiContext>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    caller.may(Scope::Submit)?;
    if !caller.settings.approved {
        let detail = "the organisation has not been approved yet: ask your operator";
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
            // Away from the threads that keep leases and heartbeats: it decodes up to 50 MB.
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

/// An upload, and a fresh URL to look at it.
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

/// Erases an upload at once. Jobs that named it have copies of their own.
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

/// What the sender says the body is; of an image or a video, the bytes decide.
enum Declared {
    Bytes,
    Json,
}

impl Declared {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let declared = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "application/octet-stream" => Ok(Self::Bytes),
            file if file.starts_with("image/") || file.starts_with("video/") => Ok(Self::Bytes),
            _ => {
                let detail =
                    "send the file's bytes as image/*, video/* or application/octet-stream, or application/json";
                Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
            }
        }
    }
}

fn read_id(id: &str) -> Result<ImageId, ApiError> {
    id.parse().map(ImageId).map_err(|_| ApiError::no_such("image"))
}

/// At most so many bytes of an image, and of a video.
fn check_size(bytes: &[u8], (image, video): (usize, usize)) -> Result<(), ApiError> {
    let (what, max) = if VideoFormat::sniff(bytes).is_some() { ("video", video) } else { ("image", image) };
    if bytes.len() <= max {
        return Ok(());
    }
    let detail = format!("the {what} must be at most {max} bytes");
    Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "image_too_large", &detail))
}
