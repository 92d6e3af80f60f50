//! The promise: growth is bounded. Jobs, events and what hangs on them go when their time is over. What is open, and
//! what the law keeps, stays.

use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::{NoContext, Timestamp, Uuid};
use visavis::domain::tenant::TenantSettings;
use visavis::janitor::erase_due;
use visavis::janitor::records::{DeletedRecords, delete_old};

use crate::support::deliveries::{endpoint, event};
use crate::support::outcomes::failure;
use crate::support::receiver::Receiver;
use crate::support::{Api, World, api, photos};

/// Everything but settings, keys, and what the law keeps.
const RECORDS: &str = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM events)
    + (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM delivery_attempts) + (SELECT count(*) FROM usage)
    + (SELECT count(*) FROM images) + (SELECT count(*) FROM renditions) + (SELECT count(*) FROM sealed_records)
    + (SELECT count(*) FROM outbox) + (SELECT count(*) FROM dead_letters) + (SELECT count(*) FROM review_cases)
    + (SELECT count(*) FROM probe_prints) + (SELECT count(*) FROM spent_challenges)";

/// The shortest times, and a results exchange that has had every event.
async fn short_times(world: &World) {
    let settings = TenantSettings { events_days: 1, records_days: 1, ..TenantSettings::default() };
    sqlx::query("UPDATE tenants SET settings = $1").bind(json!(settings)).execute(&world.pool).await.unwrap();
    world.execute("UPDATE event_tails SET xid = '9000000000000'").await;
}

/// Two days pass for everything that has ended.
async fn two_days_pass(world: &World) {
    for statement in [
        "ALTER TABLE jobs DISABLE TRIGGER jobs_terminal_is_final",
        "UPDATE jobs SET finished_at = finished_at - interval '2 days', erased_at = erased_at - interval '2 days',
                         purge_at = purge_at - interval '2 days'",
        "ALTER TABLE jobs ENABLE TRIGGER jobs_terminal_is_final",
        "UPDATE events SET created_at = created_at - interval '2 days'",
        "UPDATE images SET purge_at = purge_at - interval '2 days'",
        "UPDATE probe_prints SET purge_at = purge_at - interval '2 days'",
    ] {
        world.execute(statement).await;
    }
}

async fn delete(world: &World) -> DeletedRecords {
    erase_due(world.store(), &world.intake.media).await.unwrap();
    delete_old(world.store()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_as_small_after_each_round_and_what_the_law_keeps_stays() {
    let (world, process, api) = World::with_api().await;
    short_times(&world).await;
    let stranger = Api::of(&process, &world.make_tenant("stranger", None).await.api_key);
    let mut receipts = Vec::new();
    for round in 1..=3 {
        for _ in 0..20 {
            event(&world).await;
        }
        let job = event(&world).await;
        let (status, receipt) = api.delete(&format!("/v1/jobs/{job}")).await;
        assert_eq!(status, StatusCode::OK, "{receipt}");
        receipts.push((job, receipt));
        let failed = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
        let claim = world.store().claim_job(failed).await.unwrap().unwrap();
        let _ = world.store().finish_failed(&claim, &failure()).await.unwrap();
        assert_eq!(delete(&world).await, DeletedRecords::default(), "nothing is old yet");
        two_days_pass(&world).await;
        let deleted = delete(&world).await;
        assert_eq!((deleted.jobs, deleted.events, deleted.failed), (22, 23, 0));
        assert_eq!(world.count(RECORDS).await, 0, "after round {round}");
        assert_eq!(world.count("SELECT sum(jobs)::bigint FROM usage_days").await, round * 21);
    }
    for (job, receipt) in receipts {
        assert_eq!(api.delete(&format!("/v1/jobs/{job}")).await, (StatusCode::OK, receipt));
        assert_eq!(api.get(&format!("/v1/jobs/{job}")).await.0, StatusCode::NOT_FOUND);
        assert_eq!(stranger.delete(&format!("/v1/jobs/{job}")).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_cases_waiting_deliveries_and_images_keep_their_jobs() {
    let world = World::new().await;
    short_times(&world).await;
    let receiver = Receiver::start().await;
    endpoint(&world, &receiver.url()).await;
    // No dispatcher runs, so this job's event waits for the endpoint.
    event(&world).await;
    let case = world.case(70.0).await;
    two_days_pass(&world).await;
    let kept = DeletedRecords::default();
    assert_eq!(delete(&world).await, kept, "an enabled endpoint still waits for both events");
    world.execute("UPDATE webhook_endpoints SET disabled = 'by_request', disabled_at = now()").await;
    let deleted = delete(&world).await;
    assert_eq!((deleted.jobs, deleted.events), (1, 2));
    assert_eq!(world.case_state(case).await, "waiting");
    // The law keeps entries of the audit log, whatever happens to their case.
    let reviewer = world.reviewer("ada").await;
    world.take(&reviewer, case).await;
    world.execute("UPDATE review_cases SET state = 'lapsed', holder = NULL, taken_at = NULL, lease_until = NULL").await;
    let entries = world.count("SELECT count(*) FROM review_trail").await;
    assert!(entries > 0);
    assert_eq!(delete(&world).await, kept, "its images are still there");
    world.execute("UPDATE images SET purge_at = now()").await;
    assert_eq!(delete(&world).await.jobs, 1);
    assert_eq!((world.count(RECORDS).await, world.count("SELECT count(*) FROM review_trail").await), (0, entries));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_or_organisation_that_cannot_be_handled_keeps_no_other_record() {
    let world = World::new().await;
    short_times(&world).await;
    // A table of a newer version refers to one of the jobs.
    world.execute("CREATE TABLE newer (job_id uuid REFERENCES jobs)").await;
    let bad = event(&world).await;
    sqlx::query("INSERT INTO newer VALUES ($1)").bind(bad.0).execute(&world.pool).await.unwrap();
    for _ in 0..5 {
        event(&world).await;
    }
    two_days_pass(&world).await;
    let deleted = delete(&world).await;
    assert_eq!((deleted.jobs, deleted.events, deleted.failed), (5, 6, 1));
    let parked = "SELECT count(*) FROM parked_items WHERE loop = 'records' AND reason LIKE '%newer_job_id_fkey%'";
    assert_eq!(world.count(parked).await, 1);
    assert_eq!(delete(&world).await, DeletedRecords::default(), "it is set aside");
    world.execute("DELETE FROM newer").await;
    world.execute("UPDATE parked_items SET retry_at = now()").await;
    assert_eq!(delete(&world).await.jobs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_deleted_keeps_no_other_event_and_no_other_job() {
    let world = World::new().await;
    short_times(&world).await;
    world.execute("CREATE TABLE newer (event_id uuid REFERENCES events)").await;
    event(&world).await;
    world.execute("INSERT INTO newer SELECT id FROM events").await;
    for _ in 0..5 {
        event(&world).await;
    }
    two_days_pass(&world).await;
    let deleted = delete(&world).await;
    assert_eq!((deleted.jobs, deleted.events, deleted.failed), (5, 5, 1));
    let parked = "SELECT count(*) FROM parked_items WHERE loop = 'records' AND item LIKE 'old events of %'";
    assert_eq!(world.count(parked).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_resumes_from_a_deleted_event_gets_410_with_the_oldest_one() {
    let (world, _process, api) = World::with_api().await;
    short_times(&world).await;
    let old = Uuid::new_v7(Timestamp::from_unix(NoContext, 1_700_000_000, 0));
    let insert = "INSERT INTO events (id, tenant_id, type, payload, created_at)
                  VALUES ($1, $2, 'endpoint.disabled', '{}', now() - interval '2 days')";
    sqlx::query(insert).bind(old).bind(world.tenant.id.0).execute(&world.pool).await.unwrap();
    let kept = event(&world).await;
    let kept: Uuid = world.scalar("SELECT id FROM events WHERE job_id = $1", kept).await;
    let resume =
        async || api::send(api.request(Method::GET, "/v1/events").header("last-event-id", old.to_string())).await;
    assert_eq!(delete(&world).await.events, 1);
    let (status, problem) = resume().await;
    assert_eq!((status, &problem["code"]), (StatusCode::GONE, &json!("events_expired")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(&kept.to_string()), "{problem}");
}
