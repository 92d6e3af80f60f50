//! Portraits as text in answers and import files: Base64 or a data URL.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::MAX_PORTRAIT;
use crate::domain::image::ImageFormat;

/// Sources differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The image file in `text`. `None` unless it is Base64 of a JPEG, PNG or WebP file of at most [`MAX_PORTRAIT`] bytes.
pub(super) fn read(text: &str) -> Option<Bytes> {
    let encoded = match text.strip_prefix("data:") {
        None => text,
        Some(rest) => rest.split_once(";base64,")?.1,
    };
    // Four characters hold three bytes. Twice the limit leaves room for white space.
    if encoded.len() / 4 * 3 > MAX_PORTRAIT * 2 {
        return None;
    }
    let compact: String = encoded.split_ascii_whitespace().collect();
    let bytes = BASE64.decode(compact).ok()?;
    (bytes.len() <= MAX_PORTRAIT && ImageFormat::sniff(&bytes).is_some()).then(|| Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_data_urls_line_breaks_and_missing_padding_are_read() {
        for text in ["/9j/4A==", "/9j/4A", "/9j/\r\n4A==", "data:image/png;base64,/9j/4A=="] {
            assert_eq!(read(text).as_deref(), Some([0xFF, 0xD8, 0xFF, 0xE0].as_slice()), "{text}");
        }
    }

    #[test]
    fn what_is_no_image_is_none() {
        for text in ["", "aGVsbG8=", "portraits/1.jpg", "data:image/png,xyz", "data:;base64,%%%", "/9j/photo.jpg"] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
