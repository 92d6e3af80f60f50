//! Promise: whatever happens to connections with the database, visavis serves again soon.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use visavis::store::{Error, PoolSizes, Store};

use crate::support::api::Api;
use crate::support::network::Network;
use crate::support::process::Process;
use crate::support::world::request;
use crate::support::{World, eventually, photos};

/// The promise is 30 s. A busy machine may be a little late.
const SERVES_AGAIN: Duration = Duration::from_secs(45);
const SMALL: PoolSizes = PoolSizes { core: 2, reads: 1, desk: 1 };

fn pair() -> Value {
    request("likeness_check", photos::blank(), photos::blank())
}

async fn submits(api: &Api) -> bool {
    api.submit(None, &pair()).await.0 == StatusCode::ACCEPTED
}

/// An API whose database is behind a network that can fail.
async fn api_behind(world: &World) -> (Network, Process, Api) {
    let network = Network::before(world.database_address().await).await;
    let process = world.spawn_with(&["api"], &[("DATABASE_URL", &world.database_at(network.address))]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    (network, process, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_survived_again_and_again() {
    let world = World::without_broker().await;
    let (network, mut process, api) = api_behind(&world).await;
    for round in 1..=2 {
        // Many statements are under way when the network goes silent.
        let stopped = AtomicBool::new(false);
        let flood = join_all((0..24).map(|_| async {
            while !stopped.load(Ordering::Relaxed) {
                submits(&api).await;
            }
        }));
        let silence = async {
            eventually("the flood is under way", SERVES_AGAIN, async || {
                world.count("SELECT count(*) FROM jobs").await >= 60 * round
            })
            .await;
            network.swallow();
            let since = Instant::now();
            eventually("submissions are taken again", SERVES_AGAIN, async || submits(&api).await).await;
            println!("round {round}: served again after {:.1?}", since.elapsed());
            stopped.store(true, Ordering::Relaxed);
        };
        tokio::join!(flood, silence);
        eventually("lists are served again", SERVES_AGAIN, async || {
            api.get("/v1/jobs?limit=1").await.0 == StatusCode::OK
        })
        .await;
    }
    let alive = api.request(Method::GET, "/livez").send().await.expect("it answers").status();
    assert_eq!((alive, api.get("/readyz").await.0), (StatusCode::OK, StatusCode::OK));
    process.ask_to_stop();
    assert!(process.exit().await.success());
    assert!(process.log().contains("stopped orderly=true"), "no session is missing at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_reported_and_left_behind_within_seconds() {
    let world = World::without_broker().await;
    let (world, _process, api) = world.serving(&["api"]).await;
    assert!(submits(&api).await);
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&world.pool).await.unwrap();
    let become_read_only = async |is_so: &str| {
        let setting = format!("ALTER DATABASE {name} SET default_transaction_read_only = {is_so}");
        // Our own session is older than the setting, so it can still write.
        sqlx::query(sqlx::AssertSqlSafe(setting)).execute(&world.pool).await.unwrap();
    };
    become_read_only("on").await;
    world
        .count(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name LIKE 'visavis%'",
        )
        .await;

    eventually("it is not ready, and says why", SERVES_AGAIN, async || {
        let (status, body) = api.get("/readyz").await;
        status == StatusCode::SERVICE_UNAVAILABLE && body["reasons"] == json!({ "database": "read-only" })
    })
    .await;
    assert_eq!(api.submit(None, &pair()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    eventually("reading works", SERVES_AGAIN, async || api.get("/v1/jobs").await.0 == StatusCode::OK).await;

    // The sessions that were opened meanwhile stay read-only.
    become_read_only("off").await;
    let since = Instant::now();
    eventually("submissions are taken again", SERVES_AGAIN, async || submits(&api).await).await;
    println!("served again after {:.1?}", since.elapsed());
    eventually("it is ready", SERVES_AGAIN, async || api.get("/readyz").await.0 == StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_store_that_cannot_be_written_is_not_ready() {
    let (world, _process, api) = World::with_api().await;
    assert_eq!(api.get("/readyz").await.0, StatusCode::OK);
    // A file where the folder was, because the tests may run as root, which may write everywhere.
    std::fs::rename(&world.blobs, world.path("moved")).unwrap();
    std::fs::write(&world.blobs, b"").unwrap();
    eventually("it is not ready, and says why", SERVES_AGAIN, async || {
        let (status, body) = api.get("/readyz").await;
        status == StatusCode::SERVICE_UNAVAILABLE && body["reasons"] == json!({ "blobs": "cannot be written" })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_round_trip_of_a_second_jobs_finish_and_are_charged_one_attempt() {
    let world = World::new().await;
    let network = Network::before(world.database_address().await).await;
    let _relay = world.spawn(&["relay"]).await;
    let worker = world.spawn_with(&["worker"], &[("DATABASE_URL", &world.database_at(network.address))]).await;
    network.delay(Duration::from_millis(500));
    let since = Instant::now();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(world.submit_pair("likeness_check", photos::blank(), photos::blank()).await);
    }
    for job in jobs {
        eventually("the job ends", Duration::from_secs(90), async || world.state(job).await == "succeeded").await;
        assert_eq!(world.attempt(job).await, 1, "no attempt was charged for a slow database");
    }
    println!("three jobs after {:.1?}", since.elapsed());
    network.delay(Duration::ZERO);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_database_goes_away_keeps_its_outcome_and_claims_nothing_more() {
    let world = World::new().await;
    let network = Network::before(world.database_address().await).await;
    let database = world.database_at(network.address);
    let relay = world.spawn_with(&["relay"], &[("DATABASE_URL", &database)]).await;
    let worker = world.spawn_with(&["worker"], &[("DATABASE_URL", &database)]).await;
    // So slow that there is time to act between the claim and the outcome.
    network.delay(Duration::from_secs(1));
    let job = world.submit_pair("likeness_check", photos::blank(), photos::blank()).await;
    // It asks for the images, so it knows that the job is its own.
    let asks = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND application_name = 'visavis' AND query LIKE '%FROM images%'";
    eventually("the job runs", SERVES_AGAIN, async || world.count(asks).await == 1).await;
    network.refuse(true);
    network.cut();
    network.delay(Duration::ZERO);
    let next = world.submit_pair("likeness_check", photos::blank(), photos::blank()).await;
    eventually("its end cannot be recorded", SERVES_AGAIN, async || worker.log().contains("not recorded yet")).await;
    assert_eq!(world.state(next).await, "queued", "a worker without a database claims nothing");
    // It lasts longer than a lease. The sweeper comes back together with the worker, and lets it go first.
    eventually("the sweeper fails, too", SERVES_AGAIN, async || relay.log().contains("sweep failed")).await;
    world.expire_leases().await;
    network.refuse(false);
    for job in [job, next] {
        eventually("the job ends", Duration::from_secs(90), async || world.state(job).await == "succeeded").await;
        assert_eq!(world.attempt(job).await, 1, "no attempt was charged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_the_one_that_can_write_is_used() {
    let world = World::without_broker().await;
    let there = world.database_address().await;
    let url = world.database_at(there).replacen(&there.to_string(), &format!("127.0.0.1:1,{there}"), 1);
    Store::connect(&url, SMALL).await.expect("the second host serves").check_writing().await.expect("it can write");

    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&world.pool).await.unwrap();
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    sqlx::query(sqlx::AssertSqlSafe(read_only)).execute(&world.pool).await.unwrap();
    let refusal = Store::connect(&url, SMALL).await.err().expect("no host can write").to_string();
    assert!(refusal.contains("no host of DATABASE_URL can write"), "{refusal}");
    // A single host is used for reading meanwhile.
    let one = Store::connect(&world.database_at(there), SMALL).await.expect("it can be read");
    assert!(matches!(one.check_writing().await, Err(Error::ReadOnly)));
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_slow_reads_stop_nobody_else() {
    let world = World::without_broker().await;
    let (world, _process, api) = world.serving(&["api"]).await;
    let endpoint = json!({ "url": "https://receiver.example/hook", "event_types": ["job.completed"] });
    let endpoint: Value = api.post("/v1/webhooks", &endpoint).send().await.unwrap().json().await.unwrap();
    let deliveries = format!("/v1/webhooks/{}/deliveries", endpoint["id"].as_str().unwrap());
    assert_eq!(api.get(&deliveries).await.0, StatusCode::OK);

    // Every list of deliveries waits for this lock, until its time is over.
    let mut locked = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let slow = join_all((0..40).map(|_| api.get(&deliveries)));
    let others = async {
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                       AND application_name = 'visavis reads' AND wait_event_type = 'Lock'";
        eventually("the reads fill their pool", SERVES_AGAIN, async || world.count(blocked).await == 4).await;
        for _ in 0..5 {
            assert_eq!(api.submit(None, &pair()).await.0, StatusCode::ACCEPTED);
        }
        assert_eq!(api.get("/readyz").await.0, StatusCode::OK);
        assert_eq!(world.count(blocked).await, 4, "the reads still waited");
    };
    let (slow, ()) = tokio::join!(slow, others);
    assert!(slow.iter().all(|answer| answer.0 != StatusCode::OK), "{slow:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_holds_events_back_is_named() {
    let world = World::without_broker().await;
    assert_eq!(world.store().find_event_hold(Duration::ZERO).await.unwrap(), None);
    let mut holder = world.pool.begin().await.unwrap();
    let pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid() FROM pg_current_xact_id()").fetch_one(&mut *holder).await.unwrap();
    let job = world.submit_pair("likeness_check", photos::blank(), photos::blank()).await;
    let claim = world.store().claim_job(job).await.unwrap().expect("it is queued");
    let failure = visavis::domain::job::Failure { code: "test".to_owned(), detail: "test".to_owned() };
    let _ = world.store().finish_failed(&claim, &failure).await.unwrap();
    let hold = world.store().find_event_hold(Duration::ZERO).await.unwrap().expect("the event waits");
    // Other tests share the server, and one of them may have an older transaction open.
    assert!(hold.pid.is_some() && hold.open_for.is_some(), "{hold:?}, expected {pid} or an older one");
    assert_eq!(world.store().find_event_hold(Duration::from_mins(1)).await.unwrap(), None, "not yet worth a warning");
    holder.rollback().await.unwrap();
}
