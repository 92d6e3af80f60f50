//! Webhook endpoints over the API: created, shown, changed, rotated, deleted. Errors name the field. No account sees
//! the endpoints of another.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use visavis::domain::webhook::EventType;

use crate::net_guard::HOSTILE;
use crate::support::deliveries::text;
use crate::support::search::{self, Needle};
use crate::support::{Api, World, api};

const URL: &str = "https://hooks.example.com/visavis?tenant=acme";

async fn call(api: &Api, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = api.request(method, path).header("content-type", "application/json").body(body.to_string());
    api::send(request).await
}

async fn make(api: &Api, body: &Value) -> Value {
    let (status, made) = call(api, Method::POST, "/v1/webhooks", body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_made_changed_and_deleted_and_its_secret_is_shown_once() {
    let (world, _process, api) = World::with_api().await;
    let body =
        json!({ "url": URL, "event_types": ["job.failed", "job.completed", "job.failed"], "description": "CRM" });
    let made = make(&api, &body).await;
    let (id, secret) = (text(&made, "id"), text(&made, "secret"));
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "32 bytes in Base64: {made}");
    assert!(made["public_keys"][0].as_str().unwrap().starts_with("whpk_"));
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("secret");
    let path = format!("/v1/webhooks/{id}");
    assert_eq!(api.get(&path).await, (StatusCode::OK, expected.clone()));
    assert_eq!(expected["event_types"], json!(["job.completed", "job.failed"]), "each once");
    assert_eq!(
        (&expected["url"], &expected["description"], &expected["enabled"], &expected["rate_limit"]),
        (&json!(URL), &json!("CRM"), &json!(true), &Value::Null)
    );

    let change = json!({ "rate_limit": 7, "event_types": ["image.erased"], "enabled": false });
    let (status, changed) = call(&api, Method::PATCH, &path, &change).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!((&changed["rate_limit"], &changed["url"]), (&json!(7), &json!(URL)));
    assert_eq!((&changed["enabled"], &changed["disabled_reason"]), (&json!(false), &json!("by_request")));
    let (_, problem) = call(&api, Method::POST, &format!("{path}/test"), &json!({})).await;
    assert_eq!(problem["code"], "webhook_disabled");
    let (_, changed) = call(&api, Method::PATCH, &path, &json!({ "rate_limit": null, "enabled": true })).await;
    assert_eq!(
        (&changed["rate_limit"], &changed["enabled"], &changed["disabled_at"]),
        (&Value::Null, &json!(true), &Value::Null)
    );

    let (_, listed) = api.get("/v1/webhooks").await;
    assert_eq!(listed["webhooks"], json!([changed]));
    let hidden = [Needle::text("the secret", secret), Needle::text("the secret's bytes", &secret[6..])];
    assert_eq!(search::database(&world.pool, &hidden).await, Vec::<String>::new(), "sealed at rest");
    let deleted = api.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_eq!(api.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.count("SELECT count(*) FROM webhook_secrets").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_live_while_they_are_rotated_and_no_third() {
    let (world, _process, api) = World::with_api().await;
    let made = make(&api, &json!({ "url": URL, "event_types": ["job.completed"] })).await;
    let path = format!("/v1/webhooks/{}", text(&made, "id"));
    let rotate = format!("{path}/rotate");
    let (status, rotated) = call(&api, Method::POST, &rotate, &json!({ "grace_hours": 2 })).await;
    assert_eq!(status, StatusCode::CREATED, "{rotated}");
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(rotated["public_keys"][1], made["public_keys"][0], "the newest first");
    let (status, problem) = call(&api, Method::POST, &rotate, &json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("two_live_secrets")));
    world.pass(std::time::Duration::from_hours(2)).await;
    assert_eq!(api.get(&path).await.1["public_keys"], json!([rotated["public_keys"][0]]), "the grace is over");
    let (status, again) = call(&api, Method::POST, &rotate, &Value::Null).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "null is no object: {again}");
    let again = api::send(api.request(Method::POST, &rotate)).await;
    assert_eq!(again.0, StatusCode::CREATED, "a body may be left out: {}", again.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_and_nothing_is_stored() {
    let (world, _process, api) = World::with_api().await;
    let good = json!({ "url": URL, "event_types": ["job.completed"] });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let long = "x".repeat(201);
    for (body, code, field) in [
        (json!({ "event_types": ["job.completed"] }), "missing_field", "url"),
        (json!({ "url": URL }), "missing_field", "event_types"),
        (with("url", json!(7)), "invalid_field", "url"),
        (with("url", json!("https://example.com/\u{0}")), "invalid_url", "url"),
        (with("event_types", json!([])), "invalid_event_type", "event_types"),
        (with("event_types", json!("job.completed")), "invalid_field", "event_types"),
        (with("event_types", json!(["job.completed", "job.done"])), "invalid_event_type", "event_types[1]"),
        (with("event_types", json!(["endpoint.test"])), "invalid_event_type", "event_types[0]"),
        (with("description", json!(long)), "invalid_field", "description"),
        (with("rate_limit", json!(0)), "invalid_field", "rate_limit"),
        (with("rate_limit", json!(1001)), "invalid_field", "rate_limit"),
        (with("rate_limit", json!(1.5)), "invalid_field", "rate_limit"),
        (with("enabled", json!(false)), "unknown_field", "enabled"),
        (with("secret", json!("whsec_x")), "unknown_field", "secret"),
    ] {
        let (status, problem) = call(&api, Method::POST, "/v1/webhooks", &body).await;
        assert_eq!((status, text(&problem, "code")), (StatusCode::BAD_REQUEST, code), "{body} {problem}");
        assert_eq!(problem["field"], field, "{problem}");
    }
    for (url, refusal) in HOSTILE {
        let (status, problem) = call(&api, Method::POST, "/v1/webhooks", &with("url", json!(url))).await;
        assert_eq!((status, text(&problem, "code")), (StatusCode::BAD_REQUEST, "invalid_url"), "{url:?} {problem}");
        assert!(text(&problem, "detail").contains(&refusal.to_string()), "{url:?}: {problem}");
    }
    assert_eq!(world.count("SELECT count(*) FROM webhook_endpoints").await, 0);
    let made = make(&api, &good).await;
    let path = format!("/v1/webhooks/{}", text(&made, "id"));
    for (body, field) in [
        (json!({ "url": "http://127.0.0.1/" }), "url"),
        (json!({ "url": null }), "url"),
        (json!({ "enabled": "no" }), "enabled"),
        (json!({ "state": "on" }), "state"),
    ] {
        let (status, problem) = call(&api, Method::PATCH, &path, &body).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{body} {problem}");
    }
    let empty = api::send(api.request(Method::PATCH, &path)).await;
    assert_eq!((empty.0, &empty.1["code"]), (StatusCode::BAD_REQUEST, &json!("malformed_json")), "a patch has a body");
    let grace = call(&api, Method::POST, &format!("{path}/rotate"), &json!({ "grace_hours": 169 })).await;
    assert_eq!((grace.0, &grace.1["field"]), (StatusCode::BAD_REQUEST, &json!("grace_hours")));
    assert_eq!(api.get(&path).await.1["url"], URL, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_fifty_endpoints_at_most_and_test_keys_have_their_own() {
    let (world, process, api) = World::with_api().await;
    let test = Api::of(&process, &world.make_test_key().await);
    let body = json!({ "url": URL, "event_types": ["job.completed"] });
    for _ in 0..50 {
        make(&api, &body).await;
    }
    let (status, problem) = call(&api, Method::POST, "/v1/webhooks", &body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("too_many_webhooks")));
    let made = make(&test, &body).await;
    assert_eq!(test.get("/v1/webhooks").await.1["webhooks"].as_array().unwrap().len(), 1);
    assert_eq!(api.get(&format!("/v1/webhooks/{}", text(&made, "id"))).await.0, StatusCode::NOT_FOUND);
}

#[test]
fn the_types_that_can_be_subscribed_to_are_those_of_the_contract() {
    let names = EventType::ALL.iter().map(|event| event.name()).collect::<Vec<_>>();
    assert_eq!(names, ["job.completed", "job.failed", "review.decided", "image.erased", "endpoint.disabled"]);
}
