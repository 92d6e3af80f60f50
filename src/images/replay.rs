//! Replays the erasure log. An older backup of the database, once restored, has rows and keys of images that were
//! erased since. The log lies in the blob store, so the restore did not take it away.

use std::time::Duration;

use futures_util::StreamExt as _;
use tracing::warn;

use super::{Error, Images};
use crate::domain::blob::BlobPlace;
use crate::domain::ids::{JobId, TenantId};

/// What a replay found again and erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasureReplay {
    /// Entries of the log that were read. Each names up to some hundred places.
    pub log_entries: u64,
    /// Images without a job that is erased, too.
    pub images: u64,
    /// Jobs that had been erased on request, or whose images are erased and that had not ended in this database.
    pub jobs: u64,
    /// Entries of the registry of identity records.
    pub registry_entries: u64,
    /// Bodies of dead letters.
    pub bodies: u64,
    /// What could not be read or erased. The log says why.
    pub faults: u64,
}

impl Images {
    /// Erases everything again that the erasure log names. Places that are not in the database are left alone, so a
    /// replay can be repeated. An entry at fault keeps no other.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replay_erasures(&self) -> Result<ErasureReplay, Error> {
        let mut replayed = ErasureReplay::default();
        let now = self.store.ago(Duration::ZERO).await?;
        // An hour more: the clocks of the database and of the blob store may differ.
        let mut log = std::pin::pin!(self.media.erasure_log(now + Duration::from_hours(1)));
        while let Some(entry) = log.next().await {
            match entry {
                Ok(places) => self.replay(&places, &mut replayed).await?,
                Err(error) => {
                    warn!(%error, "an entry of the erasure log cannot be read");
                    replayed.faults += 1;
                }
            }
        }
        Ok(replayed)
    }

    async fn replay(&self, places: &[String], replayed: &mut ErasureReplay) -> Result<(), Error> {
        let (mut images, mut entries, mut letters, mut jobs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for place in places {
            match BlobPlace::parse(place) {
                Some(BlobPlace::Image(_, image)) => images.push(image.0),
                Some(BlobPlace::Portrait(entry)) => entries.push(entry),
                Some(BlobPlace::DeadLetter(letter)) => letters.push(letter),
                Some(BlobPlace::Job(tenant, job)) => jobs.push((tenant, job)),
                // It goes with its image.
                Some(BlobPlace::Rendition(..)) => {}
                None => {
                    warn!(%place, "the erasure log names a place that this version does not know");
                    replayed.faults += 1;
                }
            }
        }
        replayed.log_entries += 1;
        for (tenant, job) in jobs {
            self.erase_job_again(tenant, job, replayed).await?;
        }
        let again = self.store.erase_again(&images, &entries, &letters).await?;
        replayed.images += again.images;
        replayed.registry_entries += again.entries;
        replayed.bodies += again.bodies;
        for (tenant, job) in again.open_jobs {
            self.erase_job_again(tenant, job, replayed).await?;
        }
        Ok(())
    }

    async fn erase_job_again(&self, tenant: TenantId, job: JobId, replayed: &mut ErasureReplay) -> Result<(), Error> {
        let Some(account) = self.store.find_unerased_job(tenant, job).await? else { return Ok(()) };
        match self.erase_job(account, job).await {
            Ok(_) => replayed.jobs += 1,
            Err(error) => {
                warn!(%job, %error, "a job was not erased again altogether");
                replayed.faults += 1;
            }
        }
        Ok(())
    }
}
