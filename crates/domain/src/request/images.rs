//! Images and videos in requests: Base64, a data URL, or the id of an earlier upload.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::fields::{Fields, Text, read, required};
use super::{RequestFault, fault};
use crate::ids::ImageId;
use crate::image::{FileFormat, ImageFormat, ImageRole, VideoFormat};
use crate::job::{ImageContent, SubmittedImage};

/// Padding is optional, as clients differ; trailing bits must be zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The images that a form takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageLimits {
    /// Bytes of one image after Base64 decoding.
    pub(super) max_bytes: usize,
    pub(super) webp: bool,
    /// Whether `{"image_id": "..."}` may stand in place of the image.
    pub(super) uploads: bool,
}

impl ImageLimits {
    fn formats(self) -> &'static str {
        if self.webp { "JPEG, PNG or WebP" } else { "JPEG or PNG" }
    }
}

/// The image in a required field.
pub(super) fn image(
    request: &mut Fields<'_>,
    field: &str,
    role: ImageRole,
    limits: ImageLimits,
) -> Result<SubmittedImage, RequestFault> {
    let path = request.path(field);
    let value = required(request.take(field)?, &path)?;
    read_image(value, path, role, 0, limits)
}

/// The image that `value`, found at `path`, holds.
pub(super) fn read_image(
    value: &RawValue,
    path: String,
    role: ImageRole,
    position: u16,
    limits: ImageLimits,
) -> Result<SubmittedImage, RequestFault> {
    let is_upload = limits.uploads && value.get().starts_with('{');
    let content = if is_upload { upload(value, &path, false)? } else { inline(value, &path, limits)? };
    Ok(SubmittedImage { role, position, field: path, content })
}

/// The video that `value`, found at `path`, holds.
pub(super) fn read_video(value: &RawValue, path: String, max_bytes: usize) -> Result<SubmittedImage, RequestFault> {
    let content = if value.get().starts_with('{') {
        upload(value, &path, true)?
    } else {
        let bytes = inline_bytes(value, &path, max_bytes)?;
        let format = VideoFormat::sniff(&bytes).ok_or_else(|| {
            let message = format!("{path} is not an MP4 or WebM file (the bytes decide, not the declared type)");
            fault("unsupported_video_format", Some(&path), message)
        })?;
        ImageContent::Inline { format: FileFormat::Video(format), bytes }
    };
    Ok(SubmittedImage { role: ImageRole::Probe, position: 0, field: path, content })
}

fn upload(value: &RawValue, path: &str, video: bool) -> Result<ImageContent, RequestFault> {
    let wrong = || {
        let message = format!("{path} must be the file in Base64, or {{\"image_id\": \"...\"}} of an upload");
        fault("invalid_type", Some(path), message)
    };
    let mut fields: Fields<'_> = read(value).ok_or_else(wrong)?;
    fields.prefix = format!("{path}.");
    let refused = |unknown: RequestFault| fault("invalid_type", Some(path), unknown.message);
    fields.refuse_unknown(&["image_id"]).map_err(refused)?;
    let id = fields.take("image_id")?.ok_or_else(wrong)?;
    let Text(id) = read(id).ok_or_else(wrong)?;
    id.parse().map(|id| ImageContent::Upload { id: ImageId(id), video }).map_err(|_| wrong())
}

fn inline(value: &RawValue, path: &str, limits: ImageLimits) -> Result<ImageContent, RequestFault> {
    let bytes = inline_bytes(value, path, limits.max_bytes)?;
    let format = ImageFormat::sniff(&bytes).filter(|format| limits.webp || *format != ImageFormat::Webp);
    let format = format.ok_or_else(|| {
        let message = format!("{path} is not a {} file (the bytes decide, not the declared type)", limits.formats());
        fault("unsupported_image_format", Some(path), message)
    })?;
    Ok(ImageContent::Inline { format: FileFormat::Image(format), bytes })
}

/// The bytes of a Base64 text or a data URL, whatever they are.
pub(super) fn inline_bytes(value: &RawValue, path: &str, max_bytes: usize) -> Result<Bytes, RequestFault> {
    let Some(Text(text)) = read(value) else {
        let message = format!("{path} must be a string: the file in Base64, or a data URL");
        return Err(fault("invalid_type", Some(path), message));
    };
    let encoded = match text.strip_prefix("data:") {
        None => &*text,
        Some(rest) => rest.split_once(";base64,").map(|(_, data)| data).ok_or_else(|| {
            let message = format!("{path} must be a data URL with ;base64, or plain Base64");
            fault("invalid_base64", Some(path), message)
        })?,
    };
    let too_large =
        || fault("image_too_large", Some(path), format!("{path} must be at most {max_bytes} bytes once decoded"));
    // Checked before the decoder allocates; four characters hold three bytes. White space may add to it.
    if encoded.len() / 4 * 3 > max_bytes.saturating_mul(2) {
        return Err(too_large());
    }
    let compact: Cow<'_, str> = if encoded.bytes().any(|byte| byte.is_ascii_whitespace()) {
        encoded.split_ascii_whitespace().collect::<String>().into()
    } else {
        encoded.into()
    };
    let bytes = BASE64.decode(compact.as_bytes()).map_err(|_| {
        fault("invalid_base64", Some(path), format!("{path} is not valid Base64 (URLs are not fetched)"))
    })?;
    if bytes.is_empty() {
        return Err(fault("empty_image", Some(path), format!("{path} is empty: send the file's bytes in Base64")));
    }
    if bytes.len() > max_bytes {
        return Err(too_large());
    }
    Ok(Bytes::from(bytes))
}
