//! The contract of `POST /v1/face/id-match/`, row by row: see `docs/contracts.md`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::ImageFormat;
use reqwest::Method;
use serde_json::{Value, json};
use visavis::domain::identity::IdType;
use visavis::domain::job::JobParams;
use visavis::domain::tenant::{Service, TenantSettings};

use crate::support::api::{Answer, answer};
use crate::support::endings::{Ending, answered, compared, picture, seen, unreadable};
use crate::support::photos::{padded, plain};
use crate::support::{Api, World};

const PATH: &str = "/v1/face/id-match/";

fn selfie(width: u32, height: u32, format: ImageFormat) -> Value {
    json!(BASE64_STANDARD.encode(plain(width, height, format)))
}

fn good() -> Value {
    json!({ "selfie": selfie(224, 224, ImageFormat::Png), "id_number": "12345678901", "id_type": "nin" })
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

/// Checks the shape of an error. Its message and its request id are for people.
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{answer:?}");
    assert!(!answer.body["message"].as_str().unwrap().is_empty());
    let request_id = answer.body["meta"]["request_id"].as_str().unwrap();
    assert_eq!(request_id.len(), 12);
    let expected = json!({
        "success": false,
        "code": code,
        "message": answer.body["message"],
        "verification_type": "ID_FACE_MATCH",
        "data": null,
        "meta": { "request_id": request_id },
    });
    assert_eq!(answer.body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_match_has_the_whole_envelope_on_both_paths() {
    let (world, _process, api) = World::with_api().await;
    let identity = json!({
        "first_name": "Ada", "last_name": "Obi", "date_of_birth": "1990-01-31",
        "address": { "street": "1 Marina", "city": "Lagos" }, "gender": "f",
    });
    let mut request_ids = Vec::new();
    for path in [PATH, "/v1/face/id-match"] {
        let ending = Ending::Identified(compared(0.876_54), identity.clone());
        let (answer, claim) = answered(&world, api.post(path, &good()), ending).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        let expected = json!({
            "success": true,
            "code": "SUCCESS",
            "message": "The ID face match was completed.",
            "verification_type": "ID_FACE_MATCH",
            "data": {
                "match_result": "CONFIRMED",
                "confidence": { "score": 0.88, "threshold": 0.75, "status": "STRONG_MATCH" },
                "identity": identity,
                "details": {
                    "reason_code": "MATCH_SUCCESS",
                    "remarks": "The face on the selfie matches the photo on record for this ID number: \
                                the score 0.8765 meets the threshold 0.7500.",
                },
            },
            "meta": { "request_id": claim.summary.request_id },
        });
        assert_eq!(answer.body, expected, "{path}");
        request_ids.push(claim.summary.request_id.to_string());
    }
    assert!(request_ids.iter().all(|id| id.len() == 12) && request_ids[0] != request_ids[1], "{request_ids:?}");
    let number = "SELECT count(*) FROM sealed_records WHERE purpose = 'id_number'";
    assert_eq!(world.count(number).await, 2, "the number is kept sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verdict_falls_on_the_unrounded_score_and_the_tier_follows_it() {
    let (world, process, api) = World::with_api().await;
    let cases = [
        // threshold, score; match_result, rounded score, status, reason_code
        (None, 0.75, "CONFIRMED", 0.75, "MATCH", "MATCH_SUCCESS"),
        (None, 0.749_999, "MISMATCH", 0.75, "NO_MATCH", "SCORE_BELOW_THRESHOLD"),
        (None, 0.85, "CONFIRMED", 0.85, "STRONG_MATCH", "MATCH_SUCCESS"),
        (None, 0.849_999, "CONFIRMED", 0.85, "MATCH", "MATCH_SUCCESS"),
        (None, 0.123_9, "MISMATCH", 0.12, "NO_MATCH", "SCORE_BELOW_THRESHOLD"),
        (Some(json!(0.85)), 0.85, "CONFIRMED", 0.85, "STRONG_MATCH", "MATCH_SUCCESS"),
        (Some(json!(0.60)), 0.60, "CONFIRMED", 0.6, "MATCH", "MATCH_SUCCESS"),
        (Some(json!(0.60)), 0.599_999, "MISMATCH", 0.6, "NO_MATCH", "SCORE_BELOW_THRESHOLD"),
        // The threshold is stricter than the tier: the verdict wins.
        (Some(json!(0.95)), 0.90, "MISMATCH", 0.9, "NO_MATCH", "SCORE_BELOW_THRESHOLD"),
        (Some(json!(0)), 0.0, "CONFIRMED", 0.0, "MATCH", "MATCH_SUCCESS"),
        (Some(json!(1)), 1.0, "CONFIRMED", 1.0, "STRONG_MATCH", "MATCH_SUCCESS"),
        (Some(Value::Null), 0.75, "CONFIRMED", 0.75, "MATCH", "MATCH_SUCCESS"),
    ];
    for (threshold, score, result, rounded, status, reason) in cases {
        let applied = threshold.as_ref().and_then(Value::as_f64).unwrap_or(0.75);
        let body = with("threshold", threshold);
        let (answer, _) = answered(&world, api.post(PATH, &body), compared(score)).await;
        let data = &answer.body["data"];
        assert_eq!(
            (answer.status, &answer.body["success"], &answer.body["code"]),
            (200, &json!(true), &json!("SUCCESS"))
        );
        let confidence = json!({ "score": rounded, "threshold": applied, "status": status });
        assert_eq!((&data["match_result"], &data["confidence"]), (&json!(result), &confidence), "{score}");
        assert_eq!(data["details"]["reason_code"], reason, "{score}");
        assert_eq!(data["identity"], Value::Null, "this source had no record");
        let remarks = data["details"]["remarks"].as_str().unwrap();
        assert!(remarks.ends_with('.') && !remarks.contains("12345678901"), "{remarks}");
        assert_eq!(remarks.contains("does not match"), result == "MISMATCH", "{remarks}");
    }
    let settings = TenantSettings { id_match_threshold: 0.9.try_into().ok(), ..TenantSettings::default() };
    let strict = world.make_tenant_with("strict", &settings).await;
    let call = Api::of(&process, &strict.api_key).post(PATH, &good());
    let (answer, _) = answered(&world, call, compared(0.89)).await;
    assert_eq!(answer.body["data"]["confidence"]["threshold"], 0.9, "the organisation's default");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_code_before_anything_is_queued() {
    let (world, process, api) = World::with_api().await;
    let encoded = |bytes: &[u8]| Some(json!(BASE64_STANDARD.encode(bytes)));
    let damaged = encoded(b"\xFF\xD8\xFF\xE0 and nothing of a picture");
    let too_large = encoded(&padded(plain(224, 224, ImageFormat::Png), 10_000_001));
    let too_small = |width, height| Some(selfie(width, height, ImageFormat::Png));
    let cases: Vec<(&str, Option<Value>, &str)> = vec![
        ("selfie", None, "VALIDATION_ERROR"),
        ("selfie", Some(Value::Null), "VALIDATION_ERROR"),
        ("selfie", Some(json!("")), "VALIDATION_ERROR"),
        ("id_number", None, "VALIDATION_ERROR"),
        ("id_number", Some(json!("  ")), "VALIDATION_ERROR"),
        ("id_number", Some(json!("1".repeat(65))), "VALIDATION_ERROR"),
        ("id_type", None, "VALIDATION_ERROR"),
        ("id_type", Some(json!("ssn")), "VALIDATION_ERROR"),
        ("id_type", Some(json!("")), "VALIDATION_ERROR"),
        ("selfie", too_small(223, 224), "VALIDATION_ERROR"),
        ("selfie", too_small(224, 223), "VALIDATION_ERROR"),
        ("selfie", too_large, "VALIDATION_ERROR"),
        ("selfie", encoded(b"GIF89a not one of ours"), "VALIDATION_ERROR"),
        ("selfie", damaged, "VALIDATION_ERROR"),
        ("threshold", Some(json!("0.75")), "INVALID_THRESHOLD"),
        ("threshold", Some(json!(true)), "INVALID_THRESHOLD"),
        ("threshold", Some(json!([0.75])), "INVALID_THRESHOLD"),
        ("threshold", Some(json!({ "fmr": 1e-3 })), "INVALID_THRESHOLD"),
        ("threshold", Some(json!(1.000_001)), "INVALID_THRESHOLD_RANGE"),
        ("threshold", Some(json!(-0.000_001)), "INVALID_THRESHOLD_RANGE"),
        ("threshold", Some(json!(75)), "INVALID_THRESHOLD_RANGE"),
        ("selfie", Some(json!("not Base64!")), "INVALID_INPUT"),
        ("selfie", Some(json!("https://example.com/selfie.jpg")), "INVALID_INPUT"),
        ("selfie", Some(json!("data:image/png,abc")), "INVALID_INPUT"),
        ("selfie", Some(json!(7)), "INVALID_INPUT"),
        ("selfie", Some(json!({ "image_id": "0190d7a0-0000-7000-8000-000000000000" })), "INVALID_INPUT"),
        ("id_number", Some(json!(12_345_678_901_u64)), "INVALID_INPUT"),
        ("id_type", Some(json!(["nin"])), "INVALID_INPUT"),
    ];
    for (field, value, code) in cases {
        let answer = answer(api.post(PATH, &with(field, value))).await;
        assert_refused(&answer, 400, code);
        assert!(answer.body["message"].as_str().unwrap().contains(field), "{answer:?} names {field}");
    }
    let beyond = good().to_string().replacen('{', "{\"threshold\":1e999,", 1);
    let twice = good().to_string().replacen('{', "{\"id_type\":\"nin\",", 1);
    for (body, code) in
        [(beyond.as_str(), "INVALID_THRESHOLD_RANGE"), (&twice, "VALIDATION_ERROR"), ("{", "VALIDATION_ERROR")]
    {
        assert_refused(&answer(api.request(Method::POST, PATH).body(body.to_owned())).await, 400, code);
    }

    let nobody = Api::of(&process, "vv_live_0000000000000000_wrong");
    assert_refused(&answer(nobody.post(PATH, &good())).await, 401, "UNAUTHORIZED");
    let not_approved = TenantSettings { approved: false, ..TenantSettings::default() };
    let mut not_subscribed = TenantSettings::default();
    not_subscribed.services.remove(&Service::IdMatch);
    for (name, settings, code) in
        [("not-approved", not_approved, "FORBIDDEN"), ("not-subscribed", not_subscribed, "SUBSCRIPTION_REQUIRED")]
    {
        let tenant = world.make_tenant_with(name, &settings).await;
        assert_refused(&answer(Api::of(&process, &tenant.api_key).post(PATH, &good())).await, 403, code);
    }
    let body = vec![b' '; (14 << 20) + 1];
    assert_eq!(answer(api.request(Method::POST, PATH).body(body)).await.problem(), (413, "body_too_large"));
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_id_type_is_taken_whatever_its_case_and_images_up_to_10_mb_are() {
    let (world, _process, api) = World::with_api().await;
    for (name, expected) in [
        ("nin", IdType::Nin),
        ("NIN", IdType::Nin),
        ("BVN", IdType::Bvn),
        ("bvn", IdType::Bvn),
        ("vnin", IdType::Vnin),
        ("vNIN", IdType::Vnin),
        ("drivers_license", IdType::DriversLicense),
        ("Drivers_License", IdType::DriversLicense),
        ("passport", IdType::Passport),
    ] {
        let body = with("id_type", Some(json!(name)));
        let (answer, claim) = answered(&world, api.post(PATH, &body), compared(0.8)).await;
        assert_eq!(answer.status, 200);
        assert!(matches!(claim.params, JobParams::IdMatch { id_type, .. } if id_type == expected), "{name}");
    }
    let largest = padded(plain(224, 224, ImageFormat::Jpeg), 10_000_000);
    let webp = BASE64_STANDARD.encode(plain(300, 224, ImageFormat::WebP));
    for selfie in [
        json!(BASE64_STANDARD.encode(largest)),
        json!(format!("data:image/png;base64,{webp}")),
        selfie(224, 900, ImageFormat::Jpeg),
    ] {
        let mut body = with("selfie", Some(selfie));
        body["client_reference"] = json!("ignored");
        let (answer, _) = answered(&world, api.post(PATH, &body), compared(0.8)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_found_out_has_its_code_and_the_job_s_request_id() {
    let (world, _process, api) = World::with_api().await;
    let cases: Vec<(Ending, u16, &str, &str)> = vec![
        (Ending::Unknown, 404, "ID_NOT_FOUND", "no photo for this number"),
        (seen(picture(1), picture(0)).into(), 422, "LANDMARKS_NOT_FOUND", "selfie"),
        (seen(picture(0), picture(1)).into(), 422, "LANDMARKS_NOT_FOUND", "photo on record"),
        (seen(picture(0), picture(0)).into(), 422, "LANDMARKS_NOT_FOUND", "selfie and the photo on record"),
        (seen(unreadable("invalid_image"), picture(1)).into(), 422, "LANDMARKS_NOT_FOUND", "photo on record"),
        (seen(picture(1), unreadable("invalid_image")).into(), 400, "VALIDATION_ERROR", "reason for people"),
        (Ending::Failure("attempts_exhausted"), 500, "SERVICE_ERROR", "attempts_exhausted"),
        (Ending::Failure("no_identity_source"), 500, "SERVICE_ERROR", "no_identity_source"),
    ];
    for (i, (ending, status, code, message)) in cases.into_iter().enumerate() {
        let call = || api.post(PATH, &good()).header("idempotency-key", i);
        let (first, claim) = answered(&world, call(), ending).await;
        assert_refused(&first, status, code);
        assert!(first.body["message"].as_str().unwrap().contains(message), "{first:?}");
        assert_eq!(first.body["meta"]["request_id"], claim.summary.request_id.as_str());
        let again = answer(call()).await;
        assert_eq!((again.status, &again.body, again.header("idempotent-replayed")), (status, &first.body, "true"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_give_the_same_answer_again_and_another_body_is_a_conflict() {
    let (world, _process, api) = World::with_api().await;
    let call = |body: &Value| api.post(PATH, body).header("idempotency-key", "key");
    let identity = json!({ "first_name": "Ada" });
    let (first, _) = answered(&world, call(&good()), Ending::Identified(compared(0.8), identity)).await;
    let again = answer(call(&good())).await;
    assert_eq!((again.status, &again.body, again.header("idempotent-replayed")), (200, &first.body, "true"));
    let conflict = answer(call(&with("threshold", Some(json!(0.5))))).await;
    assert_eq!(conflict.problem(), (409, "idempotency_conflict"));
    let pending = answer(api.post(PATH, &good()).header("prefer", "wait=0")).await;
    assert_eq!((pending.status, &pending.body["kind"]), (202, &json!("id_match")));
}
