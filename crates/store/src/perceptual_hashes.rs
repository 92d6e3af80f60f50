//! Prints of the pictures that were sent as living faces, for as long as the pictures are kept.

use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, RequestId, TenantId};
use visavis_domain::perceptual_hash::PerceptualHash;

/// A picture that was sent as somebody's living face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeHash {
    pub hash: PerceptualHash,
    /// See [`PerceptualHash::parts`].
    pub parts: Vec<i64>,
    pub compared_with: ComparedWith,
}

/// Whose face it was said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComparedWith {
    /// Of the reference image.
    Image(PerceptualHash),
    /// A keyed hash of the ID number.
    Number(Vec<u8>),
}

impl ComparedWith {
    /// Whether it was another picture, or another number. That another picture shows another document is not said: somebody may
    /// photograph one twice.
    fn is_another(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Image(a), Self::Image(b)) => !a.is_like(b),
            (Self::Number(a), Self::Number(b)) => a != b,
            _ => false,
        }
    }
}

/// Earlier jobs with one part in common that are looked at: a picture that is sent day in, day out must not make each job dearer.
const MOST: i64 = 1000;

impl Store {
    /// Other jobs of the organisation that held the same picture against another one, or another number: how many, and the
    /// latest one's request.
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
            // Materialized: the planner thinks that parts are common, and would walk all prints from the latest on.
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
            let image = row.image.and_then(|it| PerceptualHash::from_stored(&it)).map(ComparedWith::Image);
            let compared_with = image.or(row.number.map(ComparedWith::Number))?;
            let is_duplicate = probe.hash.is_like(&hash) && probe.compared_with.is_another(&compared_with);
            is_duplicate.then(|| RequestId::from_stored(row.request_id))
        });
        let Some(latest) = found.next() else { return Ok(None) };
        Ok(Some((1 + found.count(), latest)))
    }

    /// Erases up to `limit` prints whose time is over; says how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_due_probe_hashes(&self, limit: i64) -> Result<u64, Error> {
        let erased = sqlx::query!(
            "DELETE FROM probe_prints WHERE job_id IN
                 (SELECT job_id FROM probe_prints WHERE purge_at <= now() ORDER BY purge_at LIMIT $1 FOR UPDATE SKIP LOCKED)",
            limit,
        )
        .execute(&self.pool)
        .await?;
        Ok(erased.rows_affected())
    }
}

impl Tx {
    /// Of a job that has just ended: the print goes when the job's images do.
    pub(super) async fn insert_probe_hash(
        &mut self,
        tenant: TenantId,
        job: JobId,
        probe: &ProbeHash,
    ) -> Result<(), Error> {
        let (image, number) = match &probe.compared_with {
            ComparedWith::Image(hash) => (Some(hash.as_bytes()), None),
            ComparedWith::Number(hash) => (None, Some(hash.as_slice())),
        };
        let rows = sqlx::query!(
            "INSERT INTO probe_prints (job_id, tenant_id, print, parts, image, number, purge_at)
             SELECT id, $2, $3, $4, $5, $6, purge_at FROM jobs WHERE id = $1 AND purge_at IS NOT NULL",
            job.0,
            tenant.0,
            probe.hash.as_bytes(),
            &probe.parts,
            image,
            number,
        )
        .execute(&mut *self.inner)
        .await?
        .rows_affected();
        if rows == 1 { Ok(()) } else { Err(Error::Unreadable { what: "job that ended without a last day" }) }
    }
}
