//! Everything of another organisation looks as if it did not exist. The test walks every route of the OpenAPI document.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::world::request;
use crate::support::{Api, World, api, photos};

/// Routes that name nothing of an organisation's, or have a check of their own. New routes must be considered here.
const WITHOUT_FOREIGN_THINGS: &[&str] = &[
    "/.well-known/jwks.json",
    "/admin/v1/organisations",
    "/admin/v1/organisations/{organisation}",
    "/admin/v1/organisations/{organisation}/keys",
    "/admin/v1/organisations/{organisation}/keys/{key}",
    "/admin/v1/organisations/{organisation}/keys/{key}/rotate",
    "/likeness_check",
    "/livez",
    "/media/{organisation}/{image}/{file}",
    "/readyz",
    "/v1/billing/statement",
    "/v1/billing/wallet",
    "/v1/events",
    "/v1/face-match",
    "/v1/face/id-match/",
    "/v1/images",
    "/v1/jobs",
    "/v1/liveness/challenges",
    "/v1/organisation",
    "/v1/webhooks",
    "/v2/face-recognition/compare-with-liveness",
];

/// Routes that need no key.
const PUBLIC: &[&str] = &["/.well-known/jwks.json", "/livez", "/media/{organisation}/{image}/{file}", "/readyz"];

const NOWHERE: &str = "00000000-0000-7000-8000-000000000000";

struct Operation {
    path: String,
    method: Method,
}

async fn operations(api: &Api) -> Vec<Operation> {
    let (_, document) = api.get("/openapi.json").await;
    let of_path = |(path, methods): (&String, &Value)| -> Vec<Operation> {
        let methods = methods.as_object().unwrap().keys().filter_map(|method| method.to_uppercase().parse().ok());
        let known = [Method::GET, Method::POST, Method::PATCH, Method::DELETE];
        methods.filter(|method| known.contains(method)).map(|method| Operation { path: path.clone(), method }).collect()
    };
    document["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_route_a_strangers_thing_is_answered_as_one_that_does_not_exist() {
    let world = World::new().await;
    let process = world.spawn(&["api"]).await;
    let owner = Api::of(&process, &world.tenant.api_key);
    let stranger = Api::of(&process, &world.make_tenant("stranger", None).await.api_key);
    let test_key = Api::of(&process, &world.make_test_key().await);
    let job = world.submit_pair("face_match", photos::blank(), photos::blank()).await.to_string();
    let upload = owner.request(Method::POST, "/v1/images").header("content-type", "image/png");
    let (status, image) = api::send(upload.body(photos::blank().to_vec())).await;
    assert_eq!(status, StatusCode::CREATED, "{image}");
    let image = image["id"].as_str().unwrap().to_owned();

    let hook = json!({ "url": "https://example.com/", "event_types": ["job.completed"] });
    let (status, hook) = api::send(owner.post("/v1/webhooks", &hook)).await;
    assert_eq!(status, StatusCode::CREATED, "{hook}");
    let hook = hook["id"].as_str().unwrap().to_owned();

    let mut walked = Vec::new();
    for Operation { path, method } in operations(&owner).await {
        if WITHOUT_FOREIGN_THINGS.contains(&path.as_str()) {
            continue;
        }
        let own = match path.split('/').nth(2) {
            Some("images") => &image,
            Some("webhooks") => &hook,
            _ => &job,
        };
        let fill = |id: &str| {
            path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect::<Vec<_>>().join("/")
        };
        assert_ne!(fill(own), path, "{path} names nothing: list it, or give it a foreign thing here");
        let ask = async |api: &Api, id: &str| {
            let request = api.request(method.clone(), &fill(id)).header("content-type", "application/json");
            let answer = request.body("{}").send().await.unwrap();
            (answer.status(), answer.bytes().await.unwrap())
        };
        let nothing = ask(&stranger, NOWHERE).await;
        assert_eq!(nothing.0, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(ask(&stranger, own).await, nothing, "{method} {path}: the answer tells that it exists");
        assert_eq!(ask(&test_key, own).await, nothing, "{method} {path}: a test key sees a live thing");
        assert_eq!(ask(&stranger, "no-id-at-all").await.0, StatusCode::NOT_FOUND, "{method} {path}");
        walked.push((method, path));
    }
    let least = ["/v1/face-match/{id}", "/v1/images/{id}", "/v1/jobs/{id}", "/v1/webhooks/{id}"];
    assert!(least.iter().all(|path| walked.iter().any(|operation| operation.1 == *path)), "{walked:?}");
    // None of the requests has changed anything.
    assert_eq!(owner.get(&format!("/v1/jobs/{job}")).await.1["erased_at"], Value::Null);
    assert_eq!(owner.get(&format!("/v1/images/{image}")).await.0, StatusCode::OK);
    assert_eq!(owner.get(&format!("/v1/webhooks/{hook}")).await.1["url"], "https://example.com/");
    // Lists contain only what is one's own.
    assert_eq!(stranger.get("/v1/webhooks").await.1["webhooks"], json!([]));
    assert_eq!(stranger.get("/v1/jobs").await.1["jobs"], json!([]));
    // A job cannot name an upload of another organisation either.
    let mut body = request("face_match", photos::blank(), photos::blank());
    body["request"]["source_image"] = json!({ "image_id": image });
    let (status, problem) = stranger.submit(None, &body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("unknown_image")));
    assert_eq!(owner.submit(None, &body).await.0, StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_but_the_public_ones_answers_without_a_key() {
    let world = World::without_broker().await;
    let token = "an-admin-token-of-forty-characters-000000";
    let process = world.spawn_with(&["api"], &[("VISAVIS_ADMIN_TOKEN", token)]).await;
    let nobody = Api::of(&process, "");
    let mut asked = 0;
    for Operation { path, method } in operations(&nobody).await {
        let status = empty_request(&nobody, &method, &path).await;
        assert_eq!(status == StatusCode::UNAUTHORIZED, !PUBLIC.contains(&path.as_str()), "{method} {path}: {status}");
        asked += 1;
    }
    assert!(asked > 15, "the document lists {asked} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_route_an_ended_key_is_unknown_and_a_key_without_the_scope_is_refused() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let (ended, narrow) = (world.make_test_key().await, world.make_test_key().await);
    let id = |key: &str| key.split('_').nth(2).unwrap().to_owned();
    let set = "UPDATE api_keys SET expires_at = now() WHERE id = $1";
    sqlx::query(set).bind(id(&ended)).execute(&world.pool).await.unwrap();
    let set = "UPDATE api_keys SET scopes = '{billing}' WHERE id = $1";
    sqlx::query(set).bind(id(&narrow)).execute(&world.pool).await.unwrap();
    let (ended, narrow) = (Api::of(&process, &ended), Api::of(&process, &narrow));
    let mut refused = 0;
    for Operation { path, method } in operations(&narrow).await {
        if PUBLIC.contains(&path.as_str()) || path.starts_with("/admin/") {
            continue;
        }
        assert_eq!(empty_request(&ended, &method, &path).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        // A wallet belongs to the live account. What one's own organisation and key may do, every key may ask.
        let open = path == "/v1/organisation";
        let status = empty_request(&narrow, &method, &path).await;
        assert_eq!(status == StatusCode::FORBIDDEN, !open, "{method} {path}: {status}");
        refused += 1;
    }
    assert!(refused > 12, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_as_get_is_without_its_body() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let mut asked = 0;
    for Operation { path, method } in operations(&api).await {
        if method != Method::GET {
            continue;
        }
        let path = filled(&path);
        let get = api.request(Method::GET, &path).send().await.unwrap();
        let head = api.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(head.headers().get("content-type"), get.headers().get("content-type"), "{path}");
        assert_eq!(head.bytes().await.unwrap(), "", "{path}");
        asked += 1;
    }
    assert!(asked > 8, "{asked}");
}

fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { NOWHERE } else { part }).collect::<Vec<_>>().join("/")
}

async fn empty_request(api: &Api, method: &Method, path: &str) -> StatusCode {
    let request = api.request(method.clone(), &filled(path)).header("content-type", "application/json");
    request.body("{}").send().await.unwrap().status()
}
