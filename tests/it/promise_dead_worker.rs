//! Promise: a dead worker's job runs again within 45 s. A worker that only seemed dead changes nothing afterwards.

use std::time::Duration;

use visavis::domain::backoff;
use visavis::domain::ids::JobId;
use visavis::relay::RelaySettings;
use visavis::store::jobs::{Change, LEASE};

use crate::support::outcomes::{failure, outcome, success};
use crate::support::world::request;
use crate::support::{World, eventually, obtain, photos};

const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_worker_is_killed_is_finished_by_another_and_takes_effect_once() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _intake = world.spawn(&["intake"]).await;
    producer.submit("one", &request("face_match", photos::small_face(), photos::small_face())).await;
    let job = obtain("the job is stored", SOON, async || {
        sqlx::query_scalar("SELECT id FROM jobs").fetch_optional(&world.pool).await.unwrap().map(JobId)
    })
    .await;

    // No doorbell comes before the relay runs, so that the image hangs from the first attempt on.
    let image = world.hang(job).await;
    let _relay = world.spawn(&["relay"]).await;
    let doomed = world.spawn(&["worker"]).await;
    eventually("the job runs", SOON, async || world.state(job).await == "running").await;
    doomed.kill9();
    image.put_back();
    assert_eq!((world.state(job).await.as_str(), world.attempt(job).await), ("running", 1));

    world.expire_leases().await;
    let _worker = world.spawn(&["worker"]).await;
    let reply = producer.reply("one", "completed").await;
    assert_eq!(reply.body["status"], "Approved");
    assert_eq!((world.state(job).await.as_str(), world.attempt(job).await), ("succeeded", 2));
    assert_eq!(world.count("SELECT count(*) FROM usage").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM events").await, 1);
    eventually("all replies and events are sent", SOON, async || world.count("SELECT count(*) FROM outbox").await == 0)
        .await;
    let kinds: Vec<_> = producer.replies().await.iter().map(|reply| reply.kind.as_str()).collect();
    assert_eq!(kinds, ["accepted", "completed"]);
}

#[test]
fn a_lease_a_sweep_and_the_first_wait_fit_into_the_promised_45_seconds() {
    let longest_wait = backoff::after_attempt(1, 1.0).expect("there is a second attempt");
    assert!(LEASE + RelaySettings::default().sweep_every + longest_wait <= Duration::from_secs(45));
}

#[tokio::test]
async fn a_job_in_a_lane_that_only_a_newer_version_knows_stops_no_other_job_from_being_put_back() {
    let world = World::without_broker().await;
    let store = world.store();
    for _ in 0..2 {
        let job = world.submit_pair("likeness_check", photos::blank(), photos::blank()).await;
        assert!(store.claim_job(job).await.unwrap().is_some());
    }
    world.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_lane_check").await;
    world.execute("ALTER TABLE outbox DROP CONSTRAINT outbox_lane_check").await;
    world.execute("UPDATE jobs SET lane = 'express' WHERE id = (SELECT id FROM jobs LIMIT 1)").await;
    world.execute("DELETE FROM outbox").await;
    world.expire_leases().await;
    assert_eq!(store.sweep(Duration::from_mins(2)).await.unwrap().revived, 2);
    for lane in ["express", "bulk"] {
        let rung = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM outbox WHERE kind = 'doorbell' AND lane = $1");
        assert_eq!(rung.bind(lane).fetch_one(&world.pool).await.unwrap(), 1, "{lane}");
    }
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_nothing_and_a_finished_job_never_changes() {
    let world = World::without_broker().await;
    let job = world.submit_pair("likeness_check", photos::blank(), photos::blank()).await;
    let store = world.store();
    let zombie = store.claim_job(job).await.unwrap().expect("the job can be claimed");
    assert!(store.claim_job(job).await.unwrap().is_none(), "no other worker gets it meanwhile");
    world.expire_leases().await;
    assert_eq!(store.sweep(Duration::from_mins(2)).await.unwrap().revived, 1);
    world.pass_backoff().await;
    let owner = store.claim_job(job).await.unwrap().expect("the job can be claimed again");
    assert!(owner.epoch > zombie.epoch);

    let before = row(&world, job).await;
    assert_eq!(store.finish_succeeded(&zombie, &success(outcome(&zombie))).await.unwrap(), Change::Lost);
    assert_eq!(store.finish_failed(&zombie, &failure()).await.unwrap(), Change::Lost);
    assert_eq!(store.renew_lease(&zombie).await.unwrap(), Change::Lost);
    assert_eq!(store.retry_job(&zombie, Duration::ZERO).await.unwrap(), Change::Lost);
    assert_eq!(store.release_job(&zombie, Duration::ZERO).await.unwrap(), Change::Lost);
    assert!(!store.is_finished(&zombie).await.unwrap());
    assert_eq!(row(&world, job).await, before);
    assert_eq!(effects(&world).await, (0, 0, 0));

    assert_eq!(store.finish_succeeded(&owner, &success(outcome(&owner))).await.unwrap(), Change::Done);
    assert!(store.is_finished(&owner).await.unwrap());
    let before = row(&world, job).await;
    assert_eq!(store.finish_succeeded(&owner, &success(outcome(&owner))).await.unwrap(), Change::Lost);
    assert_eq!(store.finish_failed(&owner, &failure()).await.unwrap(), Change::Lost);
    assert_eq!(store.release_job(&owner, Duration::ZERO).await.unwrap(), Change::Lost);
    assert_eq!(store.finish_succeeded(&zombie, &success(outcome(&zombie))).await.unwrap(), Change::Lost);
    assert_eq!(row(&world, job).await, before);
    assert_eq!(effects(&world).await, (1, 1, 0));

    for statement in [
        "UPDATE jobs SET state = 'queued', verdict = NULL, result = NULL, finished_at = NULL, purge_at = NULL",
        "UPDATE jobs SET verdict = 'approved'",
        "UPDATE jobs SET result = '{}'",
        "UPDATE jobs SET attempt = attempt + 1",
        "UPDATE jobs SET epoch = epoch + 1",
    ] {
        let error = sqlx::query(statement).execute(&world.pool).await.expect_err(statement).to_string();
        assert!(error.contains("cannot change"), "{error}");
    }
    assert_eq!(row(&world, job).await, before);
}

/// The job's whole row.
async fn row(world: &World, job: JobId) -> String {
    world.scalar("SELECT jobs::text FROM jobs WHERE id = $1", job).await
}

/// Usage rows, events, dead letters.
async fn effects(world: &World) -> (i64, i64, i64) {
    let usage = world.count("SELECT count(*) FROM usage").await;
    let events = world.count("SELECT count(*) FROM events").await;
    (usage, events, world.count("SELECT count(*) FROM dead_letters").await)
}
