//! The contract of `POST /likeness_check`, row by row: see `docs/contracts.md`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::ImageFormat;
use reqwest::Method;
use serde_json::{Value, json};
use visavis::domain::job::JobParams;
use visavis::domain::tenant::{Service, TenantSettings};

use crate::support::api::{Answer, answer};
use crate::support::endings::{Ending, answered, compared, end_next, picture, seen, unreadable};
use crate::support::photos::{blank, padded, photo, plain};
use crate::support::process::Process;
use crate::support::world::Tenant;
use crate::support::{Api, World};

const PATH: &str = "/likeness_check";

fn good() -> Value {
    json!({ "photo": BASE64_STANDARD.encode(blank()), "probe_image": BASE64_STANDARD.encode(blank()) })
}

/// A good request with a field replaced, or removed by `None`.
fn with(field: &str, value: Option<Value>) -> Value {
    let mut body = good();
    let fields = body.as_object_mut().unwrap();
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value)),
        None => drop(fields.remove(field)),
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_has_the_fields_of_the_contract_and_no_other() {
    let (world, _process, api) = World::with_api().await;
    let (answer, claim) = answered(&world, api.post(PATH, &good()), compared(0.912_345_678_9)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let expected = json!({
        "result": { "similarity": 0.912_345_678_9, "threshold": 0.75, "biometric_passed": true },
        "reference_id": claim.summary.id,
    });
    assert_eq!(answer.body, expected, "the similarity is not rounded, the reference is a UUID");
    let lane: String = world.scalar("SELECT lane FROM jobs WHERE id = $1", claim.summary.id).await;
    assert_eq!(lane, "interactive", "the caller waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_similarity_at_or_above_the_threshold_passes() {
    let (world, process, api) = World::with_api().await;
    for (threshold, applied, similarity, passed) in [
        (None, 0.75, 0.75, true),
        (None, 0.75, 0.749_999_999, false),
        (Some(Value::Null), 0.75, 0.75, true),
        (Some(json!(0)), 0.0, 0.0, true),
        (Some(json!(1)), 1.0, 1.0, true),
        (Some(json!(1.0)), 1.0, 0.999_999_999, false),
        (Some(json!(0.9)), 0.9, 0.9, true),
        (Some(json!(9e-1)), 0.9, 0.899_999_999, false),
    ] {
        let body = with("similarity_threshold", threshold.clone());
        let (answer, _) = answered(&world, api.post(PATH, &body), compared(similarity)).await;
        let expected = json!({ "similarity": similarity, "threshold": applied, "biometric_passed": passed });
        assert_eq!((answer.status, &answer.body["result"]), (200, &expected), "{threshold:?}");
    }
    let settings = TenantSettings { similarity_threshold: 0.5.try_into().ok(), ..TenantSettings::default() };
    let lenient = world.make_tenant_with("lenient", &settings).await;
    let api = Api::of(&process, &lenient.api_key);
    let (answer, _) = answered(&world, api.post(PATH, &good()), compared(0.5)).await;
    assert_eq!(answer.body["result"]["threshold"], 0.5, "the organisation's default");
    let body = with("similarity_threshold", Some(json!(0.6)));
    let (answer, _) = answered(&world, api.post(PATH, &body), compared(0.5)).await;
    assert_eq!(answer.body["result"]["biometric_passed"], false, "the request replaces it");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_400_with_message_and_field_before_anything_is_queued() {
    let (world, _process, api) = World::with_api().await;
    let encoded = |bytes: &[u8]| Some(json!(BASE64_STANDARD.encode(bytes)));
    let webp = encoded(&plain(300, 300, ImageFormat::WebP));
    let too_large = encoded(&padded(blank().to_vec(), 5_000_001));
    let data_url = |data: &str| Some(json!(format!("data:image/jpeg;base64,{data}")));
    let cases: Vec<(&str, Option<Value>, &str)> = vec![
        ("photo", None, "missing_photo"),
        ("photo", Some(Value::Null), "missing_photo"),
        ("probe_image", None, "missing_probe_image"),
        ("photo", Some(json!(7)), "invalid_image"),
        ("photo", Some(json!({ "image_id": "0190d7a0-0000-7000-8000-000000000000" })), "invalid_image"),
        ("photo", Some(json!("")), "invalid_image"),
        ("probe_image", Some(json!("not Base64!")), "invalid_image"),
        ("probe_image", Some(json!("https://example.com/photo.jpg")), "invalid_image"),
        ("probe_image", data_url("%%%"), "invalid_image"),
        ("photo", webp.clone(), "unsupported_image_format"),
        ("probe_image", webp, "unsupported_image_format"),
        ("photo", encoded(b"GIF89a not one of ours"), "unsupported_image_format"),
        ("photo", too_large.clone(), "image_too_large"),
        ("probe_image", too_large, "image_too_large"),
        ("similarity_threshold", Some(json!(1.000_001)), "invalid_similarity_threshold"),
        ("similarity_threshold", Some(json!(-0.000_001)), "invalid_similarity_threshold"),
        ("similarity_threshold", Some(json!("0.75")), "invalid_similarity_threshold"),
        ("similarity_threshold", Some(json!(true)), "invalid_similarity_threshold"),
        ("similarity_threshold", Some(json!({ "fmr": 1e-3 })), "invalid_similarity_threshold"),
    ];
    for (field, value, message) in cases {
        let answer = answer(api.post(PATH, &with(field, value))).await;
        let expected = json!({ "message": message, "field": field });
        assert_eq!((answer.status, &answer.body), (400, &expected), "{field}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let twice = good().to_string().replacen('{', "{\"photo\":\"\",", 1);
    for (body, expected) in [
        (twice, json!({ "message": "duplicate_field", "field": "photo" })),
        ("[]".to_owned(), json!({ "message": "malformed_json" })),
        ("{}".to_owned(), json!({ "message": "missing_photo", "field": "photo" })),
    ] {
        let answer = answer(api.request(Method::POST, PATH).body(body)).await;
        assert_eq!((answer.status, answer.body), (400, expected));
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jpeg_and_png_of_5_mb_are_taken_as_base64_or_data_url_and_further_fields_are_ignored() {
    let (world, _process, api) = World::with_api().await;
    let jpeg = padded(plain(64, 64, ImageFormat::Jpeg), 5_000_000);
    let png = padded(blank().to_vec(), 5_000_000);
    let body = json!({
        "photo": BASE64_STANDARD.encode(jpeg),
        // The declared type is ignored: the bytes decide.
        "probe_image": format!("data:image/webp;base64,{}", BASE64_STANDARD.encode(png)),
        "client_version": "7.1",
        "similarity_treshold": "not our field",
    });
    let (answer, claim) = answered(&world, api.post(PATH, &body), compared(0.8)).await;
    assert_eq!(answer.status, 200);
    let formats: Vec<(String, String)> =
        sqlx::query_as("SELECT role, format FROM images WHERE job_id = $1 ORDER BY role")
            .bind(claim.summary.id.0)
            .fetch_all(&world.pool)
            .await
            .unwrap();
    let expected = [("probe", "png"), ("reference", "jpeg")].map(|(role, format)| (role.to_owned(), format.to_owned()));
    assert_eq!(formats, expected);
    assert!(matches!(claim.params, JobParams::LikenessCheck { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_usable_face_is_400_and_named() {
    let (world, _process, api) = World::with_api().await;
    for (reference, probe, message, field) in [
        (picture(0), picture(1), "no_face_found", "photo"),
        (picture(1), picture(0), "no_face_found", "probe_image"),
        (picture(0), picture(0), "no_face_found", "photo"),
        (unreadable("invalid_image"), picture(1), "invalid_image", "photo"),
        (picture(1), unreadable("invalid_image"), "invalid_image", "probe_image"),
        (picture(1), unreadable("animated_image"), "unsupported_image_format", "probe_image"),
        (unreadable("too_many_pixels"), picture(1), "image_too_large", "photo"),
    ] {
        let (answer, _) = answered(&world, api.post(PATH, &good()), seen(reference, probe)).await;
        assert_eq!((answer.status, answer.body), (400, json!({ "message": message, "field": field })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_contract_does_not_spell_is_a_problem_document() {
    let (world, process, api) = World::with_api().await;
    let nobody = Api::of(&process, "vv_live_0000000000000000_wrong");
    let unauthorized = answer(nobody.post(PATH, &good())).await;
    assert_eq!((unauthorized.status, &unauthorized.body), (401, &json!({ "message": "unauthorized" })));
    assert_eq!(unauthorized.header("www-authenticate"), "Bearer");

    let (not_approved, not_subscribed) = forbidden(&world).await;
    for (tenant, code) in [(not_approved, "organisation_not_approved"), (not_subscribed, "subscription_required")] {
        assert_eq!(post(&process, &tenant).await.problem(), (403, code));
    }
    for scopes in ["{read}", "{submit}"] {
        let tenant = world.make_tenant(&format!("scopes-{}", &scopes[1..5]), None).await;
        let update = sqlx::query("UPDATE api_keys SET scopes = $2::text[] WHERE tenant_id = $1");
        update.bind(tenant.id.0).bind(scopes).execute(&world.pool).await.unwrap();
        assert_eq!(post(&process, &tenant).await.problem(), (403, "missing_scope"), "{scopes}");
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);

    let body = vec![b' '; (14 << 20) + 1];
    assert_eq!(answer(api.request(Method::POST, PATH).body(body)).await.problem(), (413, "body_too_large"));
    assert_eq!(answer(api.request(Method::GET, PATH)).await.problem(), (405, "method_not_allowed"));
    let (failed, claim) = answered(&world, api.post(PATH, &good()), Ending::Failure("attempts_exhausted")).await;
    assert_eq!(failed.problem(), (500, "processing_failed"));
    assert_eq!(failed.body["request_id"], claim.summary.request_id.as_str());
}

/// One organisation that is not approved, and one that has not subscribed.
async fn forbidden(world: &World) -> (Tenant, Tenant) {
    let not_approved = TenantSettings { approved: false, ..TenantSettings::default() };
    let mut not_subscribed = TenantSettings::default();
    not_subscribed.services.remove(&Service::LikenessCheck);
    (
        world.make_tenant_with("not-approved", &not_approved).await,
        world.make_tenant_with("not-subscribed", &not_subscribed).await,
    )
}

async fn post(process: &Process, tenant: &Tenant) -> Answer {
    answer(Api::of(process, &tenant.api_key).post(PATH, &good())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_give_the_same_answer_again() {
    let (world, _process, api) = World::with_api().await;
    let call = |body: &Value| api.post(PATH, body).header("idempotency-key", "key");
    let (first, claim) = answered(&world, call(&good()), compared(0.8)).await;
    let again = answer(call(&good())).await;
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    assert_eq!((again.status, &again.body), (200, &first.body));
    let conflict = answer(call(&with("similarity_threshold", Some(json!(0.8))))).await;
    assert_eq!(conflict.problem(), (409, "idempotency_conflict"));
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 1);
    // An error about an image is stored like any other answer.
    let call = || api.post(PATH, &good()).header("idempotency-key", "other key");
    let (first, _) = answered(&world, call(), seen(picture(0), picture(1))).await;
    let again = answer(call()).await;
    assert_eq!((again.status, &again.body, again.header("idempotent-replayed")), (400, &first.body, "true"));

    assert_eq!(api.delete(&format!("/v1/jobs/{}", claim.summary.id)).await.0.as_u16(), 200);
    assert_eq!(answer(api.post(PATH, &good()).header("idempotency-key", "key")).await.problem(), (410, "erased"));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_wait_ends_first_the_job_goes_on_at_its_location() {
    let (world, _process, api) = World::with_api().await;
    for (prefer, applied) in [("wait=1", "wait=1"), ("respond-async", "respond-async"), ("wait=0", "wait=0")] {
        let pending = answer(api.post(PATH, &good()).header("prefer", prefer)).await;
        assert_eq!((pending.status, pending.header("preference-applied")), (202, applied));
        let location = pending.header("location").to_owned();
        let id = pending.body["id"].as_str().unwrap();
        assert_eq!(location, format!("/v1/jobs/{id}"));
        assert_eq!(pending.body["request_id"].as_str().unwrap().len(), 12);
        for (field, expected) in [
            ("kind", json!("likeness_check")),
            ("state", json!("queued")),
            ("status", json!("Not Finished")),
            ("links", json!({ "self": location })),
        ] {
            assert_eq!(pending.body[field], expected, "{field}");
        }
        end_next(&world, compared(0.8).into()).await;
        let (_, job) = api.get(&location).await;
        assert_eq!((&job["state"], &job["verdict"]), (&json!("succeeded"), &json!("approved")));
    }
    let (answer, _) = answered(&world, api.post(PATH, &good()).header("prefer", "wait=90"), compared(0.8)).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (200, "wait=60"));
}

#[tokio::test(flavor = "multi_thread")]
async fn photos_are_compared_by_the_real_models_through_the_real_queue() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let body = |reference: &str, probe: &str| json!({ "photo": BASE64_STANDARD.encode(photo(reference)), "probe_image": BASE64_STANDARD.encode(photo(probe)) });
    for (probe, passed) in [("obama2.jpg", true), ("biden.jpg", false)] {
        let answer = answer(api.post(PATH, &body("obama.jpg", probe))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let similarity = answer.body["result"]["similarity"].as_f64().unwrap();
        assert_eq!(answer.body["result"]["biometric_passed"], json!(passed), "{probe}: {similarity}");
        assert_eq!(similarity >= 0.75, passed);
    }
    let answer = answer(api.post(PATH, &body("obama.jpg", "no-face.png"))).await;
    assert_eq!((answer.status, answer.body), (400, json!({ "message": "no_face_found", "field": "probe_image" })));
}
