//! What was erased and is still to be deleted from the blob store. The commit that erases keys writes the places of the
//! blobs here. Each place has its own attempts and its own back-off.

use uuid::Uuid;

use super::{Error, Store, Tx};
use visavis_domain::ids::JobId;

/// A place that this process is to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueErasure {
    pub place: String,
    /// Times that it was tried, this time included.
    pub attempt: i32,
}

/// Writes places, each with the job that it belongs to.
pub(super) async fn insert_erasures(tx: &mut Tx, erased: &[(String, Option<Uuid>)]) -> Result<(), Error> {
    if erased.is_empty() {
        return Ok(());
    }
    let (places, jobs): (Vec<_>, Vec<_>) = erased.iter().cloned().unzip();
    sqlx::query!(
        "INSERT INTO erasures (place, job_id) SELECT * FROM unnest($1::text[], $2::uuid[])
         ON CONFLICT (place) DO NOTHING",
        &places,
        &jobs as &[Option<Uuid>],
    )
    .execute(&mut *tx.inner)
    .await?;
    Ok(())
}

impl Store {
    /// Takes up to `limit` places that are due. Each comes back after a minute, then two, then four, until it is
    /// finished; after a day at most. `visavis parked retry` makes a parked one due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_erasures(&self, limit: i64) -> Result<Vec<DueErasure>, Error> {
        let due = sqlx::query_as!(
            DueErasure,
            "UPDATE erasures
             SET attempt = attempt + 1,
                 next_at = now() + least(interval '1 minute' * 2 ^ least(attempt, 11), interval '1 day')
             WHERE place IN (SELECT place FROM erasures
                             WHERE next_at <= now()
                                OR place IN (SELECT item FROM parked_items WHERE loop = 'erasure' AND retry_at <= now())
                             ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING place, attempt",
            limit,
        );
        Ok(due.fetch_all(&self.pool).await?)
    }

    /// The places of a job that are not finished.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_erasures(&self, job: JobId) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar!("SELECT place FROM erasures WHERE job_id = $1", job.0).fetch_all(&self.pool).await?)
    }

    /// How many places wait to be deleted, and how many of them were tried more than `attempts` times.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_erasures(&self, attempts: i32) -> Result<(i64, i64), Error> {
        let counts = sqlx::query!(
            r#"SELECT count(*) AS "all!", count(*) FILTER (WHERE attempt > $1) AS "stuck!" FROM erasures"#,
            attempts,
        );
        let counts = counts.fetch_one(&self.pool).await?;
        Ok((counts.all, counts.stuck))
    }

    /// Forgets places: their blobs are gone, and the erasure log names them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_erasures(&self, places: &[String]) -> Result<(), Error> {
        sqlx::query!("DELETE FROM erasures WHERE place = ANY($1)", places).execute(&self.pool).await?;
        Ok(())
    }
}
