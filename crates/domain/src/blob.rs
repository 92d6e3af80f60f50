//! The places of the blob store. A place is both the path of a blob and what is authenticated with it: a blob that is
//! moved to another place does not decrypt.

use std::fmt;

use uuid::Uuid;

use crate::ids::{ImageId, JobId, TenantId};

/// What a place stands for. Its text is the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobPlace {
    Image(TenantId, ImageId),
    /// A JPEG that was made from an image.
    Rendition(TenantId, Uuid),
    /// The portrait of a registry entry. The registry belongs to the deployment, so no organisation is named.
    Portrait(Uuid),
    /// The body of a message that the broker gave up on.
    DeadLetter(Uuid),
    /// No blob: a job that was erased on request, as the erasure log names it.
    Job(TenantId, JobId),
}

impl BlobPlace {
    /// Reads what [`fmt::Display`] writes. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (folder, rest) = text.split_once('/')?;
        let id = |text: &str| text.parse::<Uuid>().ok();
        let owned = || rest.split_once('/').and_then(|(tenant, own)| Some((TenantId(id(tenant)?), id(own)?)));
        match folder {
            "images" => owned().map(|(tenant, own)| Self::Image(tenant, ImageId(own))),
            "renditions" => owned().map(|(tenant, own)| Self::Rendition(tenant, own)),
            "identity" => id(rest).map(Self::Portrait),
            "dead" => id(rest).map(Self::DeadLetter),
            "jobs" => owned().map(|(tenant, own)| Self::Job(tenant, JobId(own))),
            _ => None,
        }
    }
}

impl fmt::Display for BlobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(tenant, image) => write!(f, "images/{tenant}/{image}"),
            Self::Rendition(tenant, id) => write!(f, "renditions/{tenant}/{id}"),
            Self::Portrait(entry) => write!(f, "identity/{entry}"),
            Self::DeadLetter(id) => write!(f, "dead/{id}"),
            Self::Job(tenant, job) => write!(f, "jobs/{tenant}/{job}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written_and_nothing_else_is_a_place() {
        let (tenant, id) = (TenantId::new(), Uuid::now_v7());
        for place in [
            BlobPlace::Image(tenant, ImageId(id)),
            BlobPlace::Rendition(tenant, id),
            BlobPlace::Portrait(id),
            BlobPlace::DeadLetter(id),
            BlobPlace::Job(tenant, JobId(id)),
        ] {
            assert_eq!(BlobPlace::parse(&place.to_string()), Some(place));
        }
        for other in ["", "images", "images/x", "images/x/y", "dead/x", "probes/1", &format!("images/{id}")] {
            assert_eq!(BlobPlace::parse(other), None, "{other}");
        }
    }
}
