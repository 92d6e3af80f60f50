//! The reviewers: passwords as Argon2id hashes, sessions as HMACs of cookies.

use std::time::Duration;

use uuid::Uuid;

use super::audit_log::AuditAction;
use super::{Error, Store};
use visavis_domain::ids::TenantId;
use visavis_domain::review::{Reviewer, ReviewerId};
use visavis_domain::tenant::Account;

/// Wrong passwords in a row after which a reviewer is locked out.
pub const MOST_FAILURES: i32 = 5;
/// How long a lock lasts.
pub const LOCKED: Duration = Duration::from_mins(15);
/// A session ends when nothing is done in it for this time.
pub const IDLE: Duration = Duration::from_mins(30);
/// Every session ends after this time.
pub const LONGEST: Duration = Duration::from_hours(12);

/// A reviewer found by a login.
pub struct ReviewerLogin {
    pub reviewer: Reviewer,
    pub password_hash: String,
    /// No password is accepted at the moment.
    pub is_locked: bool,
}

/// A reviewer as lists show them.
pub struct ReviewerView {
    pub reviewer: Reviewer,
    pub is_locked: bool,
    pub is_disabled: bool,
}

/// A reviewer who is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub reviewer: Reviewer,
    pub organisation: String,
}

impl Store {
    /// Returns `false` if the login is taken.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_reviewer(&self, reviewer: &Reviewer, password_hash: &str) -> Result<bool, Error> {
        let rows = sqlx::query!(
            "INSERT INTO reviewers (id, tenant_id, sandbox, login, name, is_lead, password_hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (login) DO NOTHING",
            reviewer.id.0,
            reviewer.account.tenant_id.0,
            reviewer.account.sandbox,
            reviewer.login,
            reviewer.name,
            reviewer.is_lead,
            password_hash,
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        Ok(rows == 1)
    }

    /// The reviewers of an organisation, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_reviewers(&self, tenant_id: TenantId) -> Result<Vec<ReviewerView>, Error> {
        let rows = sqlx::query!(
            r#"SELECT id, tenant_id, sandbox, login, name, is_lead,
                      coalesce(locked_until > now(), false) AS "is_locked!", disabled_at IS NOT NULL AS "is_disabled!"
               FROM reviewers WHERE tenant_id = $1 ORDER BY sandbox, name, login"#,
            tenant_id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| ReviewerView {
                reviewer: reviewer(row.id, row.tenant_id, row.sandbox, row.login, row.name, row.is_lead),
                is_locked: row.is_locked,
                is_disabled: row.is_disabled,
            })
            .collect())
    }

    /// The reviewers who may be given a case: those of the account who may sign in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_colleagues(&self, account: Account) -> Result<Vec<Reviewer>, Error> {
        let rows = sqlx::query!(
            "SELECT id, tenant_id, sandbox, login, name, is_lead FROM reviewers
             WHERE tenant_id = $1 AND sandbox = $2 AND disabled_at IS NULL ORDER BY name, login LIMIT 500",
            account.tenant_id.0,
            account.sandbox,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| reviewer(row.id, row.tenant_id, row.sandbox, row.login, row.name, row.is_lead))
            .collect())
    }

    /// The reviewer with that login, unless they are disabled. A browser that has signed in before, `device`, has a
    /// lock of its own.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_reviewer(&self, login: &str, device: Option<&[u8]>) -> Result<Option<ReviewerLogin>, Error> {
        let row = sqlx::query!(
            r#"SELECT id, tenant_id, sandbox, login, name, is_lead, password_hash,
                      coalesce(CASE WHEN $2::bytea IS NULL THEN locked_until
                          ELSE (SELECT own.locked_until FROM reviewer_devices AS own
                                WHERE own.reviewer_id = reviewers.id AND own.device = $2) END > now(), false) AS "is_locked!"
               FROM reviewers WHERE login = $1 AND disabled_at IS NULL"#,
            login,
            device,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| ReviewerLogin {
            reviewer: reviewer(row.id, row.tenant_id, row.sandbox, row.login, row.name, row.is_lead),
            password_hash: row.password_hash,
            is_locked: row.is_locked,
        }))
    }

    /// Counts a wrong password. Returns whether it locks the reviewer out: in that browser, if it has signed in before,
    /// else in all others. During a lock nothing is counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_failure(&self, id: ReviewerId, device: Option<&[u8]>) -> Result<bool, Error> {
        if let Some(device) = device {
            return self.count_failure_of_device(id, device).await;
        }
        let locked = sqlx::query_scalar!(
            r#"UPDATE reviewers
               SET failures = CASE WHEN failures + 1 >= $2 THEN 0 ELSE failures + 1 END,
                   locked_until = CASE WHEN failures + 1 >= $2 THEN now() + make_interval(secs => $3) ELSE locked_until END
               WHERE id = $1 AND (locked_until IS NULL OR locked_until <= now())
               RETURNING coalesce(locked_until > now(), false) AS "locked!""#,
            id.0,
            MOST_FAILURES,
            LOCKED.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(locked.unwrap_or(false))
    }

    async fn count_failure_of_device(&self, id: ReviewerId, device: &[u8]) -> Result<bool, Error> {
        let locked = sqlx::query_scalar!(
            r#"INSERT INTO reviewer_devices AS own (reviewer_id, device, failures) VALUES ($1, $2, 1)
               ON CONFLICT (reviewer_id, device) DO UPDATE
               SET failures = CASE WHEN own.failures + 1 >= $3 THEN 0 ELSE own.failures + 1 END,
                   locked_until = CASE WHEN own.failures + 1 >= $3 THEN now() + make_interval(secs => $4)
                                       ELSE own.locked_until END
               WHERE own.locked_until IS NULL OR own.locked_until <= now()
               RETURNING coalesce(locked_until > now(), false) AS "locked!""#,
            id.0,
            device,
            MOST_FAILURES,
            LOCKED.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(locked.unwrap_or(false))
    }

    /// Opens a session and deletes those that have ended. A browser that has signed in before, `device`, lifts no lock
    /// but its own. `false` if the reviewer was locked out or disabled, or has
    /// another password, since the caller read this one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_session(
        &self,
        id: ReviewerId,
        password_hash: &str,
        token_hmac: &[u8],
        device: Option<&[u8]>,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            "UPDATE reviewers SET failures = CASE WHEN $3::bytea IS NULL THEN 0 ELSE failures END,
                                  locked_until = CASE WHEN $3::bytea IS NULL THEN NULL ELSE locked_until END
             WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL
               AND CASE WHEN $3::bytea IS NULL THEN locked_until IS NULL OR locked_until <= now()
                        ELSE NOT EXISTS (SELECT 1 FROM reviewer_devices AS own WHERE own.reviewer_id = id
                                                     AND own.device = $3 AND own.locked_until > now()) END",
            id.0,
            password_hash,
            device,
        )
        .execute(&mut *tx.inner)
        .await?
        .rows_affected();
        if rows == 0 {
            return Ok(false);
        }
        sqlx::query!("DELETE FROM reviewer_devices WHERE reviewer_id = $1 AND device = $2", id.0, device)
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query!(
            "DELETE FROM reviewer_sessions WHERE seen_at < now() - make_interval(secs => $1)",
            LONGEST.as_secs_f64(),
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!("INSERT INTO reviewer_sessions (token_hmac, reviewer_id) VALUES ($1, $2)", token_hmac, id.0)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The reviewer of a session, unless the session has ended. With `acts`, the reviewer does something, and the
    /// session lives on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_session(&self, token_hmac: &[u8], acts: bool) -> Result<Option<SignedIn>, Error> {
        let row = sqlx::query!(
            r#"SELECT reviewers.id, reviewers.tenant_id, sandbox, login, reviewers.name, is_lead,
                      tenants.name AS organisation, seen_at < now() - interval '1 minute' AS "is_stale!"
               FROM reviewer_sessions AS session
               JOIN reviewers ON reviewers.id = session.reviewer_id
               JOIN tenants ON tenants.id = reviewers.tenant_id
               WHERE token_hmac = $1 AND disabled_at IS NULL
                 AND seen_at > now() - make_interval(secs => $2) AND session.created_at > now() - make_interval(secs => $3)"#,
            token_hmac,
            IDLE.as_secs_f64(),
            LONGEST.as_secs_f64(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        // Not at every request, because each would be a write.
        if acts && row.is_stale {
            sqlx::query!("UPDATE reviewer_sessions SET seen_at = now() WHERE token_hmac = $1", token_hmac)
                .execute(&self.pool)
                .await?;
        }
        let reviewer = reviewer(row.id, row.tenant_id, row.sandbox, row.login, row.name, row.is_lead);
        Ok(Some(SignedIn { reviewer, organisation: row.organisation }))
    }

    /// # Errors
    /// When the database fails.
    pub async fn delete_session(&self, token_hmac: &[u8]) -> Result<(), Error> {
        sqlx::query!("DELETE FROM reviewer_sessions WHERE token_hmac = $1", token_hmac).execute(&self.pool).await?;
        Ok(())
    }

    /// Sets a new password. All sessions of the reviewer except `kept` end, and locks are lifted. `false` if nobody has
    /// that login.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_password(&self, login: &str, password_hash: &str, kept: Option<&[u8]>) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let id = sqlx::query_scalar!(
            "UPDATE reviewers SET password_hash = $2, failures = 0, locked_until = NULL WHERE login = $1 RETURNING id",
            login,
            password_hash,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(id) = id else { return Ok(false) };
        sqlx::query!("DELETE FROM reviewer_devices WHERE reviewer_id = $1", id).execute(&mut *tx.inner).await?;
        sqlx::query!(
            "DELETE FROM reviewer_sessions WHERE reviewer_id = $1 AND ($2::bytea IS NULL OR token_hmac <> $2)",
            id,
            kept,
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Disables a reviewer, ends their sessions and returns their cases; or enables them again. `false` if nobody has
    /// that login.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_disabled(&self, login: &str, disabled: bool) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let id = sqlx::query_scalar!(
            "UPDATE reviewers SET disabled_at = CASE WHEN $2 THEN now() END WHERE login = $1 RETURNING id",
            login,
            disabled,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(id) = id else { return Ok(false) };
        if disabled {
            sqlx::query!("DELETE FROM reviewer_sessions WHERE reviewer_id = $1", id).execute(&mut *tx.inner).await?;
            // Decisions that have not settled are dropped: a thief of the account may have made them.
            sqlx::query!(
                "WITH undone AS (
                     UPDATE review_cases SET state = came_from, came_from = NULL, pending = NULL, pending_by = NULL,
                                             settles_at = NULL
                     WHERE pending_by = $1 AND state = 'settling' RETURNING job_id, tenant_id, sandbox)
                 INSERT INTO review_trail (id, tenant_id, sandbox, reviewer_id, job_id, action, detail)
                 SELECT gen_random_uuid(), tenant_id, sandbox, $1, job_id, $2, 'disabled' FROM undone",
                id,
                AuditAction::Undone.name(),
            )
            .execute(&mut *tx.inner)
            .await?;
            sqlx::query!(
                "UPDATE review_cases SET holder = NULL, taken_at = NULL, lease_until = NULL WHERE holder = $1",
                id,
            )
            .execute(&mut *tx.inner)
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

fn reviewer(id: Uuid, tenant_id: Uuid, sandbox: bool, login: String, name: String, is_lead: bool) -> Reviewer {
    let account = Account { tenant_id: TenantId(tenant_id), sandbox };
    Reviewer { id: ReviewerId(id), account, login, name, is_lead }
}
