//! What holds for every request: limits, request ids, refusals by type, size and method, compression, CORS.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::world::request;
use crate::support::{Api, World, api, eventually, photos};

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_minute_is_told_before_and_after() {
    let world = World::without_broker().await;
    world.execute(r#"UPDATE tenants SET settings = '{"requests_per_minute": 3}'"#).await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for remaining in ["2", "1", "0"] {
        let answer = api.request(Method::GET, "/v1/organisation").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            (&answer.headers()["ratelimit-limit"], &answer.headers()["ratelimit-remaining"]),
            (&"3".parse().unwrap(), &remaining.parse().unwrap())
        );
    }
    let answer = api.request(Method::GET, "/v1/organisation").send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["ratelimit-remaining"]),
        (StatusCode::TOO_MANY_REQUESTS, &"0".parse().unwrap())
    );
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "a third of a minute at most: {wait}");
    let stranger = world.make_tenant("stranger", None).await;
    assert_eq!(Api::of(&process, &stranger.api_key).get("/v1/organisation").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_at_once_than_allowed_are_turned_away_while_the_others_wait() {
    let world = World::new().await;
    world.execute(r#"UPDATE tenants SET settings = '{"concurrent_requests": 1}'"#).await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let job = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    let path = format!("/v1/jobs/{job}?wait=3");
    let ((one, first), (other, second)) = tokio::join!(api.get(&path), api.get(&path));
    let (turned_away, problem) = if one == StatusCode::OK { (other, second) } else { (one, first) };
    assert_eq!(turned_away, StatusCode::TOO_MANY_REQUESTS, "there is one place, and the other request waits in it");
    assert_eq!(problem["code"], "too_many_concurrent_requests");
    assert_eq!(api.get("/v1/organisation").await.0, StatusCode::OK, "the place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_than_may_wait_are_refused_by_both_doors_until_some_end() {
    let world = World::new().await;
    world.execute(r#"UPDATE tenants SET settings = '{"jobs_in_flight": 2}'"#).await;
    let mut producer = world.producer().await;
    let process = world.spawn(&["api", "intake", "relay"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let pair = request("likeness_check", photos::blank(), photos::blank());
    let (status, first) = api.submit(Some("first"), &pair).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(api.submit(Some("second"), &pair).await.0, StatusCode::ACCEPTED);
    let answer = api.request(Method::POST, "/v1/jobs").body(pair.to_string()).send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"5".parse().unwrap())
    );
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "too_many_jobs");
    assert_eq!(api.submit(Some("first"), &pair).await.0, StatusCode::ACCEPTED, "the same again is no new job");
    producer.submit("third", &pair).await;
    assert_eq!(producer.reply("third", "rejected").await.body["code"], "too_many_jobs");

    let first = first["id"].as_str().unwrap();
    assert!(api.delete(&format!("/v1/jobs/{first}")).await.0.is_success());
    eventually("there is a place again", Duration::from_mins(1), async || {
        api.submit(Some("fourth"), &pair).await.0 == StatusCode::ACCEPTED
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_request_id_and_stays_out_of_caches() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for path in ["/v1/organisation", "/livez", "/nowhere", "/openapi.json"] {
        let answer = api.request(Method::GET, path).header("x-request-id", "case-7").send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"], "case-7", "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        assert!(answer.headers().contains_key("cache-control"), "{path}");
    }
    let long = "x".repeat(65);
    for odd in [long.as_str(), "two words", ""] {
        let answer = api.request(Method::GET, "/livez").header("x-request-id", odd).send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"].len(), 32, "an id of ours instead of {odd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_path_does_not_take_is_refused_by_method_type_and_size() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let answer = api.request(Method::PUT, "/v1/organisation").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()["allow"], "GET,HEAD");
    let answer = api.request(Method::HEAD, "/v1/organisation").send().await.unwrap();
    assert_eq!(
        (answer.status(), answer.headers()["content-type"].to_str().unwrap()),
        (StatusCode::OK, "application/json")
    );
    assert!(answer.bytes().await.unwrap().is_empty());

    let pair = request("likeness_check", photos::blank(), photos::blank()).to_string();
    let typed = |kind: &str| api.request(Method::POST, "/v1/jobs").header("content-type", kind).body(pair.clone());
    assert_eq!(api::send(typed("image/jpeg")).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(api::send(typed("application/json")).await.0, StatusCode::ACCEPTED);
    let large = api.request(Method::POST, "/v1/jobs").body(vec![b' '; (80 << 20) + 1]);
    let (status, problem) = api::send(large).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("body_too_large")));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_those_who_ask() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for accepted in ["gzip", "br, gzip"] {
        let answer =
            api.request(Method::GET, "/openapi.json").header("accept-encoding", accepted).send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip", "{accepted}");
    }
    for accepted in ["identity", "br"] {
        let plain = api.request(Method::GET, "/openapi.json").header("accept-encoding", accepted).send().await.unwrap();
        assert!(!plain.headers().contains_key("content-encoding"), "{accepted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_may_call_only_when_they_are_listed() {
    let world = World::without_broker().await;
    let (closed, open) = (
        world.spawn(&["api"]).await,
        world.spawn_with(&["api"], &[("VISAVIS_CORS_ORIGINS", "https://app.example.com")]).await,
    );
    let allowed = async |process, origin: &str| {
        let request = Api::of(process, &world.tenant.api_key).request(Method::GET, "/v1/organisation");
        let answer = request.header("origin", origin).send().await.unwrap();
        answer.headers().get("access-control-allow-origin").map(|origin| origin.to_str().unwrap().to_owned())
    };
    assert_eq!(allowed(&closed, "https://app.example.com").await, None);
    assert_eq!(allowed(&open, "https://app.example.com").await.as_deref(), Some("https://app.example.com"));
    assert_eq!(allowed(&open, "https://evil.example.com").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_without_tls() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let mut stream = tokio::net::TcpStream::connect(process.address()).await.unwrap();
    // The connection preface and an empty SETTINGS frame (RFC 9113, 3.4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "the answer is a SETTINGS frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_does_not_ask_is_not_waited_for() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let closed = async |said: &[u8]| {
        let mut stream = tokio::net::TcpStream::connect(process.address()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        // Twenty seconds are allowed.
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.map(|_| ())
    };
    let (silent, half) = tokio::join!(closed(b""), closed(b"GET /livez HTTP/1.1\r\nHost: a"));
    assert_eq!((silent, half), (Ok(()), Ok(())), "both connections are closed");
}
