//! The pictures that jobs carry.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::{DynamicImage, ImageFormat};

/// Pictures in Base64.
pub struct Photos {
    /// A few bytes, without a face.
    pub blank: String,
    /// Somebody's face.
    pub face: String,
    /// The face of the person in the registry.
    pub registered: String,
}

impl Photos {
    /// Small ones of `tests/photos`.
    ///
    /// # Errors
    /// When a photo cannot be read.
    pub fn load() -> Result<Self> {
        let blank = encode(&DynamicImage::new_rgb8(64, 64), ImageFormat::Png)?;
        Ok(Self {
            blank: BASE64_STANDARD.encode(blank),
            face: thumbnail("obama.jpg")?,
            registered: thumbnail("biden.jpg")?,
        })
    }

    /// A picture whose job in the sandbox ends as the directive says.
    #[must_use]
    pub fn directed(&self, directive: &str) -> String {
        let mut bytes = BASE64_STANDARD.decode(&self.blank).unwrap_or_default();
        bytes.extend(b"visavis:");
        bytes.extend(directive.as_bytes());
        BASE64_STANDARD.encode(bytes)
    }
}

fn thumbnail(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../photos").join(name);
    let photo = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let small = image::load_from_memory(&photo)?.thumbnail(256, 256).to_rgb8();
    Ok(BASE64_STANDARD.encode(encode(&small.into(), ImageFormat::Jpeg)?))
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format)?;
    Ok(file.into_inner())
}
