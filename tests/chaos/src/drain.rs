//! The clock, moved by moving rows, and the waiting at the end: until nothing is on its way any more.

use std::time::Duration;

use anyhow::Result;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::auditor::missed_events;
use crate::books::Books;
use crate::organisations::POISONED;
use crate::plan::Door;
use crate::witness::Witness;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two times that what was published is published again, as the sweeper would two minutes later.
const RING_EVERY: u32 = 10;

/// What is due comes nearer by `step`: leases, waits, doorbells, deliveries.
///
/// # Errors
/// When the database refuses.
pub async fn step_clock(pool: &PgPool, step: Duration) -> Result<()> {
    for statement in [
        "UPDATE jobs SET lease_until = lease_until - make_interval(secs => $1),
                         run_after = run_after - make_interval(secs => $1)
         WHERE state IN ('queued', 'running')",
        "UPDATE outbox SET next_at = next_at - make_interval(secs => $1),
                           published_at = published_at - make_interval(secs => $1)",
        "UPDATE deliveries SET next_at = next_at - make_interval(secs => $1) WHERE state = 'pending'",
    ] {
        sqlx::query(statement).bind(step.as_secs_f64()).execute(pool).await?;
    }
    Ok(())
}

/// What is still on its way, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    pub jobs: i64,
    pub outbox: i64,
    pub deliveries: i64,
    /// Messages of producers without their answers.
    pub unanswered: usize,
    /// Events that the results exchange or a stream has not shown.
    pub unseen: usize,
}

/// Waits until nothing is on its way any more, or until `end`. Waits that would last minutes are cut short, as if time
/// passed. Returns what is left.
///
/// # Errors
/// When the database fails.
pub async fn drain(pool: &PgPool, witness: &Witness, end: Instant) -> Result<Left> {
    let mut look = 0_u32;
    loop {
        let left = left(pool, witness).await?;
        if left == Left::default() || Instant::now() > end {
            return Ok(left);
        }
        if look.is_multiple_of(RING_EVERY) {
            eprintln!("draining: {left:?}");
        }
        hurry(pool, look.is_multiple_of(RING_EVERY)).await?;
        look += 1;
        sleep(LOOK_EVERY).await;
    }
}

/// Cuts waits short. Leases that somebody may still hold stay as they are.
async fn hurry(pool: &PgPool, ring: bool) -> Result<()> {
    let waits = [
        "UPDATE jobs SET run_after = now() WHERE state = 'queued' AND run_after > now()",
        "UPDATE outbox SET next_at = now() WHERE published_at IS NULL AND kind = 'doorbell' AND next_at > now()",
        // Longer than a relay's claim.
        "UPDATE outbox SET next_at = now()
         WHERE published_at IS NULL AND kind <> 'doorbell' AND next_at > now() + interval '35 seconds'",
        // A holder that lives renews its lease of 30 s every 10 s.
        "UPDATE jobs SET lease_until = now() WHERE state = 'running' AND lease_until < now() + interval '12 seconds'",
        // Longer than a dispatcher's lease.
        "UPDATE deliveries SET next_at = now() WHERE state = 'pending' AND next_at > now() + interval '1 minute'",
    ];
    let doorbells = "UPDATE outbox SET published_at = published_at - interval '121 seconds'
                     WHERE kind = 'doorbell' AND published_at IS NOT NULL";
    for statement in waits.into_iter().chain(ring.then_some(doorbells)) {
        sqlx::query(statement).execute(pool).await?;
    }
    Ok(())
}

async fn left(pool: &PgPool, witness: &Witness) -> Result<Left> {
    let count = async |statement: &'static str| -> Result<i64> {
        Ok(sqlx::query_scalar(statement).bind(POISONED).fetch_one(pool).await?)
    };
    let jobs = count(
        "SELECT count(*) FROM jobs JOIN tenants ON tenants.id = tenant_id
         WHERE state IN ('queued', 'running') AND tenants.name <> $1",
    );
    let outbox = count(
        "SELECT count(*) FROM outbox LEFT JOIN tenants ON tenants.id = tenant_id
         WHERE tenants.name IS DISTINCT FROM $1 AND coalesce(reply_to, '') NOT LIKE $1 || '%'",
    );
    let deliveries = count(
        "SELECT count(*) FROM deliveries JOIN webhook_endpoints ON webhook_endpoints.id = endpoint_id
         JOIN tenants ON tenants.id = tenant_id WHERE state = 'pending' AND tenants.name <> $1",
    );
    let (jobs, outbox, deliveries) = (jobs.await?, outbox.await?, deliveries.await?);
    let unanswered = unanswered(witness);
    // Only when the rest is done: the list is long.
    let done = (jobs, outbox, deliveries, unanswered) == (0, 0, 0, 0);
    let unseen = if done { unseen(pool, witness).await? } else { 1 };
    Ok(Left { jobs, outbox, deliveries, unanswered, unseen })
}

fn unanswered(witness: &Witness) -> usize {
    let sight = witness.sight();
    let mut ended = vec![false; sight.submissions.len()];
    for reply in sight.replies.iter().filter(|reply| matches!(reply.kind.as_str(), "completed" | "failed")) {
        if let Some(ended) = reply.number.and_then(|number| ended.get_mut(number)) {
            *ended = true;
        }
    }
    let over_amqp = sight.submissions.iter().zip(ended).filter(|(submission, _)| submission.door == Door::Amqp);
    over_amqp.filter(|(submission, ended)| submission.tries > 0 && !ended && submission.refused.is_empty()).count()
}

async fn unseen(pool: &PgPool, witness: &Witness) -> Result<usize> {
    let events = Books::read_events(&mut *pool.acquire().await?).await?;
    Ok(missed_events(&events, &witness.sight()).len())
}
