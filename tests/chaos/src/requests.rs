//! The request of a planned job, and how it must end.

use serde_json::{Value, json};

use crate::photos::Photos;
use crate::plan::Content;

/// The number of the person in the registry.
pub const REGISTERED: &str = "11111111111";
/// The price of a confirmed match, in minor units.
pub const PRICE: i64 = 50;

/// How a job must end, unless it is erased before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Verdict(&'static str),
    Failure(&'static str),
}

impl Content {
    #[must_use]
    pub fn expected(self) -> Expected {
        match self {
            Self::Similar | Self::SecondTry | Self::Slow | Self::SameFace | Self::Registered => {
                Expected::Verdict("approved")
            }
            Self::Different => Expected::Verdict("rejected"),
            Self::InDoubt => Expected::Verdict("in_review"),
            Self::NoFace | Self::Blank | Self::Unregistered => Expected::Verdict("not_finished"),
            Self::Fails => Expected::Failure("sandbox_failure"),
        }
    }

    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Registered | Self::Unregistered => "id_match",
            Self::InDoubt | Self::SameFace => "face_match",
            _ => "likeness_check",
        }
    }

    /// Whether the organisation pays for it.
    #[must_use]
    pub fn is_paid(self) -> bool {
        self == Self::Registered
    }

    /// The native request. `label` comes back as metadata.
    #[must_use]
    pub fn request(self, photos: &Photos, label: &str) -> Value {
        let probe = match self {
            Self::Different => photos.directed("similarity=0.30"),
            Self::InDoubt => photos.directed("similarity=0.70"),
            Self::NoFace => photos.directed("no_face"),
            Self::Fails => photos.directed("fail"),
            Self::SecondTry => photos.directed("retry=1"),
            Self::Slow => photos.directed("delay_ms=700"),
            Self::Similar | Self::Blank => photos.blank.clone(),
            Self::SameFace => photos.face.clone(),
            Self::Registered | Self::Unregistered => photos.registered.clone(),
        };
        let reference = if self == Self::SameFace { &photos.face } else { &photos.blank };
        let request = match self.kind() {
            "id_match" => {
                let number = if self == Self::Registered { REGISTERED } else { "22222222222" };
                json!({ "id_type": "nin", "id_number": number, "selfie": probe })
            }
            "face_match" => json!({ "source_image": reference, "target_image": probe }),
            _ => json!({ "photo": reference, "probe_image": probe }),
        };
        json!({ "version": 1, "kind": self.kind(), "request": request, "metadata": { "chaos": label } })
    }
}
