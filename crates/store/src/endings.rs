//! How a job ends with its result: in one statement, so that a slow network costs one round trip and not ten.

use sqlx::types::Json;
use sqlx::{Executor, Postgres};
use uuid::Uuid;

use super::jobs::{Change, Claim, Success};
use super::perceptual_hashes::{ComparedWith, ProbeHash};
use super::replies::ReplyType;
use super::sealed::SealPurpose;
use super::signals::Signal;
use super::{Error, Store};
use visavis_domain::job::{JobParams, Verdict};
use visavis_domain::notice;
use visavis_domain::outcome::Outcome;
use visavis_domain::webhook::EventType;

impl Store {
    /// Ends the job with its result. Result, event, usage, payment, final reply and what is kept beside the result are
    /// one commit. It takes effect once, however often it is called.
    ///
    /// # Errors
    /// When the database fails. The job may have been finished all the same: ask [`Store::is_finished`].
    pub async fn finish_succeeded(&self, claim: &Claim, success: &Success) -> Result<Change, Error> {
        let Success { outcome, identity, frame, probe_hash } = success;
        let (tenant_id, job_id) = (claim.tenant_id, claim.summary.id);
        let is_billed = matches!(claim.params, JobParams::IdMatch { .. })
            && outcome.verdict == Verdict::Approved
            && !claim.summary.sandbox;
        let is_in_review = outcome.verdict == Verdict::InReview;
        if !is_billed && !is_in_review && identity.is_none() && frame.is_none() {
            // The statement is a transaction of its own.
            let Some(news) = end_job(&self.pool, claim, outcome, probe_hash.as_ref()).await? else {
                return Ok(Change::Lost);
            };
            news.for_each(|signal| self.signals.raise(signal));
            return Ok(Change::Done);
        }
        let mut tx = self.begin().await?;
        let Some(news) = end_job(&mut *tx.inner, claim, outcome, probe_hash.as_ref()).await? else {
            return Ok(Change::Lost);
        };
        tx.news.extend(news);
        if is_billed {
            let note = format!("id_match {}", claim.summary.request_id);
            tx.debit_wallet(tenant_id, job_id, &note).await?;
        }
        if let Some(identity) = identity {
            tx.insert_sealed(tenant_id, job_id, SealPurpose::Identity, identity).await?;
        }
        if let Some(frame) = frame {
            tx.insert_image(tenant_id, job_id, frame).await?;
        }
        if identity.is_some() || frame.is_some() {
            tx.share_last_day(job_id).await?;
        }
        if is_in_review {
            tx.open_case(job_id).await?;
        }
        tx.commit().await?;
        Ok(Change::Done)
    }
}

/// Ends a running job: result, usage, event with its deliveries (see `events`), reply, hash, the images' last day. Its
/// doorbells go. Returns what to signal after the commit, or `None` if this claim no longer holds the job.
async fn end_job<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    claim: &Claim,
    outcome: &Outcome,
    probe_hash: Option<&ProbeHash>,
) -> Result<Option<impl Iterator<Item = Signal>>, Error> {
    let (image, number) = match probe_hash.map(|probe| &probe.compared_with) {
        Some(ComparedWith::Image(hash)) => (Some(hash.as_bytes()), None),
        Some(ComparedWith::Number(hash)) => (None, Some(hash.as_slice())),
        None => (None, None),
    };
    let has_reply = sqlx::query_scalar!(
        // Every part reads `ended`, so that nothing happens if it is empty. The lock on an endpoint keeps it from being
        // deleted meanwhile: that must not undo what happened to the job.
        r#"WITH ended AS (
               UPDATE jobs
               SET state = 'succeeded', verdict = $3, result = $4, lease_until = NULL, finished_at = now(),
                   -- A case that waits for a reviewer keeps its images, but not for ever.
                   purge_at = now() + CASE WHEN $3 = 'in_review' THEN interval '30 days'
                       ELSE make_interval(secs => (SELECT retention_seconds FROM tenants WHERE id = tenant_id)) END
               WHERE id = $1 AND epoch = $2 AND state = 'running'
               RETURNING id, tenant_id, kind, sandbox, reply_to, correlation_id, purge_at),
           used AS (
               INSERT INTO usage (job_id, tenant_id, kind) SELECT id, tenant_id, kind FROM ended WHERE NOT sandbox),
           event AS (
               INSERT INTO events (id, tenant_id, sandbox, job_id, type, payload, revision)
               SELECT $5, tenant_id, sandbox, id, $6, $7, 0 FROM ended RETURNING id, tenant_id, sandbox),
           delivered AS (
               INSERT INTO deliveries (event_id, endpoint_id)
               SELECT event.id, endpoint.id FROM event, webhook_endpoints AS endpoint
               WHERE endpoint.tenant_id = event.tenant_id AND endpoint.sandbox = event.sandbox
                 AND endpoint.disabled IS NULL AND $6 = ANY(endpoint.event_types)
               FOR KEY SHARE OF endpoint),
           replied AS (
               INSERT INTO outbox (id, kind, tenant_id, job_id, reply_to, correlation_id, payload, reply_type)
               SELECT $8, $9, tenant_id, id, reply_to, correlation_id, $7, $10 FROM ended WHERE reply_to IS NOT NULL),
           hashed AS (
               INSERT INTO probe_prints (job_id, tenant_id, print, parts, image, number, purge_at)
               SELECT id, tenant_id, $11, $12, $13, $14, purge_at FROM ended WHERE $11::bytea IS NOT NULL),
           kept AS (
               UPDATE images SET purge_at = ended.purge_at FROM ended WHERE images.job_id = ended.id),
           sealed AS (
               UPDATE sealed_records SET purge_at = ended.purge_at FROM ended WHERE sealed_records.job_id = ended.id),
           silenced AS (
               DELETE FROM outbox USING ended WHERE outbox.job_id = ended.id AND outbox.kind = 'doorbell')
           SELECT reply_to IS NOT NULL AS "has_reply!" FROM ended"#,
        claim.summary.id.0,
        claim.epoch,
        outcome.verdict.name(),
        Json(outcome) as _,
        Uuid::now_v7(),
        EventType::JobCompleted.name(),
        notice::completed(&claim.summary, outcome),
        Uuid::now_v7(),
        ReplyType::Completed.kind(),
        ReplyType::Completed.name(),
        probe_hash.map(|probe| probe.hash.as_bytes()) as _,
        probe_hash.map(|probe| probe.parts.as_slice()) as _,
        image as _,
        number as _,
    )
    .fetch_optional(executor)
    .await?;
    Ok(has_reply.map(|has_reply| {
        let reply = has_reply.then_some(Signal::Reply);
        [Signal::Ending, Signal::Delivery, Signal::Stream, Signal::Result].into_iter().chain(reply)
    }))
}
