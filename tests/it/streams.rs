//! Streams of events: as they happen, each once, in one order. A client that resumes misses none.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::support::deliveries::{SOON, event, events, finish, live};
use crate::support::stream::Stream;
use crate::support::{Api, World, api, eventually, photos};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_s_stream_tells_all_that_happened_to_it_and_the_account_s_what_happens_from_now_on() {
    let (world, process, api) = World::with_api().await;
    let first = event(&world).await;
    let mut account = Stream::open(&api, "/v1/events", None).await;
    let job = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    let mut stream = Stream::open(&api, &format!("/v1/jobs/{job}/events"), None).await;
    finish(&world, job).await;
    let (id, kind, data) = stream.event().await;
    assert_eq!((kind.as_str(), &data["id"], &data["verdict"]), ("job.completed", &json!(job), &json!("not_finished")));
    let before: Uuid = world.scalar("SELECT id FROM events WHERE job_id = $1", first).await;
    let mut received = account.event().await.0;
    if received == before.to_string() {
        // The earlier event: an older transaction, perhaps of another test, was still open when the stream began.
        received = account.event().await.0;
    }
    assert_eq!(received, id);
    assert_eq!(api.delete(&format!("/v1/jobs/{job}")).await.0, StatusCode::OK);
    let (erased, kind, _) = stream.event().await;
    assert_eq!(kind, "image.erased");
    assert_eq!(account.event().await.0, erased);

    let mut again = Stream::open(&api, &format!("/v1/jobs/{job}/events"), None).await;
    assert_eq!([again.event().await.0, again.event().await.0], [id.clone(), erased.clone()]);
    let mut resumed = Stream::open(&api, &format!("/v1/jobs/{job}/events"), Some(&id)).await;
    assert_eq!(resumed.event().await.0, erased);
    let mut all = Stream::open(&api, "/v1/events", Some(&before.to_string())).await;
    assert_eq!([all.event().await.0, all.event().await.0], [id, erased]);
    drop(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_s_events_are_not_told_and_what_is_wrong_is_named() {
    let (world, process, api) = World::with_api().await;
    let job = event(&world).await;
    let id: Uuid = world.scalar("SELECT id FROM events WHERE job_id = $1", job).await;
    let test_key = Api::of(&process, &world.make_test_key().await);
    let stranger = Api::of(&process, &world.make_tenant("stranger", None).await.api_key);
    let mut deaf =
        [Stream::open(&test_key, "/v1/events", None).await, Stream::open(&stranger, "/v1/events", None).await];
    let mut own = Stream::open(&api, "/v1/events", None).await;
    event(&world).await;
    own.event().await;
    let foreign = tenant_of(&world, "stranger").await;
    let accounts = [(&test_key, world.tenant.id.0, true), (&stranger, foreign, false)];
    for (listener, (other, tenant, sandbox)) in deaf.iter_mut().zip(accounts) {
        // The next event of the stream is its own.
        let insert =
            "INSERT INTO events (id, tenant_id, sandbox, type, payload) VALUES ($1, $2, $3, 'endpoint.disabled', '{}')";
        let own = Uuid::now_v7();
        sqlx::query(insert).bind(own).bind(tenant).bind(sandbox).execute(&world.pool).await.unwrap();
        assert_eq!(listener.event().await.0, own.to_string());
        let resumed = other.request(Method::GET, "/v1/events").header("last-event-id", id.to_string());
        let (status, problem) = api::send(resumed).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!("Last-Event-ID")), "{problem}");
    }
    let malformed = api::send(api.request(Method::GET, "/v1/events").header("last-event-id", "7")).await;
    assert_eq!((malformed.0, &malformed.1["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_last_event_id")));
}

async fn tenant_of(world: &World, name: &str) -> Uuid {
    world.store().find_tenant(name).await.unwrap().unwrap().0
}

/// An event written by a transaction that is still open.
async fn write(tx: &mut sqlx::Transaction<'_, sqlx::Postgres>, world: &World) -> String {
    let id = Uuid::now_v7();
    let insert = "INSERT INTO events (id, tenant_id, type, payload) VALUES ($1, $2, 'endpoint.disabled', '{}')";
    sqlx::query(insert).bind(id).bind(world.tenant.id.0).execute(&mut **tx).await.unwrap();
    id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_late_is_told_first_and_what_came_after_it_waits() {
    let (world, _process, api) = World::with_api().await;
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    let from = world.store().find_last_cursor().await.unwrap();
    let mut early = world.pool.begin().await.unwrap();
    let first = write(&mut early, &world).await;
    let mut late = world.pool.begin().await.unwrap();
    let second = write(&mut late, &world).await;
    late.commit().await.unwrap();
    // A reader that trusts committed events alone would now read the second and later skip the first.
    assert_eq!(world.count("SELECT count(*) FROM events").await, 1);
    assert!(world.store().list_events(from, 10).await.unwrap().is_empty());
    early.commit().await.unwrap();
    assert_eq!([stream.event().await.0, stream.event().await.0], [first, second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_again_and_again_gets_every_event_once() {
    const EVENTS: i32 = 300;
    let (world, _process, api) = World::with_api().await;
    let mut received: Vec<String> = Vec::new();
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    let count = usize::try_from(EVENTS).unwrap();
    let listening = async {
        while received.len() < count {
            for _ in 0..(received.len() % 7 + 1).min(count - received.len()) {
                received.push(stream.event().await.0);
            }
            stream = Stream::open(&api, "/v1/events", received.last().map(String::as_str)).await;
        }
    };
    tokio::join!(listening, events(&world, EVENTS));
    let distinct: HashSet<_> = received.iter().collect();
    assert_eq!(distinct.len(), count, "none twice");
    let missed =
        world.store().find_cursor(live(&world), received.last().unwrap().parse().unwrap()).await.unwrap().unwrap();
    assert!(world.store().list_events(missed, 1).await.unwrap().is_empty(), "none after the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_hundred_streams_at_most_and_closing_one_makes_room() {
    let (world, process, api) = World::with_api().await;
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(Stream::open(&api, "/v1/events", None).await);
    }
    let (status, problem) = api::send(api.request(Method::GET, "/v1/events")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_streams")));
    let test_key = Api::of(&process, &world.make_test_key().await);
    Stream::open(&test_key, "/v1/events", None).await;
    open.pop();
    eventually("a closed stream makes room", SOON, async || {
        api.request(Method::GET, "/v1/events").send().await.unwrap().status() == StatusCode::OK
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_shows_signs_of_life() {
    let (_world, _process, api) = World::with_api().await;
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    let since = Instant::now();
    let sign = stream.bytes().await.unwrap();
    assert!(sign.starts_with(':') && sign.ends_with("\n\n"), "{sign:?}");
    assert!(since.elapsed() < Duration::from_secs(20), "well below what proxies wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_streams() {
    let (_world, process, api) = World::with_api().await;
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    let since = Instant::now();
    let (exit, end) = tokio::join!(process.terminate(), stream.next());
    assert!(exit.success() && end.is_none());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}
