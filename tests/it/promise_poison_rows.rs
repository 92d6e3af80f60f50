//! Promise: a row that cannot be read, or that the schema refuses, harms no other row. Its loop sets it aside.

use std::time::Duration;

use visavis::domain::backoff::MAX_ATTEMPTS;
use visavis::domain::ids::JobId;
use visavis::domain::review::{Opinion, Reason, ReviewDecision, UNDO};
use visavis::store::decisions::DecisionFilter;
use visavis::store::events::Cursor;
use visavis::store::parked::ParkedItem;

use crate::support::{World, eventually, photos};

const PATIENCE: Duration = Duration::from_mins(2);
/// JSON for Postgres, and more than a number of this program can hold. A row that has it cannot be read.
const UNREADABLE: &str = r#"{"poison": 1e400}"#;

async fn submit(world: &World) -> JobId {
    world.submit_pair("likeness_check", photos::blank(), photos::blank()).await
}

fn approved() -> Opinion {
    Opinion { choice: ReviewDecision::Approved, reasons: vec![Reason::Aged], note: String::new() }
}

/// The one parked item.
async fn parked(world: &World) -> ParkedItem {
    let mut parked = world.store().list_parked(None, 10).await.unwrap();
    assert_eq!(parked.len(), 1, "{parked:?}");
    parked.remove(0)
}

#[tokio::test]
async fn a_dead_workers_job_that_cannot_be_read_is_parked_and_its_neighbours_are_put_back() {
    let world = World::without_broker().await;
    let store = world.store();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job = submit(&world).await;
        assert!(store.claim_job(job).await.unwrap().is_some());
        jobs.push(job);
    }
    let poison = jobs.remove(0);
    let spoil = sqlx::query("UPDATE jobs SET metadata = $2::text::jsonb WHERE id = $1").bind(poison.0);
    spoil.bind(UNREADABLE).execute(&world.pool).await.unwrap();
    world.expire_leases().await;
    assert_eq!(store.sweep(PATIENCE).await.unwrap().revived, 2);
    assert_eq!(store.sweep(PATIENCE).await.unwrap().revived, 0, "the poison is left alone now");
    for job in jobs {
        assert_eq!(world.state(job).await, "queued");
    }
    let item = parked(&world).await;
    assert_eq!((item.work_loop.as_str(), item.item, item.count), ("sweeper", poison.to_string(), 1));
    assert_eq!((item.tenant_id, item.reason.as_str()), (Some(world.tenant.id), "column 8 of the row cannot be read"));

    world.pass(Duration::from_mins(6)).await;
    assert_eq!(store.sweep(PATIENCE).await.unwrap().revived, 0);
    assert_eq!(parked(&world).await.count, 2);
    world.execute("UPDATE jobs SET metadata = '{}'").await;
    assert!(store.retry_parked("sweeper", &poison.to_string()).await.unwrap());
    assert_eq!(store.sweep(PATIENCE).await.unwrap().revived, 1);
}

#[tokio::test]
async fn a_job_whose_end_the_schema_refuses_is_parked_and_its_neighbours_end() {
    let world = World::without_broker().await;
    let store = world.store();
    let jobs = [submit(&world).await, submit(&world).await];
    for job in jobs {
        assert!(store.claim_job(job).await.unwrap().is_some());
    }
    world.execute("UPDATE jobs SET attempt = 5").await;
    sqlx::query("INSERT INTO dead_letters (id, kind, job_id, code, detail) VALUES (gen_random_uuid(), 'failed_job', $1, '', '')")
        .bind(jobs[0].0)
        .execute(&world.pool)
        .await
        .unwrap();
    world.expire_leases().await;
    assert_eq!(store.sweep(PATIENCE).await.unwrap().failed, 1);
    assert_eq!((world.state(jobs[0]).await.as_str(), world.state(jobs[1]).await.as_str()), ("running", "failed"));
    let item = parked(&world).await;
    assert_eq!(item.item, jobs[0].to_string());
    assert_eq!(item.reason, "the database refuses it: SQLSTATE 23505, constraint dead_letters_failed_job");
}

#[tokio::test]
async fn a_dead_workers_job_of_a_kind_that_only_a_newer_version_knows_is_put_back_and_fails_after_its_attempts() {
    let world = World::without_broker().await;
    let store = world.store();
    let (poison, good) = (submit(&world).await, submit(&world).await);
    assert!(store.claim_job(poison).await.unwrap().is_some());
    let spoil = sqlx::query(
        r#"UPDATE jobs SET params = '{"kind": "palm_reading"}', metadata = '{"a": "b", "c": 1}' WHERE id = $1"#,
    );
    spoil.bind(poison.0).execute(&world.pool).await.unwrap();
    world.expire_leases().await;
    assert_eq!(store.sweep(PATIENCE).await.unwrap().revived, 1);
    for attempt in 2..=MAX_ATTEMPTS {
        assert!(store.claim_job(poison).await.unwrap().is_none());
        assert_eq!(world.attempt(poison).await, attempt);
        world.pass_backoff().await;
    }
    assert!(store.claim_job(good).await.unwrap().is_some());
    let failure: String = world.scalar("SELECT failure->>'code' FROM jobs WHERE id = $1", poison).await;
    assert_eq!((world.state(poison).await.as_str(), failure.as_str()), ("failed", "job_unreadable"));
    let told = "SELECT payload->>'metadata' FROM events WHERE job_id = $1 AND type = 'job.failed'";
    assert_eq!(world.scalar::<String>(told, poison).await, r#"{"a": "b"}"#);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters WHERE code = 'job_unreadable'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_cannot_be_read_is_parked_and_the_others_become_final() {
    let world = World::without_broker().await;
    let (ada, opinion) = (world.reviewer("ada").await, approved());
    let (poison, good) = (world.case(68.0).await, world.case(68.0).await);
    for case in [poison, good] {
        world.decide(&ada, case, &opinion, false).await;
    }
    let spoil =
        sqlx::query(r#"UPDATE review_cases SET pending = pending || '{"choice": "deferred"}' WHERE job_id = $1"#);
    spoil.bind(poison.0).execute(&world.pool).await.unwrap();
    world.pass(UNDO).await;
    assert_eq!(world.store().settle_decisions(100).await.unwrap(), 1);
    assert_eq!(world.case_state(good).await, "decided");
    let item = parked(&world).await;
    assert_eq!((item.work_loop.as_str(), item.item), ("decisions", poison.to_string()));
    assert_eq!(world.store().settle_decisions(100).await.unwrap(), 0);
    assert_eq!(parked(&world).await.count, 1, "it is left alone");

    // Entries and cases of a newer version hide no others.
    world.execute("ALTER TABLE review_cases DROP CONSTRAINT review_cases_state_check").await;
    let from = Cursor::START;
    let spoil = sqlx::query(
        "UPDATE review_cases SET state = 'escalated', pending = NULL, settles_at = NULL, pending_by = NULL, came_from = NULL WHERE job_id = $1",
    );
    spoil.bind(poison.0).execute(&world.pool).await.unwrap();
    // Transactions of other tests may still be open, and changes are read up to the oldest.
    eventually("the other case's change", PATIENCE, async || {
        let changes = world.store().list_case_changes(from, 10).await.unwrap();
        changes.iter().map(|change| change.job_id).eq([good])
    })
    .await;
    world.execute("ALTER TABLE review_decisions DROP CONSTRAINT review_decisions_stage_check").await;
    let copy = "INSERT INTO review_decisions (id, job_id, tenant_id, sandbox, revision, reviewer_id, stage, choice, reasons, note, seen)
                SELECT gen_random_uuid(), job_id, tenant_id, sandbox, 2, reviewer_id, 'appeal', choice, reasons, note, seen
                FROM review_decisions";
    assert_eq!(world.execute(copy).await, 1);
    let entries = world.store().list_decisions(&ada, &DecisionFilter::default(), None, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
}
