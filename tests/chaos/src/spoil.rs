//! Shows that the auditor can fail: spoils what it reads, one way at a time, and expects its complaint.

use anyhow::Result;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::auditor::{Stores, audit};
use crate::books::Books;
use crate::plan::Door;
use crate::witness::Sight;

/// A fault in the database, and the check that must see it. The statements run in a transaction that is undone.
struct Spoil {
    told: &'static str,
    statements: &'static [&'static str],
    check: &'static str,
}

const SPOILS: [Spoil; 12] = [
    Spoil {
        told: "an event is lost",
        statements: &[
            "CREATE TEMP TABLE victim ON COMMIT DROP AS SELECT id FROM events WHERE type = 'job.completed' LIMIT 1",
            "DELETE FROM delivery_attempts WHERE event_id IN (SELECT id FROM victim)",
            "DELETE FROM deliveries WHERE event_id IN (SELECT id FROM victim)",
            "DELETE FROM events WHERE id IN (SELECT id FROM victim)",
        ],
        check: "a job has one event of its end",
    },
    Spoil {
        told: "an event is doubled",
        statements: &["INSERT INTO events (id, tenant_id, sandbox, job_id, type, payload, revision)
             SELECT gen_random_uuid(), tenant_id, sandbox, job_id, type, payload, 1 FROM events
             WHERE type = 'job.completed' LIMIT 1"],
        check: "nothing takes effect twice",
    },
    Spoil {
        told: "a match is debited twice",
        statements: &[
            "ALTER TABLE ledger DISABLE TRIGGER USER",
            "DROP INDEX ledger_debits",
            "INSERT INTO ledger (id, tenant_id, job_id, kind, amount_minor, balance_after, note)
             SELECT gen_random_uuid(), tenant_id, job_id, kind, amount_minor, balance_after, note FROM ledger
             WHERE kind = 'debit' LIMIT 1",
        ],
        check: "nothing takes effect twice",
    },
    Spoil {
        told: "a wallet has a unit too many",
        statements: &["UPDATE wallets SET balance = balance + 1"],
        check: "each movement leaves the sum",
    },
    Spoil {
        told: "a job is not counted as usage",
        statements: &["DELETE FROM usage WHERE job_id = (SELECT job_id FROM usage LIMIT 1)"],
        check: "a live job with a verdict is counted once",
    },
    Spoil {
        told: "a job is stuck",
        statements: &[
            "ALTER TABLE jobs DISABLE TRIGGER USER",
            "UPDATE jobs SET state = 'running', lease_until = now() - interval '1 hour', verdict = NULL, result = NULL,
                             finished_at = NULL, purge_at = NULL
             WHERE id = (SELECT id FROM jobs WHERE state = 'succeeded' AND erased_at IS NULL LIMIT 1)",
        ],
        check: "every job has ended",
    },
    Spoil {
        told: "a verdict is turned",
        statements: &[
            "ALTER TABLE jobs DISABLE TRIGGER USER",
            "UPDATE jobs SET verdict = 'rejected'
             WHERE id = (SELECT id FROM jobs WHERE verdict = 'approved' LIMIT 1)",
        ],
        check: "every job has the verdict",
    },
    Spoil {
        told: "a submission has two jobs",
        statements: &["INSERT INTO jobs (id, tenant_id, request_id, request_hash, kind, lane, params, metadata, sandbox)
             SELECT gen_random_uuid(), tenant_id, 'AAAAAAAAAAAA', request_hash, kind, lane, params, metadata, sandbox
             FROM jobs WHERE idempotency_key IS NOT NULL AND metadata ? 'chaos' LIMIT 1"],
        check: "a submission makes one job",
    },
    Spoil {
        told: "a delivery was given up",
        statements: &["UPDATE deliveries SET state = 'failed'
             WHERE (event_id, endpoint_id) = (SELECT event_id, endpoint_id FROM deliveries LIMIT 1)"],
        check: "every due webhook was delivered",
    },
    Spoil {
        told: "an image outlives its time",
        statements: &["INSERT INTO images (id, tenant_id, job_id, role, position, format, bytes, master_key_id, wrapped_key,
                                 purge_at, sandbox)
             SELECT gen_random_uuid(), tenant_id, id, 'probe', 9, 'png', 1, 'k1', 'x', now(), sandbox FROM jobs LIMIT 1"],
        check: "after its time no image",
    },
    Spoil {
        told: "a failed job is not among the dead letters",
        statements: &["DELETE FROM dead_letters WHERE kind = 'failed_job'"],
        check: "failed jobs are among the dead letters",
    },
    Spoil {
        told: "a reply waits for ever",
        statements: &["INSERT INTO outbox (id, kind, reply_to, payload, reply_type)
             VALUES (gen_random_uuid(), 'reply_final', 'somebody.replies', '{}', 'completed')"],
        check: "rows belong together",
    },
];

/// A fault in what producers and receivers saw, and the check that must see it.
type Blot = (&'static str, fn(&mut Sight, &mut Stores), &'static str);

const BLOTS: [Blot; 6] = [
    (
        "an accepted job is lost",
        |sight, _| {
            let accepted = sight.submissions.iter_mut().find(|submission| !submission.accepted.is_empty());
            if let Some(submission) = accepted {
                submission.accepted.insert(Uuid::nil());
            }
        },
        "what was accepted is there",
    ),
    (
        "a producer gets no final reply",
        |sight, _| {
            let number = sight.submissions.iter().position(|submission| submission.door == Door::Amqp);
            sight.replies.retain(|reply| reply.number != number || reply.kind == "accepted");
        },
        "a message gets its acceptance",
    ),
    (
        "an event comes under two ids",
        |sight, _| {
            if let Some(seen) = sight.webhooks.last().cloned() {
                sight.webhooks.push(crate::witness::WebhookSeen { id: Uuid::nil().to_string(), ..seen });
            }
        },
        "a webhook that arrives is signed",
    ),
    (
        "a receiver never took an event",
        |sight, _| {
            let id = sight.webhooks.last().map(|seen| seen.id.clone());
            sight.webhooks.retain(|seen| Some(&seen.id) != id.as_ref());
        },
        "every due webhook was delivered",
    ),
    (
        "the results exchange skips an event",
        |sight, _| {
            let id = sight.results.last().map(|seen| seen.id.clone());
            sight.results.retain(|seen| Some(&seen.id) != id.as_ref());
        },
        "the results exchange and the streams show every event",
    ),
    (
        "the blob of an erased image stays",
        |_, stores| stores.blobs_after.extend(stores.images_before.first().map(|image| image.id)),
        "after its time no image",
    ),
];

/// Spoils the database and the sight in every way. Returns how many ways there are, and those that nobody noticed.
///
/// # Errors
/// When the database refuses a spoil.
pub async fn prove(
    connection: &mut PgConnection,
    sight: &Sight,
    stores: &Stores,
) -> Result<(usize, Vec<&'static str>)> {
    let mut unnoticed = Vec::new();
    for spoil in &SPOILS {
        let mut tx = connection.begin().await?;
        for statement in spoil.statements {
            sqlx::query(*statement).execute(&mut *tx).await?;
        }
        let books = Books::read(&mut tx).await?;
        tx.rollback().await?;
        if !complains(&books, sight, stores, spoil.check) {
            unnoticed.push(spoil.told);
        }
    }
    let books = Books::read(connection).await?;
    for (told, blot, check) in BLOTS {
        let (mut sight, mut stores) = (sight.clone(), stores.clone());
        blot(&mut sight, &mut stores);
        if !complains(&books, &sight, &stores, check) {
            unnoticed.push(told);
        }
    }
    Ok((SPOILS.len() + BLOTS.len(), unnoticed))
}

fn complains(books: &Books, sight: &Sight, stores: &Stores, name: &str) -> bool {
    audit(books, sight, stores).iter().any(|check| check.name.starts_with(name) && !check.violations.is_empty())
}
