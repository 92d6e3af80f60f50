//! The reviewers' decisions. Each is held back for a few seconds, then written for good and published. Corrections are
//! further entries.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::audit_log::{AuditAction, NewAuditEntry};
use super::events::NewEvent;
use super::jobs::Change;
use super::metadata::{StoredMetadata, summary};
use super::parked::WorkLoop;
use super::signals::Signal;
use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::notice;
use visavis_domain::outcome::Outcome;
use visavis_domain::review::{
    CaseState, LEASE, Opinion, Reason, Review, ReviewDecision, Reviewer, ReviewerId, Stage, UNDO,
};
use visavis_domain::tenant::Account;
use visavis_domain::webhook::EventType;

/// An entry of the log of decisions.
#[derive(Debug, Clone)]
pub struct DecisionRow {
    pub id: Uuid,
    pub job_id: JobId,
    pub request_id: String,
    pub revision: i32,
    pub stage: Stage,
    pub choice: ReviewDecision,
    pub reasons: Vec<Reason>,
    pub note: String,
    /// Which images the reviewer had seen, for example `probe 0 whole`.
    pub seen: Vec<String>,
    pub by: (ReviewerId, String),
    pub at: DateTime<Utc>,
}

/// Which entries to list. An empty filter lists all.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    pub choice: Option<ReviewDecision>,
    pub stage: Option<Stage>,
    pub by: Option<ReviewerId>,
    pub job: Option<JobId>,
}

/// Entries that one case may have.
pub const MOST_REVISIONS: i32 = 20;

/// An entry about to be written.
struct NewDecision<'a> {
    account: Account,
    job_id: JobId,
    revision: i32,
    by: ReviewerId,
    stage: Stage,
    opinion: &'a Opinion,
    taken_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Takes the holder's decision. Nobody hears of it before [`UNDO`] has passed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn decide_case(
        &self,
        who: &Reviewer,
        job_id: JobId,
        opinion: &Opinion,
        needs_two: bool,
    ) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        // Whether two reviewers must agree is fixed now: if the rule changes within the seconds, this decision keeps
        // the old one.
        let pending = Json(Pending { opinion: opinion.clone(), needs_two });
        let rows = sqlx::query!(
            "UPDATE review_cases
             SET came_from = state, state = 'settling', pending = $5, pending_by = $2,
                 settles_at = now() + make_interval(secs => $6), lease_until = now() + make_interval(secs => $7)
             WHERE job_id = $1 AND holder = $2 AND tenant_id = $3 AND sandbox = $4 AND lease_until > now()
               AND may_review(review_cases, $2, $8)",
            job_id.0,
            who.id.0,
            who.account.tenant_id.0,
            who.account.sandbox,
            pending as _,
            UNDO.as_secs_f64(),
            LEASE.as_secs_f64(),
            who.is_lead,
        )
        .execute(&mut *tx.inner)
        .await?
        .rows_affected();
        if rows == 0 {
            return Ok(Change::Lost);
        }
        let entry = NewAuditEntry::of_case(who, job_id, AuditAction::Decided);
        tx.insert_audit_entry(&NewAuditEntry { detail: opinion.choice.name(), ..entry }).await?;
        tx.news.push(Signal::Case);
        tx.commit().await?;
        Ok(Change::Done)
    }

    /// Undoes a decision that has not settled. The reviewer holds the case again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn undo_decision(&self, who: &Reviewer, job_id: JobId) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            "UPDATE review_cases
             SET state = came_from, came_from = NULL, pending = NULL, pending_by = NULL, settles_at = NULL,
                 holder = $2, taken_at = coalesce(taken_at, now()), lease_until = now() + make_interval(secs => $5)
             WHERE job_id = $1 AND pending_by = $2 AND tenant_id = $3 AND sandbox = $4 AND state = 'settling'
               AND settles_at > now()",
            job_id.0,
            who.id.0,
            who.account.tenant_id.0,
            who.account.sandbox,
            LEASE.as_secs_f64(),
        )
        .execute(&mut *tx.inner)
        .await?
        .rows_affected();
        if rows == 0 {
            return Ok(Change::Lost);
        }
        tx.insert_audit_entry(&NewAuditEntry::of_case(who, job_id, AuditAction::Undone)).await?;
        tx.news.push(Signal::Case);
        tx.commit().await?;
        Ok(Change::Done)
    }

    /// Writes and publishes up to `limit` decisions whose seconds are over, each in a commit of its own, and returns
    /// how many. A decision that cannot be read or written is parked. One that another fault stops is tried again after
    /// a minute. Neither delays others.
    ///
    /// # Errors
    /// The last error, when one or more decisions were put off, or when the database fails.
    pub async fn settle_decisions(&self, limit: i64) -> Result<u64, Error> {
        let due = sqlx::query_scalar!(
            "SELECT job_id FROM review_cases WHERE state = 'settling' AND settles_at <= now()
               AND NOT EXISTS (SELECT 1 FROM parked_items
                               WHERE loop = $2 AND item = job_id::text AND retry_at > now())
             ORDER BY settles_at LIMIT $1",
            limit,
            WorkLoop::Decisions.name(),
        )
        .fetch_all(&self.pool)
        .await?;
        let (mut settled, mut fault) = (0, None);
        for id in due {
            match self.settle_one(JobId(id)).await {
                Ok(done) => settled += u64::from(done),
                Err(error) if error.is_of_item() => {
                    self.park(WorkLoop::Decisions, &id.to_string(), None, &error.reason()).await?;
                }
                Err(error) => {
                    sqlx::query!(
                        "UPDATE review_cases SET settles_at = now() + interval '1 minute'
                         WHERE job_id = $1 AND state = 'settling' AND settles_at <= now()",
                        id,
                    )
                    .execute(&self.pool)
                    .await?;
                    fault = Some(error);
                }
            }
        }
        fault.map_or(Ok(settled), Err)
    }

    async fn settle_one(&self, job_id: JobId) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            r#"SELECT tenant_id, sandbox, revision, taken_at, first_choice, pending AS "pending!: Json<Pending>",
                      pending_by AS "pending_by!", came_from AS "came_from!"
               FROM review_cases WHERE job_id = $1 AND state = 'settling' AND settles_at <= now()
               FOR UPDATE SKIP LOCKED"#,
            job_id.0,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(row) = row else { return Ok(false) };
        let account = Account { tenant_id: TenantId(row.tenant_id), sandbox: row.sandbox };
        let (by, Pending { opinion, needs_two }) = (ReviewerId(row.pending_by), row.pending.0);
        let from = CaseState::parse(&row.came_from).ok_or(Error::Unreadable { what: "state of a case" })?;
        let first = row.first_choice.as_deref().and_then(ReviewDecision::parse);
        let (stage, to) = from.after(opinion.choice, first, needs_two);
        let revision = row.revision + 1;
        let entry = NewDecision { account, job_id, revision, by, stage, opinion: &opinion, taken_at: row.taken_at };
        tx.insert_decision(&entry).await?;
        let is_first = to == CaseState::Second;
        let verdict = (to == CaseState::Decided).then(|| opinion.choice.name());
        sqlx::query!(
            "UPDATE review_cases
             SET state = $2, revision = $3, holder = NULL, taken_at = NULL, lease_until = NULL,
                 came_from = NULL, pending = NULL, pending_by = NULL, settles_at = NULL,
                 first_by = CASE WHEN $4 THEN $5 ELSE first_by END,
                 first_choice = CASE WHEN $4 THEN $6 ELSE first_choice END,
                 verdict = $7, decided_at = CASE WHEN $7::text IS NULL THEN NULL ELSE now() END
             WHERE job_id = $1",
            job_id.0,
            to.name(),
            revision,
            is_first,
            by.0,
            opinion.choice.name(),
            verdict,
        )
        .execute(&mut *tx.inner)
        .await?;
        if to == CaseState::Decided {
            tx.end_review(account, job_id).await?;
            tx.tell_decision(account, job_id).await?;
        }
        tx.news.push(Signal::Case);
        tx.commit().await?;
        Ok(true)
    }

    /// Adds an entry that replaces the one of that revision. Only a lead may correct what two reviewers agreed on. A
    /// case has [`MOST_REVISIONS`] entries at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn correct_decision(
        &self,
        who: &Reviewer,
        job_id: JobId,
        revision: i32,
        opinion: &Opinion,
    ) -> Result<Change, Error> {
        let mut tx = self.begin().await?;
        let revision = sqlx::query_scalar!(
            "UPDATE review_cases SET verdict = $4, decided_at = now(), revision = revision + 1
             WHERE job_id = $1 AND tenant_id = $2 AND sandbox = $3 AND state = 'decided' AND revision = $5 AND revision < $6
               AND ($7 OR first_by IS NULL)
             RETURNING revision",
            job_id.0,
            who.account.tenant_id.0,
            who.account.sandbox,
            opinion.choice.name(),
            revision,
            MOST_REVISIONS,
            who.is_lead,
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(revision) = revision else { return Ok(Change::Lost) };
        let (account, by, stage) = (who.account, who.id, Stage::Correction);
        tx.insert_decision(&NewDecision { account, job_id, revision, by, stage, opinion, taken_at: None }).await?;
        let entry = NewAuditEntry::of_case(who, job_id, AuditAction::Corrected);
        tx.insert_audit_entry(&NewAuditEntry { detail: opinion.choice.name(), ..entry }).await?;
        tx.tell_decision(account, job_id).await?;
        tx.news.push(Signal::Case);
        tx.commit().await?;
        Ok(Change::Done)
    }

    /// Up to `limit` of the account's entries, the latest first. With `before`, only those before it. Until the second
    /// opinion is given, only its author sees the first one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_decisions(
        &self,
        reader: &Reviewer,
        filter: &DecisionFilter,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<DecisionRow>, Error> {
        let rows = sqlx::query!(
            r#"SELECT entry.id, entry.job_id, request_id, revision, stage, choice, reasons, note, entry.created_at,
                      seen AS "seen: Json<Vec<String>>", reviewer_id, reviewers.name
               FROM review_decisions AS entry
               JOIN jobs ON jobs.id = entry.job_id JOIN reviewers ON reviewers.id = reviewer_id
               WHERE entry.tenant_id = $1 AND entry.sandbox = $2 AND entry.id < $3
                 AND ($4::text IS NULL OR choice = $4) AND ($5::text IS NULL OR stage = $5)
                 AND ($6::uuid IS NULL OR reviewer_id = $6) AND ($7::uuid IS NULL OR entry.job_id = $7)
                 -- Those that this version knows: one that a newer version wrote must not hide them.
                 AND stage IN ('opinion', 'decision', 'correction') AND choice IN ('approved', 'rejected')
                 AND (stage <> 'opinion' OR reviewer_id = $9 OR NOT EXISTS
                     (SELECT 1 FROM review_cases AS open WHERE open.job_id = entry.job_id
                        AND (open.state = 'second' OR (open.state = 'settling' AND open.came_from = 'second'))))
               ORDER BY entry.id DESC LIMIT $8"#,
            reader.account.tenant_id.0,
            reader.account.sandbox,
            before.unwrap_or(Uuid::max()),
            filter.choice.map(ReviewDecision::name),
            filter.stage.map(Stage::name),
            filter.by.map(|reviewer| reviewer.0),
            filter.job.map(|job| job.0),
            limit,
            reader.id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        let unreadable = || Error::Unreadable { what: "decision" };
        rows.into_iter()
            .map(|row| {
                Ok(DecisionRow {
                    id: row.id,
                    job_id: JobId(row.job_id),
                    request_id: row.request_id,
                    revision: row.revision,
                    stage: Stage::parse(&row.stage).ok_or_else(unreadable)?,
                    choice: ReviewDecision::parse(&row.choice).ok_or_else(unreadable)?,
                    reasons: reasons(&row.reasons),
                    note: row.note,
                    seen: row.seen.0,
                    by: (ReviewerId(row.reviewer_id), row.name),
                    at: row.created_at,
                })
            })
            .collect()
    }
}

/// A decision that has not settled, as the database holds it.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    #[serde(flatten)]
    opinion: Opinion,
    needs_two: bool,
}

impl Tx {
    async fn insert_decision(&mut self, entry: &NewDecision<'_>) -> Result<(), Error> {
        let reasons: Vec<_> = entry.opinion.reasons.iter().map(|reason| reason.name().to_owned()).collect();
        sqlx::query!(
            "INSERT INTO review_decisions (id, job_id, tenant_id, sandbox, revision, reviewer_id, stage, choice, reasons, note,
                                           seen, taken_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                    coalesce((SELECT jsonb_agg(DISTINCT detail) FROM review_trail
                              WHERE job_id = $2 AND reviewer_id = $6 AND action = 'viewed'), '[]'), $11",
            Uuid::now_v7(),
            entry.job_id.0,
            entry.account.tenant_id.0,
            entry.account.sandbox,
            entry.revision,
            entry.by.0,
            entry.stage.name(),
            entry.opinion.choice.name(),
            &reasons,
            entry.opinion.note,
            entry.taken_at,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Gives the images of a decided case the same end as those of any other job.
    async fn end_review(&mut self, account: Account, job_id: JobId) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE jobs SET purge_at = least(purge_at, now() + make_interval(secs =>
                 (SELECT retention_seconds FROM tenants WHERE tenants.id = $2)))
             WHERE id = $1 AND tenant_id = $2",
            job_id.0,
            account.tenant_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "UPDATE probe_prints SET purge_at = jobs.purge_at FROM jobs WHERE probe_prints.job_id = $1 AND jobs.id = $1",
            job_id.0,
        )
        .execute(&mut *self.inner)
        .await?;
        self.share_last_day(job_id).await
    }

    /// Publishes the decision that holds now.
    async fn tell_decision(&mut self, account: Account, job_id: JobId) -> Result<(), Error> {
        let row = sqlx::query!(
            r#"SELECT id, request_id, kind, jobs.sandbox, metadata AS "metadata: Json<StoredMetadata>",
                      result AS "result: Json<Outcome>", review_cases.revision, decided_at AS "decided_at!",
                      review_cases.verdict AS "verdict!",
                      (SELECT reasons FROM review_decisions AS entry
                       WHERE entry.job_id = jobs.id AND entry.revision = review_cases.revision) AS "reasons!"
               FROM jobs JOIN review_cases ON review_cases.job_id = jobs.id
               WHERE jobs.id = $1 AND jobs.tenant_id = $2"#,
            job_id.0,
            account.tenant_id.0,
        )
        .fetch_one(&mut *self.inner)
        .await?;
        let review = Review {
            choice: ReviewDecision::parse(&row.verdict).ok_or(Error::Unreadable { what: "decision" })?,
            reasons: reasons(&row.reasons),
            revision: row.revision,
            decided_at: row.decided_at,
        };
        let summary = summary(row.id, row.request_id, row.kind, row.sandbox, row.metadata);
        let notice = notice::decided(&summary, row.result.as_ref().map(|result| &result.0), &review);
        let event = NewEvent {
            account,
            job_id: Some(job_id),
            kind: EventType::ReviewDecided,
            revision: review.revision,
            data: &notice,
        };
        self.insert_revision(&event).await
    }
}

pub(super) fn reasons(names: &[String]) -> Vec<Reason> {
    names.iter().filter_map(|name| Reason::parse(name)).collect()
}
