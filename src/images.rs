//! Images as their owners see them: uploads, JPEG files behind signed URLs, and erasure.

pub mod binding;
pub mod erasure;
mod renditions;
pub mod replay;
pub mod stranded;
mod uploads;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::domain::ids::{ImageId, JobId, TenantId};
use crate::domain::image::{ImageRole, Variant};
use crate::domain::outcome::{ImageFinding, ImageReport, Outcome};
use crate::keys::{self, PublicKey, SignedLinks, Signer};
use crate::media::{self, Media};
use crate::store::renditions::JobImage;
use crate::store::signing_keys::SigningKey;
use crate::store::{self, Store};
use crate::vision::ImageFault;

pub use crate::keys::Grant;
pub use crate::keys::links::ROOT;
pub use renditions::Rendition;
pub use uploads::UploadView;

/// Images that this process decodes and encodes at once. Each takes a core, and up to 300 MB while it is decoded.
const AT_ONCE: usize = 2;

/// Stored images and what can be done with them. Clones share everything.
#[derive(Clone)]
pub struct Images {
    store: Store,
    media: Media,
    signer: Arc<Signer>,
    links: Arc<SignedLinks>,
    rendering: Arc<Semaphore>,
}

/// Why an image was not stored, shown or erased.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not an image of a format that we accept.
    #[error(transparent)]
    Image(#[from] ImageFault),
    /// The URL was not signed here.
    #[error("the URL is not one of ours: its signature is wrong")]
    Forged,
    /// The URL's time is over.
    #[error("the URL has expired")]
    Expired,
    /// The image is erased, or its time is over.
    #[error("the image was erased")]
    Erased,
    /// Too much to do, or it takes too long. A later call may succeed.
    #[error("images cannot be made at the moment")]
    Busy,
    /// The blob store and the database do not belong together.
    #[error("{0}")]
    Unbound(binding::Mismatch),
    /// So many blobs are unknown that the database is probably not the store's own.
    #[error(
        "the database knows nothing of {unknown} of {listed} blobs: nothing was changed. Is it an old backup, or another \
         database? If these blobs do belong to nothing, `visavis blobs quarantine --yes` sets them aside"
    )]
    ManyUnknown { unknown: u64, listed: u64 },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Media(#[from] media::Error),
}

impl From<keys::Error> for Error {
    fn from(error: keys::Error) -> Self {
        Self::Media(error.into())
    }
}

/// Signed URLs of a report's images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportUrls {
    /// The face in the reference. `None` without a face, before the job has ended, and after erasure.
    pub source: Option<String>,
    /// The whole probe. `None` if it could not be read, before the job has ended, and after erasure.
    pub target: Option<String>,
}

/// Signed URLs of what a reviewer sees, as paths. `None` as in [`ReportUrls`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CasePaths {
    /// The face in the reference.
    pub reference: Option<String>,
    /// The whole probe.
    pub probe: Option<String>,
    /// The face in the probe.
    pub probe_face: Option<String>,
}

impl Images {
    /// `public_url` is the address at which clients reach this API.
    ///
    /// # Errors
    /// When no key can be derived from the master keys.
    pub fn new(store: Store, media: Media, public_url: &str) -> Result<Self, keys::Error> {
        let signer = Arc::new(Signer::new(media.keyring())?);
        let links = Arc::new(SignedLinks::new(media.keyring(), public_url)?);
        Ok(Self { store, media, signer, links, rendering: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// What signs for this deployment.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Publishes the keys that check our signatures. Must be called before anything is signed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn publish_keys(&self) -> Result<(), store::Error> {
        let keys = self.signer.public_keys().into_iter();
        let keys: Vec<_> = keys.map(|key| SigningKey { kid: key.kid, public_key: key.key }).collect();
        self.store.insert_signing_keys(&keys).await
    }

    /// The keys that check our signatures, including those of retired master keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn public_keys(&self) -> Result<Vec<PublicKey>, store::Error> {
        let keys = self.store.list_signing_keys().await?.into_iter();
        Ok(keys.map(|key| PublicKey { kid: key.kid, key: key.public_key }).collect())
    }

    /// New URLs of what a report shows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_urls(
        &self,
        tenant_id: TenantId,
        job_id: JobId,
        outcome: Option<&Outcome>,
    ) -> Result<ReportUrls, Error> {
        let Some(outcome) = outcome else { return Ok(ReportUrls::default()) };
        let (now, shown) = self.store.list_shown(tenant_id, job_id).await?;
        let url = |place: Option<(ImageRole, u16)>, variant| {
            let found =
                place.and_then(|place| shown.iter().find(|image: &&JobImage| (image.role, image.position) == place));
            found.map(|image| self.links.issue(tenant_id, image.id, variant, now)).transpose()
        };
        Ok(ReportUrls {
            source: url(source(outcome), Variant::Portrait)?,
            target: url(target(outcome), Variant::Whole)?,
        })
    }

    /// New URLs of what a reviewer sees of a case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn case_paths(
        &self,
        tenant_id: TenantId,
        job_id: JobId,
        outcome: Option<&Outcome>,
    ) -> Result<CasePaths, Error> {
        let Some(outcome) = outcome else { return Ok(CasePaths::default()) };
        let (now, shown) = self.store.list_shown(tenant_id, job_id).await?;
        let path = |place: Option<(ImageRole, u16)>, variant| {
            let found =
                place.and_then(|place| shown.iter().find(|image: &&JobImage| (image.role, image.position) == place));
            found.map(|image| self.links.issue_path(tenant_id, image.id, variant, now)).transpose()
        };
        let probe = target(outcome);
        let with_face = |(role, position): &(ImageRole, u16)| {
            let seen = outcome.image(*role, *position).map(|report| &report.seen);
            matches!(seen, Some(ImageFinding::Picture { face: Some(_), .. }))
        };
        Ok(CasePaths {
            reference: path(source(outcome), Variant::Portrait)?,
            probe: path(probe, Variant::Whole)?,
            probe_face: path(probe.filter(with_face), Variant::Portrait)?,
        })
    }

    /// What a URL gives access to.
    ///
    /// # Errors
    /// [`Error::Forged`] unless exactly this URL was issued here.
    pub fn verify(&self, path: &str, query: &str) -> Result<Grant, Error> {
        self.links.verify(path, query).map_err(|_| Error::Forged)
    }

    fn url(&self, tenant_id: TenantId, id: ImageId, variant: Variant, now: i64) -> Result<String, Error> {
        Ok(self.links.issue(tenant_id, id, variant, now)?)
    }
}

/// The reference that has a face. If no face was found, nothing is shown: the whole document would reveal more than the
/// report may.
fn source(outcome: &Outcome) -> Option<(ImageRole, u16)> {
    let with_face = |seen: &ImageFinding| matches!(seen, ImageFinding::Picture { face: Some(_), .. });
    let found = outcome.images.iter().find(|image| image.role == ImageRole::Reference && with_face(&image.seen));
    found.map(|image| (image.role, image.position))
}

/// The probe that was compared. Without a comparison, the first one that could be read.
fn target(outcome: &Outcome) -> Option<(ImageRole, u16)> {
    let readable =
        |image: &&ImageReport| image.role == ImageRole::Probe && matches!(image.seen, ImageFinding::Picture { .. });
    let found = outcome.probe().filter(readable).or_else(|| outcome.images.iter().find(readable));
    found.map(|image| (image.role, image.position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::{Mode, Threshold};
    use crate::domain::frames::FrameSummary;
    use crate::domain::job::{JobParams, Verdict};

    fn outcome(images: Vec<(ImageRole, u16, ImageFinding)>, best: Option<u16>) -> Outcome {
        let images = images.into_iter().map(|(role, position, seen)| ImageReport { role, position, seen }).collect();
        Outcome {
            verdict: Verdict::NotFinished,
            params: JobParams::LikenessCheck { threshold: Threshold::new(0.5).unwrap(), mode: Mode::Fast },
            comparison: None,
            gallery_scores: Vec::new(),
            liveness: None,
            images,
            frames: Some(FrameSummary { best, ..FrameSummary::default() }),
            challenge: None,
            warnings: Vec::new(),
            compute_ms: 0.0,
            sandbox: false,
        }
    }

    fn picture(face: Option<[f64; 4]>) -> ImageFinding {
        ImageFinding::Picture {
            width: 9,
            height: 9,
            faces: u32::from(face.is_some()),
            face,
            quality: None,
            provenance: None,
        }
    }

    #[test]
    fn a_report_shows_the_portrait_of_a_face_and_the_best_frame_that_there_is() {
        use ImageRole::{Probe, Reference};
        let face = Some([1.0, 1.0, 3.0, 3.0]);
        let unreadable = ImageFinding::Unreadable { code: "x".to_owned(), reason: "x".to_owned() };
        let shown = |images, best| {
            let outcome = outcome(images, best);
            (source(&outcome), target(&outcome))
        };
        assert_eq!(shown(Vec::new(), None), (None, None));
        assert_eq!(
            shown(vec![(Reference, 0, picture(face)), (Probe, 0, picture(face)), (Probe, 1, picture(face))], Some(1)),
            (Some((Reference, 0)), Some((Probe, 1)))
        );
        assert_eq!(
            shown(vec![(Reference, 0, picture(None)), (Probe, 0, unreadable.clone()), (Probe, 1, picture(None))], None),
            (None, Some((Probe, 1)))
        );
        assert_eq!(shown(vec![(Reference, 0, unreadable.clone()), (Probe, 0, unreadable)], None), (None, None));
    }
}
