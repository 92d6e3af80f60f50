//! Synchronous calls: how they wait, and that they hold no database connection meanwhile. See `docs/contracts.md`.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use visavis::domain::ids::JobId;

use crate::support::api::answer;
use crate::support::endings::{compared, end_next};
use crate::support::photos::blank;
use crate::support::{Api, World, eventually};

const A_WHILE: Duration = Duration::from_secs(60);
const WAITING: usize = 30;

fn good() -> Value {
    json!({ "photo": BASE64_STANDARD.encode(blank()), "probe_image": BASE64_STANDARD.encode(blank()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_calls_wait_on_two_connections_and_leave_them_free() {
    let world = World::without_broker().await;
    let process = world.spawn_with(&["api"], &[("VISAVIS_DATABASE_CONNECTIONS", "2")]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let calls = join_all((0..WAITING).map(|_| answer(api.post("/likeness_check", &good()))));
    let meanwhile = async {
        eventually("all are queued", A_WHILE, async || {
            world.count("SELECT count(*) FROM jobs WHERE state = 'queued'").await == 30
        })
        .await;
        // No job has ended, so that all thirty wait; the two connections serve others.
        for _ in 0..10 {
            let (ready, jobs) = tokio::join!(api.get("/readyz"), api.get("/v1/jobs?limit=1"));
            assert_eq!((ready.0, jobs.0), (StatusCode::OK, StatusCode::OK), "{ready:?}");
        }
        let transactions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'visavis'
                            AND datname = current_database() AND state LIKE 'idle in transaction%'";
        assert_eq!(world.count(transactions).await, 0, "no call holds a transaction while it waits");
        for _ in 0..WAITING {
            end_next(&world, compared(0.8).into()).await;
        }
    };
    let (answers, ()) = tokio::join!(calls, meanwhile);
    assert!(
        answers.iter().all(|answer| answer.status == 200 && answer.body["result"]["similarity"] == 0.8),
        "{answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_wait_the_database_is_asked_by_one_query_at_a_time() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let call = || answer(api.post("/likeness_check", &good()).header("prefer", "wait=2"));
    let since = Instant::now();
    let answers = join_all((0..WAITING).map(|_| call())).await;
    let waited = since.elapsed();
    assert!(answers.iter().all(|answer| answer.status == 202 && !answer.header("location").is_empty()), "{answers:?}");
    assert!(waited >= Duration::from_secs(2), "the wait is the caller's: {waited:?}");
    // The statistics of the database are complete once its sessions have ended.
    assert!(process.terminate().await.success());
    let sessions = "SELECT count(*) FROM pg_stat_activity
                    WHERE application_name = 'visavis' AND datname = current_database()";
    eventually("its sessions are over", A_WHILE, async || world.count(sessions).await == 0).await;
    let asked = world.count("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await;
    let calls = i64::try_from(WAITING).unwrap();
    assert!(asked >= calls, "what is counted is counted: {asked}");
    // One query every 40 ms for all calls, a few transactions for each call, and the migrations. A poll for each call
    // would be thirty queries every 40 ms.
    let looks = i64::try_from(waited.as_millis() / 40).unwrap();
    assert!(asked <= looks + 8 * calls + 150, "{asked} transactions in {waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_when_the_process_stops_is_told_where_the_job_is() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let stop = async {
        eventually("the job is queued", A_WHILE, async || world.count("SELECT count(*) FROM jobs").await == 1).await;
        process.terminate().await
    };
    let (pending, exit) = tokio::join!(answer(api.post("/likeness_check", &good())), stop);
    assert!(exit.success());
    let id = pending.body["id"].as_str().unwrap();
    assert_eq!((pending.status, pending.header("location")), (202, format!("/v1/jobs/{id}").as_str()));
    assert_eq!(world.state(JobId(id.parse().unwrap())).await, "queued", "it goes on elsewhere");
}
