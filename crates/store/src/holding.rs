//! Who holds which case. One reviewer at a time takes a case, keeps it by signs of life, hands it back, or gives it to
//! another.

use super::audit_log::{AuditAction, NewAuditEntry};
use super::jobs::{Change, change};
use super::signals::Signal;
use super::{Error, Store};
use visavis_domain::ids::JobId;
use visavis_domain::review::{ASSIGNED, LEASE, Reviewer, ReviewerId};

/// Cases that one reviewer may hold at once.
pub const MOST_HELD: i64 = 10;

impl Store {
    /// Takes a case that nobody else holds. Taking one's own case again prolongs the lease.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_case(&self, who: &Reviewer, job_id: JobId) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        // One reviewer's calls run one after the other, so that the count below is right.
        sqlx::query!("SELECT id FROM reviewers WHERE id = $1 FOR NO KEY UPDATE", who.id.0)
            .fetch_optional(&mut *tx.inner)
            .await?;
        let before = sqlx::query_scalar!(
            r#"UPDATE review_cases AS it
               SET holder = $2, lease_until = greatest(now() + make_interval(secs => $5),
                                                       CASE WHEN old.was_mine THEN it.lease_until END),
                   taken_at = CASE WHEN it.holder = $2 AND it.lease_until > now() THEN it.taken_at ELSE now() END
               FROM (SELECT coalesce(holder = $2 AND lease_until > now(), false) AS was_mine FROM review_cases
                     WHERE job_id = $1 AND tenant_id = $3 AND sandbox = $4 FOR UPDATE) AS old
               WHERE job_id = $1 AND tenant_id = $3 AND sandbox = $4 AND may_review(it, $2, $6)
                 AND (it.holder IS NULL OR lease_until <= now() OR it.holder = $2)
                 AND (old.was_mine OR (SELECT count(*) FROM review_cases AS other
                                       WHERE other.holder = $2 AND other.lease_until > now()) < $7)
               RETURNING old.was_mine AS "was_mine!""#,
            job_id.0,
            who.id.0,
            who.account.tenant_id.0,
            who.account.sandbox,
            LEASE.as_secs_f64(),
            who.is_lead,
            MOST_HELD,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(was_mine) = before else { return Ok(Change::Lost) };
        if !was_mine {
            tx.insert_audit_entry(&NewAuditEntry::of_case(who, job_id, AuditAction::Taken)).await?;
            tx.news.push(Signal::Case);
        }
        tx.commit().await?;
        Ok(Change::Done)
    }

    /// Takes the oldest case that the reviewer may have, except `but`. A case that they hold already comes first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_next_case(&self, who: &Reviewer, but: Option<JobId>) -> Result<Option<JobId>, Error> {
        let mut tx = self.begin().await?;
        let mine = sqlx::query_scalar!(
            "UPDATE review_cases SET lease_until = greatest(lease_until, now() + make_interval(secs => $5))
             WHERE job_id = (SELECT job_id FROM review_cases
                             WHERE holder = $1 AND lease_until > now() AND tenant_id = $2 AND sandbox = $3
                               AND job_id IS DISTINCT FROM $4 AND state IN ('waiting', 'second', 'disputed')
                             ORDER BY opened_at, job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING job_id",
            who.id.0,
            who.account.tenant_id.0,
            who.account.sandbox,
            but.map(|id| id.0),
            LEASE.as_secs_f64(),
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        if let Some(id) = mine {
            tx.commit().await?;
            return Ok(Some(JobId(id)));
        }
        // Cases that the reviewer handed back lately come only if there is nothing else.
        let mut free = None;
        for but_handed_back in [true, false] {
            free = sqlx::query_scalar!(
                // "state IN (...)" looks redundant beside "state <> 'settling'". It repeats the condition of the
                // partial index review_cases_queue, without which the planner would not use that index.
                "UPDATE review_cases SET holder = $1, taken_at = now(), lease_until = now() + make_interval(secs => $5)
                 WHERE job_id = (SELECT job_id FROM review_cases
                                 WHERE tenant_id = $2 AND sandbox = $3 AND job_id IS DISTINCT FROM $4
                                   AND state IN ('waiting', 'second', 'disputed', 'settling') AND state <> 'settling'
                                   AND (holder IS NULL OR lease_until <= now()) AND may_review(review_cases, $1, $6)
                                   AND NOT ($7 AND EXISTS
                                       (SELECT 1 FROM review_trail WHERE review_trail.job_id = review_cases.job_id
                                          AND reviewer_id = $1 AND action = 'handed_back' AND detail = ''
                                          AND at > now() - interval '1 hour'))
                                 ORDER BY opened_at, job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
                 RETURNING job_id",
                who.id.0,
                who.account.tenant_id.0,
                who.account.sandbox,
                but.map(|id| id.0),
                LEASE.as_secs_f64(),
                who.is_lead,
                but_handed_back,
            )
            .fetch_optional(&mut *tx.inner)
            .await?;
            if free.is_some() {
                break;
            }
        }
        let Some(id) = free.map(JobId) else { return Ok(None) };
        tx.insert_audit_entry(&NewAuditEntry::of_case(who, id, AuditAction::Taken)).await?;
        tx.news.push(Signal::Case);
        tx.commit().await?;
        Ok(Some(id))
    }

    /// Prolongs the hold by another [`LEASE`]. `Lost` if the reviewer does not hold the case any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew_case(&self, who: &Reviewer, job_id: JobId) -> Result<Change, Error> {
        let rows = sqlx::query!(
            "UPDATE review_cases SET lease_until = greatest(lease_until, now() + make_interval(secs => $5))
             WHERE job_id = $1 AND holder = $2 AND tenant_id = $3 AND sandbox = $4 AND lease_until > now()
               AND lapses_at > now() AND state IN ('waiting', 'second', 'disputed')",
            job_id.0,
            who.id.0,
            who.account.tenant_id.0,
            who.account.sandbox,
            LEASE.as_secs_f64(),
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        Ok(change(rows))
    }

    /// Returns a case to the queue, where it keeps its place. With `ahead`, only if the case was never shown to the
    /// reviewer: they may have another page open.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hand_back_case(&self, who: &Reviewer, job_id: JobId, ahead: bool) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            "UPDATE review_cases SET holder = NULL, taken_at = NULL, lease_until = NULL
             WHERE job_id = $1 AND holder = $2 AND tenant_id = $3 AND sandbox = $4
               AND state IN ('waiting', 'second', 'disputed')
               AND NOT ($5 AND EXISTS (SELECT 1 FROM review_trail
                                       WHERE review_trail.job_id = $1 AND reviewer_id = $2 AND action = 'opened'
                                         AND at >= taken_at))",
            job_id.0,
            who.id.0,
            who.account.tenant_id.0,
            who.account.sandbox,
            ahead,
        )
        .execute(&mut *tx.inner)
        .await?
        .rows_affected();
        if rows == 0 {
            return Ok(Change::Lost);
        }
        let entry = NewAuditEntry::of_case(who, job_id, AuditAction::HandedBack);
        tx.insert_audit_entry(&NewAuditEntry { detail: if ahead { "ahead" } else { "" }, ..entry }).await?;
        tx.news.push(Signal::Case);
        tx.commit().await?;
        Ok(Change::Done)
    }

    /// Gives a case to a reviewer, even if another holds it. `Lost` if the case is closed, or that reviewer may not
    /// have it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn assign_case(&self, lead: &Reviewer, job_id: JobId, to: ReviewerId) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        let name = sqlx::query_scalar!(
            "UPDATE review_cases SET holder = $2, taken_at = now(), lease_until = now() + make_interval(secs => $5)
             FROM reviewers
             WHERE job_id = $1 AND review_cases.tenant_id = $3 AND review_cases.sandbox = $4
               AND reviewers.id = $2 AND reviewers.tenant_id = $3 AND reviewers.sandbox = $4 AND disabled_at IS NULL
               AND may_review(review_cases, $2, is_lead)
             RETURNING reviewers.name",
            job_id.0,
            to.0,
            lead.account.tenant_id.0,
            lead.account.sandbox,
            ASSIGNED.as_secs_f64(),
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(name) = name else { return Ok(Change::Lost) };
        let entry = NewAuditEntry::of_case(lead, job_id, AuditAction::Assigned);
        tx.insert_audit_entry(&NewAuditEntry { detail: &name, ..entry }).await?;
        tx.news.push(Signal::Case);
        tx.commit().await?;
        Ok(Change::Done)
    }
}
