//! Liveness challenges: each can be answered once, and only in time.

use uuid::Uuid;

use super::{Error, Store, Tx};
use visavis_domain::challenge::Challenge;
use visavis_domain::ids::JobId;

/// Whether a job may use a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Spent {
    /// It may: the challenge is this job's now.
    Now,
    /// Another job used it before.
    Before,
    /// It has expired.
    Late,
}

impl Store {
    /// The database's time in seconds of the Unix epoch.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn now(&self) -> Result<i64, Error> {
        let now = sqlx::query_scalar!(r#"SELECT floor(extract(epoch FROM now()))::bigint AS "now!""#);
        Ok(now.fetch_one(&self.pool).await?)
    }

    /// Deletes challenges that expired long ago. They would be refused anyway. We keep them for an hour, because a
    /// transaction that waits for another one still sees the time at which it began.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_expired_challenges(&self) -> Result<u64, Error> {
        let forgotten = sqlx::query!("DELETE FROM spent_challenges WHERE expires_at <= now() - interval '1 hour'");
        Ok(forgotten.execute(&self.pool).await?.rows_affected())
    }
}

impl Tx {
    /// Uses a challenge for a job. If two jobs come with the same challenge at once, the second waits for the first to
    /// commit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spend_challenge(&mut self, challenge: &Challenge, job: JobId) -> Result<Spent, Error> {
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let expires = challenge.expires as f64;
        let is_late = sqlx::query_scalar!(r#"SELECT to_timestamp($1) <= now() AS "late!""#, expires);
        if is_late.fetch_one(&mut *self.inner).await? {
            return Ok(Spent::Late);
        }
        let spent: Option<Uuid> = sqlx::query_scalar!(
            "INSERT INTO spent_challenges (id, job_id, expires_at) VALUES ($1, $2, to_timestamp($3))
             ON CONFLICT DO NOTHING RETURNING id",
            challenge.id,
            job.0,
            expires,
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(if spent.is_some() { Spent::Now } else { Spent::Before })
    }
}
