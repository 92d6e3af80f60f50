//! Perceptual hashes of the images that were sent as living faces. They are kept as long as those images.

use super::{Error, Store};
use visavis_domain::ids::{JobId, RequestId, TenantId};
use visavis_domain::perceptual_hash::PerceptualHash;

/// The hash of an image that was sent as somebody's living face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeHash {
    pub hash: PerceptualHash,
    /// See [`PerceptualHash::parts`].
    pub parts: Vec<i64>,
    pub compared_with: ComparedWith,
}

/// What the face was compared with: whose face it was said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComparedWith {
    /// The hash of the reference image.
    Image(PerceptualHash),
    /// A keyed hash of the ID number.
    Number(Vec<u8>),
}

impl ComparedWith {
    /// Whether the other job used another image, or another ID number. It does not say that another person was meant:
    /// somebody may photograph one document twice.
    fn is_another(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Image(a), Self::Image(b)) => !a.is_like(b),
            (Self::Number(a), Self::Number(b)) => a != b,
            _ => false,
        }
    }
}

/// How many earlier jobs with a common part are looked at. Otherwise an image that is sent every day would make each
/// job slower.
const MOST: i64 = 1000;

impl Store {
    /// Finds other jobs of the organisation that compared the same image with something else. Returns how many there
    /// are, and the request of the latest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_duplicates(
        &self,
        tenant: TenantId,
        job: JobId,
        probe: &ProbeHash,
    ) -> Result<Option<(usize, RequestId)>, Error> {
        let rows = sqlx::query!(
            // Materialized, because the planner takes parts for common and would walk all hashes from the latest on.
            "WITH alike AS MATERIALIZED (SELECT job_id, print, image, number FROM probe_prints
                                         WHERE parts && $1 AND tenant_id = $2 AND job_id <> $3 AND purge_at > now() LIMIT $4)
             SELECT alike.print, alike.image, alike.number, jobs.request_id
             FROM alike JOIN jobs ON jobs.id = alike.job_id ORDER BY alike.job_id DESC",
            &probe.parts,
            tenant.0,
            job.0,
            MOST,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut found = rows.into_iter().filter_map(|row| {
            let hash = PerceptualHash::from_stored(&row.print)?;
            let image = row.image.and_then(|bytes| PerceptualHash::from_stored(&bytes)).map(ComparedWith::Image);
            let compared_with = image.or(row.number.map(ComparedWith::Number))?;
            let is_duplicate = probe.hash.is_like(&hash) && probe.compared_with.is_another(&compared_with);
            is_duplicate.then(|| RequestId::from_stored(row.request_id))
        });
        let Some(latest) = found.next() else { return Ok(None) };
        Ok(Some((1 + found.count(), latest)))
    }

    /// Erases up to `limit` hashes whose retention has ended, past the first `skip` ones. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_due_probe_hashes(&self, limit: i64, skip: i64) -> Result<u64, Error> {
        let erased = sqlx::query!(
            "DELETE FROM probe_prints WHERE job_id IN
                 (SELECT job_id FROM probe_prints WHERE purge_at <= now() ORDER BY purge_at, job_id LIMIT $1 OFFSET $2 FOR UPDATE SKIP LOCKED)",
            limit,
            skip,
        )
        .execute(&self.pool)
        .await?;
        Ok(erased.rows_affected())
    }
}
