//! What is known of a file before it is decoded: its format, by its first bytes, and its role in a job.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

/// The image formats that visavis reads. The first bytes decide, never a declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case")]
pub enum ImageFormat {
    Jpeg,
    Png,
    Webp,
}

impl ImageFormat {
    /// The format of `bytes`, or `None` when visavis does not read it.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
            Some(Self::Jpeg)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP".as_slice()) {
            Some(Self::Webp)
        } else {
            None
        }
    }

    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// The video formats that visavis reads. The first bytes decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum VideoFormat {
    Mp4,
    Webm,
}

impl VideoFormat {
    /// The format of `bytes`, or `None` when visavis does not read it. Matroska begins like `WebM`: the decoder refuses
    /// it.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        if bytes.get(4..8) == Some(b"ftyp".as_slice()) {
            Some(Self::Mp4)
        } else if bytes.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
            Some(Self::Webm)
        } else {
            None
        }
    }

    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The format of a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    Image(ImageFormat),
    Video(VideoFormat),
}

impl FileFormat {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Image(format) => format.name(),
            Self::Video(format) => format.name(),
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let video = || name.parse().ok().map(Self::Video);
        ImageFormat::parse(name).map(Self::Image).or_else(video)
    }

    #[must_use]
    pub fn is_video(self) -> bool {
        matches!(self, Self::Video(_))
    }
}

/// The role of an image in its job. Every kind of job compares a reference with a probe.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case")]
pub enum ImageRole {
    /// The portrait that is taken as known.
    Reference,
    /// The image whose face is in question.
    Probe,
}

impl ImageRole {
    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// A JPEG made from a stored image for people to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Variant {
    /// The compared face, cropped with a margin.
    Portrait,
    /// The whole image.
    Whole,
}

impl Variant {
    /// The name in the database and in URLs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_decide_the_format() {
        assert_eq!(ImageFormat::sniff(&[0xFF, 0xD8, 0xFF, 0xE0]), Some(ImageFormat::Jpeg));
        assert_eq!(ImageFormat::sniff(b"\x89PNG\r\n\x1a\n...."), Some(ImageFormat::Png));
        assert_eq!(ImageFormat::sniff(b"RIFF\0\0\0\0WEBPVP8 "), Some(ImageFormat::Webp));
        for other in [b"".as_slice(), b"GIF89a", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE", b"\xFF\xD8"] {
            assert_eq!(ImageFormat::sniff(other), None);
        }
    }

    #[test]
    fn videos_are_recognised_by_their_bytes_and_every_format_by_its_name() {
        assert_eq!(VideoFormat::sniff(b"\0\0\0\x20ftypisom"), Some(VideoFormat::Mp4));
        assert_eq!(VideoFormat::sniff(&[0x1A, 0x45, 0xDF, 0xA3, 0x9F]), Some(VideoFormat::Webm));
        for other in [b"".as_slice(), b"ftyp", b"#EXTM3U", b"RIFF\0\0\0\0AVI ", &[0xFF, 0xD8, 0xFF, 0xE0]] {
            assert_eq!(VideoFormat::sniff(other), None);
        }
        for name in ["jpeg", "png", "webp", "mp4", "webm"] {
            let format = FileFormat::parse(name).unwrap();
            assert_eq!((format.name(), format.is_video()), (name, matches!(name, "mp4" | "webm")));
        }
        assert_eq!(FileFormat::parse("gif"), None);
    }
}
