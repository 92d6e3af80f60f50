//! The delivery ledger over the API: what was delivered and when, by page, and replays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::DateTime;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::deliveries::{QUICK, live};
use crate::support::deliveries::{Running, await_attempts, await_state, endpoint, event, text};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{Api, World, api};

async fn replay(api: &Api, path: &str, body: &Value) -> (StatusCode, Value) {
    api::send(api.post(&format!("{path}/replay"), body)).await
}

/// A receiver that answers 500 until the test makes it healthy.
async fn moody() -> (Receiver, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&well);
    let answer = move |_: usize, _: &_| {
        if asked.load(Ordering::SeqCst) { Reply::Body(200, "thanks".to_owned()) } else { Reply::Status(500) }
    };
    (Receiver::answering(answer).await, well)
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_page_by_page_with_all_their_attempts() {
    let (world, _process, api) = World::with_api().await;
    let (receiver, well) = moody().await;
    let id = endpoint(&world, &receiver.url()).await.endpoint.id;
    for _ in 0..3 {
        event(&world).await;
    }
    let _dispatcher = Running::start(&world, QUICK);
    await_attempts(&world, 3).await;
    let path = format!("/v1/webhooks/{id}");
    let (status, first) = api.get(&format!("{path}/deliveries?limit=2&status=pending")).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let next = text(&first["links"], "next");
    let (_, second) = api.get(next).await;
    assert_eq!(second["links"]["next"], Value::Null);
    let of = |page: &Value| -> Vec<String> {
        page["deliveries"].as_array().unwrap().iter().map(|delivery| text(delivery, "event_id").to_owned()).collect()
    };
    let ids = [of(&first), of(&second)].concat();
    assert!(ids.len() == 3 && ids.is_sorted_by(|one, other| one > other), "the newest first: {ids:?}");
    let failing = &first["deliveries"][0];
    assert_eq!(
        (&failing["status"], &failing["attempts"], &failing["type"]),
        (&json!("pending"), &json!(1), &json!("job.completed"))
    );
    assert!(failing["next_attempt_at"].is_string() && failing["finished_at"].is_null(), "{failing}");

    well.store(true, Ordering::SeqCst);
    world.pass(std::time::Duration::from_secs(10)).await;
    await_state(&world, "delivered", 3).await;
    let (status, delivered) = api.get(text(&failing["links"], "self")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&delivered["status"], &delivered["next_attempt_at"]),
        (&json!("delivered"), &Value::Null),
        "{delivered}"
    );
    let history = delivered["history"].as_array().unwrap();
    let facts: Vec<_> = history
        .iter()
        .map(|attempt| (attempt["status"].clone(), attempt["answer"].clone(), attempt["error"].clone()))
        .collect();
    assert_eq!(facts, [(json!(500), json!(""), Value::Null), (json!(200), json!("thanks"), Value::Null)]);
    assert!(history.iter().all(|attempt| attempt["duration_ms"].is_u64() && attempt["at"].is_string()), "{history:?}");
    assert_eq!(api.get(&format!("{path}/deliveries?status=pending")).await.1["deliveries"], json!([]));

    for (query, field) in [
        ("limit=0", Some("limit")),
        ("limit=101", Some("limit")),
        ("cursor=x", Some("cursor")),
        ("status=lost", Some("status")),
        ("page=2", None),
    ] {
        let (status, problem) = api.get(&format!("{path}/deliveries?{query}")).await;
        assert_eq!((status, problem["field"].as_str()), (StatusCode::BAD_REQUEST, field), "{query} {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_delivery_all_that_failed_or_those_of_a_time_are_made_once_more() {
    let (world, _process, api) = World::with_api().await;
    event(&world).await;
    let (receiver, well) = moody().await;
    well.store(true, Ordering::SeqCst);
    let id = endpoint(&world, &receiver.url()).await.endpoint.id;
    event(&world).await;
    let _dispatcher = Running::start(&world, QUICK);
    await_state(&world, "delivered", 1).await;
    let path = format!("/v1/webhooks/{id}");
    let (_, page) = api.get(&format!("{path}/deliveries")).await;
    let event_id = text(&page["deliveries"][0], "event_id").to_owned();
    let (status, answer) = replay(&api, &path, &json!({ "event_id": event_id })).await;
    assert_eq!((status, &answer["replayed"]), (StatusCode::ACCEPTED, &json!(1)));
    let seen = receiver.await_seen(2).await;
    assert_eq!(seen[0].id, seen[1].id, "the same event");
    await_attempts(&world, 2).await;

    world.execute("UPDATE deliveries SET state = 'failed', finished_at = now()").await;
    let (status, answer) = replay(&api, &path, &json!({ "failed": true })).await;
    assert_eq!((status, &answer["replayed"]), (StatusCode::ACCEPTED, &json!(1)));
    await_attempts(&world, 3).await;
    await_state(&world, "delivered", 1).await;
    let (_, answer) = replay(&api, &path, &json!({ "failed": true })).await;
    assert_eq!(answer["replayed"], 0, "none has failed");

    // The event from before the endpoint existed is included.
    let now = world.store().now().await.unwrap();
    let day = |days: i64| DateTime::from_timestamp_secs(now + days * 86_400).unwrap().to_rfc3339();
    let between = json!({ "since": day(-15), "until": day(15) });
    let (status, answer) = replay(&api, &path, &between).await;
    assert_eq!((status, &answer["replayed"]), (StatusCode::ACCEPTED, &json!(2)), "{answer}");
    await_state(&world, "delivered", 2).await;
    await_attempts(&world, 5).await;
    let early = json!({ "since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z" });
    assert_eq!(replay(&api, &path, &early).await.1["replayed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_not_clear_is_refused_and_the_field_named() {
    let (world, process, api) = World::with_api().await;
    let id = endpoint(&world, "http://127.0.0.1:9/").await.endpoint.id;
    let path = format!("/v1/webhooks/{id}");
    let time = "2026-01-01T00:00:00Z";
    for (body, field) in [
        (json!({}), "event_id"),
        (json!({ "failed": false }), "failed"),
        (json!({ "failed": true, "since": time }), "event_id"),
        (json!({ "event_id": "7" }), "event_id"),
        (json!({ "since": time }), "until"),
        (json!({ "until": time }), "since"),
        (json!({ "since": time, "until": time }), "until"),
        (json!({ "since": "2020-01-01T00:00:00Z", "until": "2020-02-02T00:00:00Z" }), "until"),
        (json!({ "since": "yesterday", "until": time }), "since"),
        (json!({ "all": true }), "all"),
    ] {
        let (status, problem) = replay(&api, &path, &body).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{body} {problem}");
    }
    let unknown = json!({ "event_id": "00000000-0000-7000-8000-000000000000" });
    assert_eq!(replay(&api, &path, &unknown).await.0, StatusCode::NOT_FOUND);
    let off = api::send(api.request(Method::PATCH, &path).json(&json!({ "enabled": false }))).await;
    assert_eq!(off.0, StatusCode::OK);
    let (status, problem) = replay(&api, &path, &json!({ "failed": true })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("webhook_disabled")));
    // The endpoint and deliveries of another account do not exist.
    event(&world).await;
    let stranger = Api::of(&process, &world.make_tenant("stranger", None).await.api_key);
    let test_key = Api::of(&process, &world.make_test_key().await);
    for other in [&stranger, &test_key] {
        assert_eq!(replay(other, &path, &json!({ "failed": true })).await.0, StatusCode::NOT_FOUND);
        assert_eq!(other.get(&format!("{path}/deliveries")).await.0, StatusCode::NOT_FOUND);
    }
    assert!(world.store().list_deliveries(live(&world), id, None, None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_goes_to_its_endpoint_alone_whatever_it_subscribed_to() {
    let (world, _process, api) = World::with_api().await;
    let (asked, other) = (Receiver::start().await, Receiver::start().await);
    let body = json!({ "url": "https://example.com/", "event_types": ["image.erased"] });
    let (_, made) = api::send(api.post("/v1/webhooks", &body)).await;
    endpoint(&world, &other.url()).await;
    let set = sqlx::query("UPDATE webhook_endpoints SET url = $1 WHERE id = $2::text::uuid");
    set.bind(asked.url()).bind(text(&made, "id")).execute(&world.pool).await.unwrap();
    let path = format!("/v1/webhooks/{}/test", text(&made, "id"));
    let (status, answer) = api::send(api.request(Method::POST, &path)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let _dispatcher = Running::start(&world, QUICK);
    let seen = asked.await_seen(1).await.remove(0);
    assert_eq!((seen.id.as_str(), &seen.json()["type"]), (text(&answer, "event_id"), &json!("endpoint.test")));
    await_state(&world, "delivered", 1).await;
    assert_eq!(api.get(text(&answer["links"], "delivery")).await.1["status"], "delivered");
    assert!(other.seen().is_empty());
}
