//! The HTTP API: who may see what, how long a poll waits, and which error a bad request gets.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::world::request;
use crate::support::{Api, World, api, obtain, photos};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_answered_in_full_and_as_a_report() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let mut body = request("face_match", photos::small_face(), photos::small_face());
    body["metadata"] = json!({ "case": "7" });
    let (status, accepted) = api.submit(None, &body).await;
    assert_eq!((status, &accepted["state"]), (StatusCode::ACCEPTED, &json!("queued")));
    let id = accepted["id"].as_str().unwrap();

    let (status, job) = api.get(&format!("/v1/jobs/{id}?wait=60")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(job["request_id"], accepted["request_id"]);
    assert_eq!(job["request_id"].as_str().unwrap().len(), 12);
    for (field, expected) in [
        ("state", json!("succeeded")),
        ("verdict", json!("approved")),
        ("status", json!("Approved")),
        ("failure", Value::Null),
        ("metadata", json!({ "case": "7" })),
        ("attempt", json!(1)),
    ] {
        assert_eq!(job[field], expected, "{field}");
    }
    let result = &job["result"];
    assert_eq!((&result["score"], &result["search_mode"]), (&json!(100.0), &json!("ACCURATE")));
    assert_eq!((&result["approve_score"], &result["review_score"]), (&json!(75.0), &json!(60.0)));
    assert_eq!((&result["liveness_min_score"], &result["liveness"]["judgement"]), (&json!(0.5), &json!("live")));
    assert!(result["liveness"]["model"].as_str().unwrap().contains("visavis_liveness_wide@1"), "{result}");
    assert!(result["model"].as_str().unwrap().contains('@') && result["calibration"].as_str().unwrap().contains('@'));

    let (status, report) = api.get(&format!("/v1/face-match/{id}")).await;
    assert_eq!(status, StatusCode::OK);
    let report = &report["face_match"];
    assert_eq!((&report["status"], &report["score"]), (&json!("Approved"), &json!(100.0)));
    assert_eq!(report["warnings"][0]["risk"], "LOW_RESOLUTION");
    assert_eq!(report["warnings"][0]["log_type"], "information");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_job_does_not_exist() {
    let world = World::new().await;
    let process = world.spawn(&["api"]).await;
    let stranger = world.make_tenant("stranger", None).await;
    let job = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    let owner = Api::of(&process, &world.tenant.api_key);
    let other = Api::of(&process, &stranger.api_key);
    for path in [format!("/v1/jobs/{job}"), format!("/v1/face-match/{job}")] {
        assert_eq!(owner.get(&path).await.0, StatusCode::OK);
        let (status, problem) = other.get(&path).await;
        let (_, nothing) = other.get("/v1/jobs/00000000-0000-7000-8000-000000000000").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(problem, nothing, "the answer does not tell that it exists");
    }
    // The same idempotency key of two organisations means two jobs.
    let body = request("face_match", photos::blank(), photos::blank());
    let (_, one) = owner.submit(Some("key"), &body).await;
    let (_, two) = other.submit(Some("key"), &body).await;
    assert_ne!(one["id"], two["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_ends_when_its_wait_does_and_a_report_in_progress_says_so() {
    let world = World::new().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let job = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    let since = Instant::now();
    let (status, found) = api.get(&format!("/v1/jobs/{job}?wait=1")).await;
    assert_eq!((status, &found["state"]), (StatusCode::OK, &json!("queued")));
    assert!(since.elapsed() >= Duration::from_secs(1), "it waited");
    let (_, report) = api.get(&format!("/v1/face-match/{job}")).await;
    let report = &report["face_match"];
    assert_eq!((&report["status"], &report["score"]), (&json!("Not Finished"), &Value::Null));
    assert_eq!(report["warnings"][0]["additional_data"], "state=queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_a_problem_document_with_code_and_field() {
    let world = World::new().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let nobody = Api::of(&process, "vv_live_0000000000000000_wrong");
    let job = world.submit_pair("likeness_check", photos::blank(), photos::blank()).await;

    let cases = [
        (nobody.request(Method::GET, &format!("/v1/jobs/{job}")), 401, "unauthorized", None),
        (api.request(Method::GET, "/v1/jobs/not-an-id"), 404, "not_found", None),
        (api.request(Method::GET, &format!("/v1/face-match/{job}")), 404, "not_found", None),
        (api.request(Method::GET, "/nowhere"), 404, "not_found", None),
        (api.request(Method::DELETE, "/v1/jobs"), 405, "method_not_allowed", None),
        (api.request(Method::GET, &format!("/v1/jobs/{job}?wait=61")), 400, "invalid_wait", Some("wait")),
        (api.request(Method::GET, &format!("/v1/jobs/{job}?wait=soon")), 400, "invalid_wait", Some("wait")),
        (api.request(Method::POST, "/v1/jobs").body("{"), 400, "malformed_json", None),
        (api.request(Method::POST, "/v1/jobs").body("{}"), 400, "missing_field", Some("version")),
        (api.request(Method::POST, "/v1/jobs").body(vec![b' '; (80 << 20) + 1]), 413, "body_too_large", None),
        (
            api.request(Method::POST, "/v1/jobs").header("idempotency-key", "x".repeat(256)).body("{}"),
            400,
            "invalid_idempotency_key",
            None,
        ),
    ];
    for (request, status, code, field) in cases {
        let (found, problem) = api::send(request).await;
        assert_eq!((found.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(
            (problem["status"].as_u64(), problem["field"].as_str()),
            (Some(u64::from(status)), field),
            "{problem}"
        );
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_where_a_worker_computes() {
    let world = World::new().await;
    let process = world.spawn(&["api", "worker"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    // It is ready once it is connected, which may be a moment after its start.
    let answer = obtain("the worker is ready", Duration::from_secs(30), async || {
        let (status, answer) = api.get("/readyz").await;
        (status == StatusCode::OK).then_some(answer)
    })
    .await;
    assert_eq!(answer["provider"], "cpu", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_what_is_missing() {
    let world = World::new().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let parts = json!({ "database": "ok", "blobs": "ok" });
    assert_eq!(api.get("/readyz").await, (StatusCode::OK, json!({ "ready": true, "parts": parts })));
    world.management.delete_vhost(&world.vhost).await;
    let without_broker = world.spawn(&["api", "relay"]).await;
    let api = Api::of(&without_broker, &world.tenant.api_key);
    let (status, answer) = api.get("/readyz").await;
    assert_eq!(answer.get("provider"), None, "it compares nothing");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["parts"], json!({ "database": "ok", "blobs": "ok", "broker": "not ready" }));
    assert_eq!(answer["reasons"], json!({ "broker": "not connected" }));
    assert_eq!(api.request(Method::GET, "/livez").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_type_is_refused_with_what_was_found_and_what_to_send() {
    const PATHS: [&str; 7] = [
        "/v1/jobs",
        "/v1/face-match",
        "/likeness_check",
        "/v1/face/id-match/",
        "/v2/face-recognition/compare-with-liveness",
        "/v1/webhooks",
        "/v1/images",
    ];
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for path in PATHS {
        for (declared, found) in [
            ("multipart/form-data; boundary=x", "multipart/form-data (curl -F sends that)"),
            ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded (curl -d sends that unless"),
            ("text/plain", "text/plain, which this path does not take"),
        ] {
            let request = api.request(Method::POST, path).header("content-type", declared).body("--x--");
            let (status, problem) = api::send(request).await;
            let detail = problem["detail"].as_str().unwrap();
            assert_eq!((status.as_u16(), &problem["code"]), (415, &json!("unsupported_media_type")), "{path}");
            assert!(detail.contains(found) && detail.contains("curl -H 'Content-Type: "), "{path}: {detail}");
        }
    }
    let (status, problem) = api::send(api.request(Method::POST, "/v1/images").body("x")).await;
    assert_eq!(status.as_u16(), 415);
    assert!(problem["detail"].as_str().unwrap().starts_with("the request has no Content-Type, "), "{problem}");
}
