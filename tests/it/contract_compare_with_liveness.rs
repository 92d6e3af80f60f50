//! The contract of `POST /v2/face-recognition/compare-with-liveness`, row by row: see `docs/contracts.md`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use reqwest::Method;
use serde_json::{Value, json};
use visavis::domain::capture_os::CaptureOs;
use visavis::domain::evidence::{Judgement, Mode};
use visavis::domain::job::JobParams;
use visavis::domain::policy::Evidence;

use crate::support::api::{Answer, answer};
use crate::support::endings::{Ending, answered, compared, end_next, gallery, live, picture, seen, unreadable};
use crate::support::photos::blank;
use crate::support::{Api, World};

const PATH: &str = "/v2/face-recognition/compare-with-liveness";

fn image() -> Value {
    json!(BASE64_STANDARD.encode(blank()))
}

fn good() -> Value {
    json!({ "os": "IOS", "probe": image(), "gallery": [image(), image()], "search_mode": "FAST" })
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

/// Evidence: the best similarity of the gallery, and a living person.
fn matched(scores: &[Option<f64>], liveness: f64) -> Evidence {
    Evidence { liveness: Some(live(liveness, Judgement::Live)), ..gallery(scores) }
}

fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{answer:?}");
    let expected = json!({ "code": code, "message": answer.body["message"] });
    assert_eq!(answer.body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_has_the_fields_of_the_contract_and_is_a_function_of_the_job() {
    let (world, _process, api) = World::with_api().await;
    let call = || api.post(PATH, &good()).header("idempotency-key", "key");
    let (first, claim) = answered(&world, call(), matched(&[Some(0.912_345_678), None], 0.987_654_321)).await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/json"));
    let body = &first.body;
    let (comparison, liveness) = (&body["data"]["comparison"], &body["data"]["liveness"]);
    let [created, ended]: [String; 2] = [
        world.scalar("SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM jobs WHERE id = $1", claim.summary.id).await,
        world.scalar("SELECT to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM jobs WHERE id = $1", claim.summary.id).await,
    ];
    let spoken: String = world
        .scalar(
            "SELECT to_char(finished_at AT TIME ZONE 'UTC', 'FMMonth FMDD, YYYY FMHH12:MI AM') FROM jobs WHERE id = $1",
            claim.summary.id,
        )
        .await;
    let client = world.tenant.id.to_string();
    let expected = json!({
        "data": {
            "comparison": {
                "client": client, "type": "compareLive", "search_mode": "FAST", "gallery": [], "probe": [],
                "status": "success", "_id": comparison["_id"], "comparedAt": ended,
                "result": { "score": 0.912_345_678, "gallery_scores": [0.912_345_678, null] },
                "updatedAt": ended, "createdAt": created, "__v": 0,
            },
            "liveness": {
                "client": client, "type": "liveness", "status": "success", "search_mode": "FAST", "os": "IOS",
                "liveness_min_score": 0.6, "_id": liveness["_id"],
                "result": { "liveness_score": 0.987_654_321, "passed": true, "min_score": 0.6 },
                "updatedAt": ended, "createdAt": created, "__v": 0,
            },
        },
        "signature": { "dateTime": spoken, "message": "Certified by visavis", "jws": body["signature"]["jws"] },
        "id": body["id"],
    });
    assert_eq!(body, &expected);
    let jws = body["signature"]["jws"].as_str().unwrap();
    assert!(
        jws.split_once("..").is_some_and(|(header, signature)| header.len() > 20 && signature.len() == 86),
        "{jws}"
    );
    for id in [&comparison["_id"], &liveness["_id"]] {
        let id = id.as_str().unwrap();
        assert!(id.len() == 24 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    }
    assert_ne!(comparison["_id"], liveness["_id"]);
    let id = body["id"].as_str().unwrap();
    assert!(id.len() == 5 && id.bytes().all(|byte| byte.is_ascii_uppercase()), "{id}");
    assert!(DateTime::parse_from_rfc3339(&created).is_ok() && created.len() == "2026-01-31T08:00:00.000Z".len());

    let again = answer(call()).await;
    assert_eq!((again.status, &again.body, again.header("idempotent-replayed")), (200, body, "true"));
    let conflict = answer(api.post(PATH, &with("os", Some(json!("ANDROID")))).header("idempotency-key", "key")).await;
    assert_eq!(conflict.problem(), (409, "idempotency_conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_parameter_is_409_with_the_line_end_that_its_clients_know() {
    let (world, _process, api) = World::with_api().await;
    for field in ["os", "probe", "gallery", "search_mode"] {
        for value in [None, Some(Value::Null)] {
            let answer = answer(api.post(PATH, &with(field, value))).await;
            assert_refused(&answer, 409, "MissingParameter");
            assert_eq!(answer.body["message"], format!("missing {field}\n"));
        }
    }
    // If several fields are missing, the first in the order of the contract is named, before anything invalid.
    for (body, missing) in [
        (json!({}), "os"),
        (json!({ "os": "AMIGA", "search_mode": "SLOW" }), "probe"),
        (json!({ "os": "IOS", "probe": "%%%", "compare_min_score": 7 }), "gallery"),
        (json!({ "os": "IOS", "probe": "%%%", "gallery": [] }), "search_mode"),
    ] {
        let answer = answer(api.post(PATH, &body)).await;
        assert_eq!((answer.status, &answer.body["message"]), (409, &json!(format!("missing {missing}\n"))));
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_range_or_of_the_wrong_type_is_an_invalid_parameter() {
    let (world, process, api) = World::with_api().await;
    let cases: Vec<(&str, Value)> = vec![
        ("os", json!("AMIGA")),
        ("os", json!("ios")),
        ("os", json!(7)),
        ("search_mode", json!("SLOW")),
        ("search_mode", json!("fast")),
        ("search_mode", json!(1)),
        ("probe", json!(7)),
        ("probe", json!("")),
        ("probe", json!("not Base64!")),
        ("probe", json!("aGVsbG8=")),
        ("probe", json!({ "image_id": "0190d7a0-0000-7000-8000-000000000000" })),
        ("gallery", image()),
        ("gallery", json!([])),
        ("gallery", json!(vec![image(); 33])),
        ("gallery", json!([image(), 7])),
        ("gallery", json!([image(), "%%%"])),
        ("gallery", json!([null])),
        ("compare_min_score", json!(0.669_999)),
        ("compare_min_score", json!(0.950_001)),
        ("compare_min_score", json!("0.85")),
        ("compare_min_score", json!({ "fmr": 1e-3 })),
        ("liveness_min_score", json!(0.519_999)),
        ("liveness_min_score", json!(1.000_001)),
        ("liveness_min_score", json!(true)),
    ];
    for (field, value) in cases {
        let answer = answer(api.post(PATH, &with(field, Some(value.clone())))).await;
        assert_refused(&answer, 400, "InvalidParameter");
        assert!(answer.body["message"].as_str().unwrap().contains(field), "{answer:?}");
    }
    let twice = good().to_string().replacen('{', "{\"os\":\"IOS\",", 1);
    for body in [twice.as_str(), "[]", "{"] {
        assert_refused(&answer(api.request(Method::POST, PATH).body(body.to_owned())).await, 400, "InvalidParameter");
    }
    let nobody = Api::of(&process, "vv_live_0000000000000000_wrong");
    assert_refused(&answer(nobody.post(PATH, &good())).await, 401, "Unauthorized");
    let body = vec![b' '; (80 << 20) + 1];
    assert_eq!(answer(api.request(Method::POST, PATH).body(body)).await.problem(), (413, "body_too_large"));
    let settings = visavis::domain::tenant::TenantSettings { approved: false, ..Default::default() };
    let tenant = world.make_tenant_with("not-approved", &settings).await;
    let answer = answer(Api::of(&process, &tenant.api_key).post(PATH, &good())).await;
    assert_eq!(answer.problem(), (403, "organisation_not_approved"));
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_and_defaults_are_the_contracts() {
    let (world, _process, api) = World::with_api().await;
    for (field, value, compare, liveness) in [
        ("ignored", json!("a field of a newer client"), 0.85, 0.60),
        ("compare_min_score", Value::Null, 0.85, 0.60),
        ("compare_min_score", json!(0.67), 0.67, 0.60),
        ("compare_min_score", json!(0.95), 0.95, 0.60),
        ("liveness_min_score", json!(0.52), 0.85, 0.52),
        ("liveness_min_score", json!(1), 0.85, 1.0),
        ("liveness_min_score", Value::Null, 0.85, 0.60),
    ] {
        let (answer, claim) = answered(&world, api.post(PATH, &with(field, Some(value))), gallery(&[Some(0.1)])).await;
        let JobParams::CompareWithLiveness { compare_min, liveness_min, os, mode } = claim.params else { panic!() };
        assert_eq!((answer.status, compare_min.get(), liveness_min.get()), (200, compare, liveness), "{field}");
        assert_eq!((os, mode), (CaptureOs::Ios, Mode::Fast));
    }
    for (field, value) in [
        ("os", json!("DESKTOP")),
        ("os", json!("IOS")),
        ("os", json!("ANDROID")),
        ("search_mode", json!("FAST")),
        ("search_mode", json!("ACCURATE")),
        ("gallery", json!([format!("data:image/webp;base64,{}", image().as_str().unwrap())])),
        ("gallery", json!(vec![image(); 32])),
    ] {
        let ending = matched(&[Some(0.9)], 0.9);
        let (answer, claim) = answered(&world, api.post(PATH, &with(field, Some(value.clone()))), ending).await;
        assert_eq!(answer.status, 200, "{field}");
        let images: i64 = world.scalar("SELECT count(*) FROM images WHERE job_id = $1", claim.summary.id).await;
        let gallery = if field == "gallery" { value.as_array().unwrap().len() } else { 2 };
        assert_eq!(usize::try_from(images).unwrap(), gallery + 1, "the gallery and the probe");
        if field != "gallery" {
            assert_eq!(answer.body["data"]["liveness"][field], value);
        }
        if field == "search_mode" {
            assert_eq!(answer.body["data"]["comparison"][field], value);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn liveness_is_there_from_the_minimal_score_on_and_passes_at_its_own() {
    let (world, _process, api) = World::with_api().await;
    for (scores, liveness, best, passed) in [
        (&[Some(0.85), Some(0.2)][..], Some((0.6, Judgement::Live)), 0.85, Some(true)),
        (&[None, Some(0.9)], Some((0.599_999, Judgement::Live)), 0.9, Some(false)),
        (&[Some(0.9)], Some((0.49, Judgement::Uncertain)), 0.9, Some(false)),
        (&[Some(0.9)], Some((0.1, Judgement::Spoof)), 0.9, Some(false)),
        (&[Some(0.849_999), Some(0.1)], None, 0.849_999, None),
        (&[Some(0.0)], None, 0.0, None),
    ] {
        let evidence =
            Evidence { liveness: liveness.map(|(score, judgement)| live(score, judgement)), ..gallery(scores) };
        let (answer, _) = answered(&world, api.post(PATH, &good()), evidence).await;
        let data = &answer.body["data"];
        assert_eq!((answer.status, &data["comparison"]["result"]["score"]), (200, &json!(best)), "the best one");
        assert_eq!(data["comparison"]["result"]["gallery_scores"], json!(scores));
        assert_eq!(
            data.get("liveness").map(|liveness| liveness["result"]["passed"].as_bool().unwrap()),
            passed,
            "{scores:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faces_not_found_images_not_read_and_liveness_not_to_be_had_are_told_apart() {
    let (world, _process, api) = World::with_api().await;
    let cases: Vec<(Ending, u16, &str, &str)> = vec![
        (seen(picture(1), picture(0)).into(), 422, "FaceNotFound", "probe"),
        (seen(picture(0), picture(1)).into(), 422, "FaceNotFound", "gallery"),
        (seen(picture(0), picture(0)).into(), 422, "FaceNotFound", "probe"),
        (seen(picture(1), unreadable("invalid_image")).into(), 400, "InvalidParameter", "probe"),
        (seen(unreadable("invalid_image"), picture(1)).into(), 400, "InvalidParameter", "gallery"),
        (Ending::Failure("liveness_unavailable"), 503, "LivenessUnavailable", "liveness"),
        // A missing test is never a pass, not even if the job skipped it by mistake.
        (compared(0.9).into(), 503, "LivenessUnavailable", "liveness"),
    ];
    for (ending, status, code, named) in cases {
        let (answer, _) = answered(&world, api.post(PATH, &good()), ending).await;
        assert_refused(&answer, status, code);
        assert!(answer.body["message"].as_str().unwrap().contains(named), "{answer:?}");
    }
    let (failed, _) = answered(&world, api.post(PATH, &good()), Ending::Failure("attempts_exhausted")).await;
    assert_eq!(failed.problem(), (500, "processing_failed"));
    let pending = answer(api.post(PATH, &good()).header("prefer", "wait=0")).await;
    assert_eq!((pending.status, &pending.body["kind"]), (202, &json!("compare_with_liveness")));
    end_next(&world, matched(&[Some(0.9)], 0.9).into()).await;
    let (_, job) = api.get(pending.header("location")).await;
    assert_eq!(job["verdict"], "approved");
}
