//! The desk's audit log: who did what. Entries are only ever added; a trigger refuses changes.

use chrono::{DateTime, Utc};
use strum::{EnumString, IntoStaticStr};
use uuid::Uuid;

use super::{Error, Store, Tx};
use visavis_domain::ids::{ImageId, JobId};
use visavis_domain::image::Variant;
use visavis_domain::review::Reviewer;
use visavis_domain::tenant::Account;

/// What a reviewer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AuditAction {
    SignedIn,
    SignedOut,
    /// Too many wrong passwords in a row.
    LockedOut,
    PasswordChanged,
    /// A case was taken: by its reviewer, or for them before it was shown.
    Taken,
    /// A case was shown on the reviewer's screen.
    Opened,
    /// An image was sent to the reviewer's browser.
    Viewed,
    HandedBack,
    /// A lead gave the case to this reviewer.
    Assigned,
    Decided,
    Undone,
    Corrected,
}

impl AuditAction {
    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// An entry as pages show it.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    pub at: DateTime<Utc>,
    /// The reviewer's name.
    pub who: String,
    pub action: Option<AuditAction>,
    pub detail: String,
}

/// An entry about to be written.
pub(super) struct NewAuditEntry<'a> {
    pub who: &'a Reviewer,
    /// The job whose case it is about, if it is about one.
    pub job_id: Option<JobId>,
    pub action: AuditAction,
    pub detail: &'a str,
}

impl<'a> NewAuditEntry<'a> {
    /// An entry about a case, without a detail.
    pub fn of_case(who: &'a Reviewer, job_id: JobId, action: AuditAction) -> Self {
        Self { who, job_id: Some(job_id), action, detail: "" }
    }
}

impl Tx {
    pub(super) async fn insert_audit_entry(&mut self, entry: &NewAuditEntry<'_>) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO review_trail (id, tenant_id, sandbox, reviewer_id, job_id, action, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            Uuid::now_v7(),
            entry.who.account.tenant_id.0,
            entry.who.account.sandbox,
            entry.who.id.0,
            entry.job_id.map(|id| id.0),
            entry.action.name(),
            entry.detail,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Records an action that concerns no case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(&self, who: &Reviewer, action: AuditAction) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        tx.insert_audit_entry(&NewAuditEntry { who, job_id: None, action, detail: "" }).await?;
        tx.commit().await
    }

    /// Records that a case, and with it the links to its images, was shown to the reviewer. At most one entry a minute.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_opened(&self, who: &Reviewer, job_id: JobId) -> Result<(), Error> {
        sqlx::query!(
            // "action IN (...)" looks redundant beside the action itself. It repeats the condition of the partial index
            // review_trail_views, without which the planner would not use that index.
            "INSERT INTO review_trail (id, tenant_id, sandbox, reviewer_id, job_id, action)
             SELECT $1, $2, $3, $4, $5, $6
             WHERE NOT EXISTS (SELECT 1 FROM review_trail WHERE job_id = $5 AND reviewer_id = $4 AND action = $6 AND detail = ''
                                 AND at > now() - interval '1 minute' AND action IN ('opened', 'viewed'))",
            Uuid::now_v7(),
            who.account.tenant_id.0,
            who.account.sandbox,
            who.id.0,
            job_id.0,
            AuditAction::Opened.name(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Records that an image of a case of the reviewer's account was sent to their browser. At most one entry a minute.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_view(&self, who: &Reviewer, image: ImageId, variant: Variant) -> Result<(), Error> {
        sqlx::query!(
            // "action IN (...)" looks redundant beside the action itself. It repeats the condition of the partial index
            // review_trail_views, without which the planner would not use that index.
            "INSERT INTO review_trail (id, tenant_id, sandbox, reviewer_id, job_id, action, detail)
             SELECT $1, shown.tenant_id, shown.sandbox, $2, shown.job_id, $3, shown.detail
             FROM (SELECT review_cases.tenant_id, review_cases.sandbox, review_cases.job_id,
                          images.role || ' ' || images.position || ' ' || $4::text AS detail
                   FROM images JOIN review_cases ON review_cases.job_id = images.job_id
                   WHERE images.id = $5 AND review_cases.tenant_id = $6 AND review_cases.sandbox = $7) AS shown
             WHERE NOT EXISTS (SELECT 1 FROM review_trail AS old
                               WHERE old.job_id = shown.job_id AND old.reviewer_id = $2 AND old.action = $3
                                 AND old.detail = shown.detail AND old.at > now() - interval '1 minute'
                                 AND old.action IN ('opened', 'viewed'))",
            Uuid::now_v7(),
            who.id.0,
            AuditAction::Viewed.name(),
            variant.name(),
            image.0,
            who.account.tenant_id.0,
            who.account.sandbox,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was done with a case, the latest first. Up to `limit` entries of views and up to `limit` of everything
    /// else, so that many views do not hide the other entries.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_audit_log(&self, account: Account, job_id: JobId, limit: i64) -> Result<Vec<AuditEntry>, Error> {
        let rows = sqlx::query!(
            r#"SELECT at AS "at!", name AS "name!", action AS "action!", detail AS "detail!"
               FROM ((SELECT id, at, reviewer_id, action, detail FROM review_trail
                      WHERE job_id = $1 AND tenant_id = $2 AND sandbox = $3 AND action NOT IN ('opened', 'viewed')
                      ORDER BY id DESC LIMIT $4)
                     UNION ALL
                     (SELECT id, at, reviewer_id, action, detail FROM review_trail
                      WHERE job_id = $1 AND tenant_id = $2 AND sandbox = $3 AND action IN ('opened', 'viewed')
                      ORDER BY id DESC LIMIT $4)) AS entry
               JOIN reviewers ON reviewers.id = reviewer_id
               ORDER BY at DESC, entry.id DESC"#,
            job_id.0,
            account.tenant_id.0,
            account.sandbox,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        let entry = rows.into_iter().map(|row| AuditEntry {
            at: row.at,
            who: row.name,
            action: row.action.parse().ok(),
            detail: row.detail,
        });
        Ok(entry.collect())
    }
}
