//! `/v1/images`: what is accepted, what is refused, and how long requests may name an upload.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Duration, Utc};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, World, api, blobs, photos};
use crate::vision_images::{animated_png, huge_png, with_orientation};

fn upload(api: &Api, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    api.request(Method::POST, "/v1/images").header("content-type", content_type).body(body)
}

/// Uploads a good image and returns its id.
async fn uploaded(api: &Api, bytes: &[u8]) -> String {
    let (status, image) = api::send(upload(api, "image/jpeg", bytes.to_vec())).await;
    assert_eq!(status, StatusCode::CREATED, "{image}");
    image["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_described_shown_and_erased() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let lying = with_orientation(photos::small_face(), 6);
    let (width, height) =
        image::load_from_memory(photos::small_face()).map(|image| (image.width(), image.height())).unwrap();
    let text = json!({ "image": format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&lying)) }).to_string();
    for (content_type, body) in [
        ("image/png", lying.clone()),
        ("application/octet-stream", lying.clone()),
        ("application/json; charset=utf-8", text.into_bytes()),
    ] {
        let response = upload(&api, content_type, body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let image: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(location, format!("/v1/images/{}", image["id"].as_str().unwrap()));
        assert_eq!((&image["format"], &image["bytes"]), (&json!("jpeg"), &json!(lying.len())), "{content_type}");
        assert_eq!((&image["width"], &image["height"]), (&json!(height), &json!(width)), "upright");

        let (status, found) = api.get(&location).await;
        assert_eq!((status, &found["id"]), (StatusCode::OK, &image["id"]));
        let url = found["url"].as_str().unwrap();
        let shown = api.anonymous(Method::GET, url).send().await.unwrap();
        assert_eq!(shown.status(), StatusCode::OK);
        let shown = shown.bytes().await.unwrap();
        assert!(!shown.windows(4).any(|window| window == b"Exif"), "metadata are left out");
        let shown = image::load_from_memory(&shown).unwrap();
        assert_eq!((shown.width(), shown.height()), (height, width), "the turn that they asked for was made");

        assert_eq!(blobs::count(&world.blobs), 2, "the original and what was shown");
        assert_eq!(api.request(Method::DELETE, &location).send().await.unwrap().status(), StatusCode::NO_CONTENT);
        assert_eq!(blobs::count(&world.blobs), 0);
        assert_eq!(api.get(&location).await.0, StatusCode::NOT_FOUND);
        assert_eq!(api.delete(&location).await.0, StatusCode::NOT_FOUND);
        assert_eq!(api.anonymous(Method::GET, url).send().await.unwrap().status(), StatusCode::GONE);
    }
    assert_eq!(
        world.count("SELECT count(*) FROM images").await + world.count("SELECT count(*) FROM renditions").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_of_ours_is_refused_with_the_reason_and_not_stored() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let nobody = Api::of(&process, "vv_live_0000000000000000_wrong");
    let large = [&[0xFF, 0xD8, 0xFF][..], &vec![0; 10_000_000]].concat();
    let text = |value: Value| json!({ "image": value }).to_string();
    let jpeg = photos::small_face();
    let cases = [
        (upload(&nobody, "image/jpeg", jpeg), 401, "unauthorized", None),
        (api.request(Method::POST, "/v1/images").body(jpeg), 415, "unsupported_media_type", None),
        (upload(&api, "text/plain", jpeg), 415, "unsupported_media_type", None),
        (upload(&api, "image/jpeg", ""), 400, "empty_image", None),
        (upload(&api, "image/jpeg", "hello"), 400, "unsupported_image_format", None),
        (upload(&api, "image/jpeg", large.clone()), 413, "image_too_large", None),
        (upload(&api, "image/png", huge_png(7000, 10)), 400, "too_many_pixels", None),
        (upload(&api, "image/png", huge_png(5000, 5000)), 400, "too_many_pixels", None),
        (upload(&api, "image/png", animated_png()), 400, "animated_image", None),
        (upload(&api, "image/jpeg", jpeg[..jpeg.len() / 2].to_vec()), 400, "invalid_image", None),
        (upload(&api, "application/json", "{"), 400, "malformed_json", None),
        (upload(&api, "application/json", "{}"), 400, "missing_field", Some("image")),
        (upload(&api, "application/json", text(json!(7))), 400, "invalid_type", Some("image")),
        (upload(&api, "application/json", text(json!("%"))), 400, "invalid_base64", Some("image")),
        (upload(&api, "application/json", text(json!("aGVsbG8="))), 400, "unsupported_image_format", Some("image")),
        (
            upload(&api, "application/json", text(json!(BASE64_STANDARD.encode(&large)))),
            413,
            "image_too_large",
            Some("image"),
        ),
        (
            upload(&api, "application/json", json!({ "image": "/9j/4AAQ", "name": "x" }).to_string()),
            400,
            "unknown_field",
            Some("name"),
        ),
        (api.request(Method::GET, "/v1/images/not-an-id"), 404, "not_found", None),
    ];
    for (request, status, code, field) in cases {
        let (found, problem) = api::send(request).await;
        assert_eq!((found.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(problem["field"].as_str(), field, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }
    world.execute("UPDATE tenants SET settings = '{\"approved\": false}'").await;
    let (status, problem) = api::send(upload(&api, "image/jpeg", jpeg)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("organisation_not_approved")));
    world.execute("UPDATE api_keys SET scopes = ARRAY['read']").await;
    for request in [upload(&api, "image/jpeg", jpeg), api.request(Method::DELETE, "/v1/images/x")] {
        let (status, problem) = api::send(request).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("missing_scope")));
    }
    assert_eq!(blobs::count(&world.blobs), 0);
    assert_eq!(world.count("SELECT count(*) FROM images").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_lives_as_long_as_retention_says_and_a_day_at_most() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let lifetime = async || {
        let id = uploaded(&api, photos::small_face()).await;
        let expires = api.get(&format!("/v1/images/{id}")).await.1["expires_at"].as_str().unwrap().to_owned();
        let created: DateTime<Utc> = sqlx::query_scalar("SELECT created_at FROM images WHERE id = $1::uuid")
            .bind(id)
            .fetch_one(&world.pool)
            .await
            .unwrap();
        DateTime::parse_from_rfc3339(&expires).unwrap().to_utc() - created
    };
    let close = |found: Duration, expected: Duration| (found - expected).abs() < Duration::milliseconds(2);
    world.execute("UPDATE tenants SET retention_seconds = 2592000").await;
    assert!(close(lifetime().await, Duration::hours(24)));
    world.execute("UPDATE tenants SET retention_seconds = 600").await;
    assert!(close(lifetime().await, Duration::minutes(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_names_an_upload_of_its_own_account_and_keeps_a_copy_of_its_own() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let stranger = Api::of(&process, &world.make_tenant("stranger", None).await.api_key);
    let id = uploaded(&api, photos::small_face()).await;
    let naming = |id: &str| {
        json!({ "version": 1, "kind": "face_match",
                "request": { "source_image": { "image_id": id }, "target_image": { "image_id": id } } })
    };
    let (status, job) = api.submit(None, &naming(&id)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{job}");
    assert_eq!(blobs::count(&world.blobs), 3, "the upload and a copy for each part it plays");

    let refused = async |api: &Api, id: &str| {
        let (status, problem) = api.submit(None, &naming(id)).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("unknown_image")), "{problem}");
        assert_eq!(problem["field"], "request.source_image");
    };
    refused(&stranger, &id).await;
    refused(&api, "00000000-0000-7000-8000-000000000000").await;
    for (method, path) in [(Method::GET, "/v1/images/"), (Method::DELETE, "/v1/images/")] {
        let (status, _) = api::send(stranger.request(method, &format!("{path}{id}"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    // A test key of the same organisation belongs to another account.
    let test = Api::of(&process, &world.make_test_key().await);
    refused(&test, &id).await;
    assert_eq!(test.get(&format!("/v1/images/{id}")).await.0, StatusCode::NOT_FOUND);

    // Requests can name an upload until it expires, even before the janitor comes.
    assert_eq!(api.submit(None, &naming(&id)).await.0, StatusCode::ACCEPTED);
    world.execute("UPDATE images SET purge_at = now() WHERE role = 'upload'").await;
    refused(&api, &id).await;
    assert_eq!(api.get(&format!("/v1/images/{id}")).await.0, StatusCode::NOT_FOUND);
    visavis::janitor::erase_due(world.store(), &world.intake.media).await.unwrap();
    assert_eq!(blobs::count(&world.blobs), 4, "the jobs' copies stay");
    let job = visavis::domain::ids::JobId(job["id"].as_str().unwrap().parse().unwrap());
    for row in world.store().list_images(world.tenant.id, job).await.unwrap() {
        let key = visavis::keys::WrappedKey { master_key_id: row.master_key_id, wrapped: row.wrapped_key };
        assert_eq!(world.intake.media.get_image(world.tenant.id, row.id, &key).await.unwrap(), photos::small_face());
    }
}
