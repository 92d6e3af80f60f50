//! How a file was made, according to its own metadata. Metadata are easy to remove, so that a mark shows only that
//! nobody removed it, and the absence of marks shows nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::warning::{LogType, Risk, Warning};

/// How a file was made, when it was not made by a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// It is the picture of a screen.
    Screenshot,
    /// It was written by a program that edits pictures.
    Edited,
    /// It was made by a program that generates pictures.
    Generated,
}

/// Words in metadata, in lower case. The first one that is found counts. Left out are the words of cameras' own
/// software, words so short that noise could contain them, and namespaces that many programs use.
const MARKS: [(&str, Provenance); 26] = [
    ("trainedalgorithmicmedia", Provenance::Generated),
    ("stable diffusion", Provenance::Generated),
    ("comfyui", Provenance::Generated),
    ("midjourney", Provenance::Generated),
    ("dall-e", Provenance::Generated),
    ("dall·e", Provenance::Generated),
    ("firefly", Provenance::Generated),
    ("screenshot", Provenance::Screenshot),
    ("screen capture", Provenance::Screenshot),
    ("adobe photoshop", Provenance::Edited),
    ("adobe lightroom", Provenance::Edited),
    ("gimp 2", Provenance::Edited),
    ("gimp 3", Provenance::Edited),
    ("snapseed", Provenance::Edited),
    ("picsart", Provenance::Edited),
    ("faceapp", Provenance::Edited),
    ("facetune", Provenance::Edited),
    ("beautyplus", Provenance::Edited),
    ("canva (", Provenance::Edited),
    ("pixelmator", Provenance::Edited),
    ("affinity photo", Provenance::Edited),
    ("paint.net", Provenance::Edited),
    ("photoscape", Provenance::Edited),
    ("pixlr", Provenance::Edited),
    ("capture one", Provenance::Edited),
    ("darktable", Provenance::Edited),
];

impl Provenance {
    /// The provenance that the raw metadata of a file (EXIF, XMP, IPTC) name.
    #[must_use]
    pub fn read(metadata: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(metadata).to_lowercase();
        MARKS.iter().find(|(word, _)| text.contains(word)).map(|mark| mark.1)
    }

    /// The warning about it. `image` is the file's name in the request.
    #[must_use]
    pub fn warning(self, image: &str) -> Warning {
        let (risk, short, long) = match self {
            Self::Screenshot => (
                Risk::Screenshot,
                "Screenshot",
                "The metadata of this image say that it is a screenshot. Send the file as the camera made it.",
            ),
            Self::Edited => (
                Risk::ImageEdited,
                "Edited image",
                "The metadata of this image name a program that edits pictures. Send the file as the camera made it.",
            ),
            Self::Generated => (
                Risk::ImageEdited,
                "Generated image",
                "The metadata of this image name a program that generates pictures. Send a photo.",
            ),
        };
        Warning::new(risk, LogType::Information, Some(format!("image={image}")), short, long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_recognised_by_their_names_and_cameras_are_not_taken_for_them() {
        for (metadata, expected) in [
            ("Adobe Photoshop 25.0 (Windows)", Some(Provenance::Edited)),
            ("<exif:UserComment>Screenshot</exif:UserComment>", Some(Provenance::Screenshot)),
            ("GIMP 2.10", Some(Provenance::Edited)),
            ("digitalsourcetype/trainedAlgorithmicMedia Adobe Photoshop", Some(Provenance::Generated)),
            ("HDR+ 1.0.540104767zd\0Google\0Pixel 7", None),
            ("Apple\0iPhone 15 Pro\0 17.4.1", None),
            ("MediaTek Camera Application", None),
            ("xmlns:photoshop=\"http://ns.adobe.com/photoshop/1.0/\"", None),
            ("", None),
        ] {
            assert_eq!(Provenance::read(metadata.as_bytes()), expected, "{metadata}");
        }
        assert_eq!(Provenance::read(&[0xFF, 0xFE, 0]), None);
    }
}
