//! The contract of the facial similarity report, row by row: see `docs/contracts.md`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::ImageFormat;
use reqwest::Method;
use serde_json::{Value, json};
use visavis::domain::evidence::Judgement;
use visavis::domain::job::JobParams;
use visavis::domain::policy::Evidence;
use visavis::domain::tenant::{LivenessPolicy, TenantSettings};

use crate::support::api::answer;
use crate::support::endings::{Ending, claim_next, compared, end, end_next, live, picture, seen, unreadable};
use crate::support::photos::{blank, padded, photo, plain};
use crate::support::{Api, World};

const PATH: &str = "/v1/face-match";

fn good() -> Value {
    json!({ "source_image": BASE64_STANDARD.encode(blank()), "target_image": BASE64_STANDARD.encode(blank()) })
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

/// The report of a job with this ending.
async fn report(world: &World, api: &Api, body: &Value, ending: impl Into<Ending>) -> Value {
    let accepted = answer(api.post(PATH, body)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let claim = end_next(world, ending.into()).await;
    let (status, found) = api.get(&format!("{PATH}/{}", claim.summary.id)).await;
    assert_eq!(status, 200);
    found["face_match"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_accepted_at_once_and_its_report_has_the_root_of_the_contract() {
    let (world, _process, api) = World::with_api().await;
    let accepted = answer(api.post(PATH, &with("metadata", Some(json!({ "case": "7" }))))).await;
    let id = accepted.body["id"].as_str().unwrap().to_owned();
    let links = json!({ "self": format!("/v1/jobs/{id}"), "report": format!("{PATH}/{id}") });
    let expected = json!({
        "id": id, "request_id": accepted.body["request_id"], "kind": "face_match", "state": "queued",
        "status": "Not Finished", "metadata": { "case": "7" }, "links": links,
    });
    assert_eq!((accepted.status, &accepted.body), (202, &expected));
    assert_eq!(accepted.header("location"), format!("/v1/jobs/{id}"));

    let claim = claim_next(&world).await;
    let lane: String = world.scalar("SELECT lane FROM jobs WHERE id = $1", claim.summary.id).await;
    assert_eq!(lane, "interactive", "callers over HTTP wait");
    let evidence = Evidence { liveness: Some(live(0.9, Judgement::Live)), ..compared(0.876_54) };
    end(&world, &claim, evidence.into()).await;
    let (status, found) = api.get(&format!("{PATH}/{id}")).await;
    let report = json!({
        "status": "Approved", "score": 87.65, "source_image": found["face_match"]["source_image"],
        "target_image": found["face_match"]["target_image"], "warnings": [],
    });
    let expected = json!({ "id": id, "request_id": accepted.body["request_id"], "face_match": report });
    assert_eq!((status.as_u16(), &found), (200, &expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thresholds_make_three_statuses_and_each_belongs_to_the_better_one() {
    let (world, process, api) = World::with_api().await;
    let band = |approve: Value, review: Value| {
        let mut body = with("approve_score", Some(approve));
        body["review_score"] = review;
        body
    };
    for (body, similarity, status, score) in [
        (good(), 0.75, "Approved", 75.0),
        (good(), 0.749_99, "In Review", 75.0),
        (good(), 0.60, "In Review", 60.0),
        (good(), 0.599_99, "Rejected", 60.0),
        (good(), 0.0, "Rejected", 0.0),
        (good(), 0.123_456, "Rejected", 12.35),
        (band(json!(90), json!(80)), 0.90, "Approved", 90.0),
        (band(json!(90), json!(80)), 0.899_9, "In Review", 89.99),
        (band(json!(90), json!(80)), 0.799_9, "Rejected", 79.99),
        (band(json!(100), json!(0)), 1.0, "Approved", 100.0),
        (band(json!(100), json!(0)), 0.0, "In Review", 0.0),
        (band(json!(80), json!(80)), 0.799_9, "Rejected", 79.99),
        (band(json!(50), Value::Null), 0.499_9, "Rejected", 49.99),
        (band(Value::Null, Value::Null), 0.75, "Approved", 75.0),
    ] {
        let found = report(&world, &api, &body, compared(similarity)).await;
        assert_eq!((&found["status"], &found["score"]), (&json!(status), &json!(score)), "{similarity}");
    }
    let settings =
        TenantSettings { approve: 0.95.try_into().ok(), review: 0.9.try_into().ok(), ..TenantSettings::default() };
    let strict = world.make_tenant_with("strict", &settings).await;
    let api = Api::of(&process, &strict.api_key);
    for (similarity, status) in [(0.95, "Approved"), (0.949_9, "In Review"), (0.899_9, "Rejected")] {
        assert_eq!(report(&world, &api, &good(), compared(similarity)).await["status"], status, "the organisation's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verdict_a_report_is_not_finished_without_score_and_its_warnings_say_why() {
    let (world, _process, api) = World::with_api().await;
    let accepted = answer(api.post(PATH, &good())).await;
    let path = format!("{PATH}/{}", accepted.body["id"].as_str().unwrap());
    let unfinished = async |additional: &str, risk: &str| {
        let (status, found) = api.get(&path).await;
        let report = &found["face_match"];
        assert_eq!((status.as_u16(), &report["status"], &report["score"]), (200, &json!("Not Finished"), &Value::Null));
        let warning = &report["warnings"][0];
        assert_eq!((&warning["risk"], &warning["additional_data"]), (&json!(risk), &json!(additional)));
    };
    unfinished("state=queued", "IN_PROGRESS").await;
    let claim = claim_next(&world).await;
    unfinished("state=running", "IN_PROGRESS").await;
    end(&world, &claim, Ending::Failure("attempts_exhausted")).await;
    unfinished("code=attempts_exhausted", "PROCESSING_FAILED").await;

    for (reference, probe, expected) in [
        (picture(0), picture(1), vec![("NO_FACE_DETECTED", "image=source_image")]),
        (picture(1), picture(0), vec![("NO_FACE_DETECTED", "image=target_image")]),
        (
            picture(0),
            picture(0),
            vec![("NO_FACE_DETECTED", "image=source_image"), ("NO_FACE_DETECTED", "image=target_image")],
        ),
        (
            unreadable("invalid_image"),
            picture(1),
            vec![("INVALID_IMAGE", "image=source_image code=invalid_image: a reason for people")],
        ),
    ] {
        let found = report(&world, &api, &good(), seen(reference, probe)).await;
        assert_eq!((&found["status"], &found["score"]), (&json!("Not Finished"), &Value::Null));
        let expected: Vec<_> = expected.into_iter().map(|(risk, data)| json!([risk, data, "error"])).collect();
        let warnings = found["warnings"].as_array().unwrap().iter();
        let warnings: Vec<_> =
            warnings.map(|warning| json!([warning["risk"], warning["additional_data"], warning["log_type"]])).collect();
        assert_eq!(warnings, expected);
    }
    let claim = {
        answer(api.post(PATH, &good())).await;
        end_next(&world, compared(0.9).into()).await
    };
    assert_eq!(api.delete(&format!("/v1/jobs/{}", claim.summary.id)).await.0.as_u16(), 200);
    let (_, erased) = api.get(&format!("{PATH}/{}", claim.summary.id)).await;
    let erased = &erased["face_match"];
    assert_eq!((&erased["status"], &erased["score"]), (&json!("Approved"), &Value::Null), "the verdict alone is kept");
    assert_eq!((&erased["target_image"], &erased["warnings"][0]["risk"]), (&Value::Null, &json!("ERASED")));
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_have_the_fields_of_the_contract_and_an_error_never_ends_as_approved() {
    let (world, process, api) = World::with_api().await;
    let living = Evidence { liveness: Some(live(0.9, Judgement::Live)), ..compared(0.5) };
    let low = report(&world, &api, &good(), living).await;
    let warning = json!({
        "risk": "LOW_FACE_MATCH_SIMILARITY",
        "additional_data": "score=50.00 threshold=75.00",
        "log_type": "warning",
        "short_description": "Low face match similarity",
        "long_description": "The facial features of the two images do not closely match, which suggests a potential identity mismatch.",
    });
    assert_eq!(low["warnings"], json!([warning]));

    let several = Evidence { comparison: compared(0.9).comparison, ..seen(picture(1), picture(3)) };
    let found = report(&world, &api, &good(), several).await;
    assert_eq!(found["warnings"][0]["risk"], "MULTIPLE_FACES_DETECTED");
    assert_eq!(found["warnings"][0]["additional_data"], "image=target_image faces=3");

    let of = |liveness| TenantSettings { liveness, ..TenantSettings::default() };
    let off = world.make_tenant_with("off", &of(LivenessPolicy::Off)).await;
    let required = world.make_tenant_with("required", &of(LivenessPolicy::Required)).await;
    let (off, required) = (Api::of(&process, &off.api_key), Api::of(&process, &required.api_key));
    for (api, liveness, status, risk, log_type) in [
        (&api, Some((0.9, Judgement::Live)), "Approved", None, ""),
        (&api, Some((0.4, Judgement::Uncertain)), "In Review", Some("LOW_LIVENESS_SCORE"), "warning"),
        (&api, Some((0.1, Judgement::Spoof)), "Rejected", Some("LIVENESS_FACE_ATTACK"), "error"),
        (&api, None, "Approved", Some("LIVENESS_NOT_PERFORMED"), "information"),
        (&off, None, "Approved", Some("LIVENESS_NOT_PERFORMED"), "information"),
        (&required, None, "In Review", Some("LIVENESS_NOT_PERFORMED"), "information"),
        (&required, Some((0.9, Judgement::Live)), "Approved", None, ""),
    ] {
        let evidence =
            Evidence { liveness: liveness.map(|(score, judgement)| live(score, judgement)), ..compared(0.9) };
        let found = report(&world, api, &good(), evidence).await;
        assert_eq!(found["status"], status, "{liveness:?}");
        let warnings = found["warnings"].as_array().unwrap();
        let found =
            warnings.first().map(|warning| (warning["risk"].as_str().unwrap(), warning["log_type"].as_str().unwrap()));
        assert_eq!(found, risk.map(|risk| (risk, log_type)), "{liveness:?}");
    }
    let grave = Evidence { comparison: compared(0.9).comparison, ..seen(unreadable("invalid_image"), picture(1)) };
    let found = report(&world, &off, &good(), grave).await;
    assert_eq!((&found["status"], &found["warnings"][0]["log_type"]), (&json!("In Review"), &json!("error")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_problem_that_names_the_field() {
    let (world, process, api) = World::with_api().await;
    let encoded = |bytes: &[u8]| Some(json!(BASE64_STANDARD.encode(bytes)));
    let too_large = encoded(&padded(blank().to_vec(), 10_000_001));
    let fmr = |rate: f64| Some(json!({ "fmr": rate }));
    let cases: Vec<(&str, Option<Value>, &str)> = vec![
        ("source_image", None, "missing_field"),
        ("target_image", None, "missing_field"),
        ("target_image", Some(Value::Null), "missing_field"),
        ("source_image", Some(json!(7)), "invalid_type"),
        ("source_image", Some(json!("")), "empty_image"),
        ("source_image", Some(json!("%%%")), "invalid_base64"),
        ("source_image", encoded(b"GIF89a not one of ours"), "unsupported_image_format"),
        ("target_image", too_large, "image_too_large"),
        ("target_frames", Some(json!([])), "conflicting_fields"),
        ("target_video", Some(json!("")), "conflicting_fields"),
        ("approve_score", Some(json!(100.01)), "invalid_threshold"),
        ("approve_score", Some(json!(-0.01)), "invalid_threshold"),
        ("approve_score", Some(json!(0.75)), "invalid_threshold"),
        ("approve_score", Some(json!("75")), "invalid_threshold"),
        ("approve_score", fmr(1e-9), "invalid_threshold"),
        ("approve_score", Some(json!({ "fmr": "low" })), "invalid_threshold"),
        ("approve_score", Some(json!({ "fmr": 1e-3, "tar": 1 })), "invalid_threshold"),
        ("review_score", Some(json!(75.01)), "invalid_threshold"),
        ("search_mode", Some(json!("SLOW")), "invalid_search_mode"),
        ("metadata", Some(json!({ "case": 7 })), "invalid_metadata"),
        ("aprove_score", Some(json!(90)), "unknown_field"),
    ];
    for (field, value, code) in cases {
        let answer = answer(api.post(PATH, &with(field, value))).await;
        assert_eq!(answer.problem(), (400, code), "{field}");
        assert_eq!(answer.body["field"], field);
    }
    let outside = answer(api.post(PATH, &with("approve_score", fmr(9e-5)))).await;
    let detail = outside.body["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("measured from 1e-4 to 9.9e-1"), "{detail}");

    let nobody = Api::of(&process, "vv_live_0000000000000000_wrong");
    assert_eq!(answer(nobody.post(PATH, &good())).await.problem(), (401, "unauthorized"));
    let body = vec![b' '; (80 << 20) + 1];
    assert_eq!(answer(api.request(Method::POST, PATH).body(body)).await.problem(), (413, "body_too_large"));
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);

    // Jobs of another kind have no report, and another organisation cannot read ours.
    let check = json!({ "photo": good()["source_image"], "probe_image": good()["target_image"] });
    let check = answer(api.post("/likeness_check", &check).header("prefer", "wait=0")).await;
    let id = check.body["id"].as_str().unwrap().to_owned();
    assert_eq!(answer(api.request(Method::GET, &format!("{PATH}/{id}"))).await.problem(), (404, "not_found"));
    let report = answer(api.post(PATH, &good())).await.body["links"]["report"].as_str().unwrap().to_owned();
    let stranger = world.make_tenant("stranger", None).await;
    let stranger = Api::of(&process, &stranger.api_key);
    assert_eq!(answer(stranger.request(Method::GET, &report)).await.problem(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_10_mb_and_false_match_rates_are_taken_and_a_repetition_gets_the_first_answer() {
    let (world, _process, api) = World::with_api().await;
    let body = json!({
        "source_image": BASE64_STANDARD.encode(padded(plain(64, 64, ImageFormat::Jpeg), 10_000_000)),
        "target_image": format!("data:image/png;base64,{}", BASE64_STANDARD.encode(plain(64, 64, ImageFormat::WebP))),
        "approve_score": { "fmr": 1e-4 },
        "review_score": { "fmr": 1e-2 },
        "search_mode": "FAST",
    });
    let call = |body: &Value| answer(api.post(PATH, body).header("idempotency-key", "key"));
    let first = call(&body).await;
    assert_eq!(first.status, 202, "{first:?}");
    let claim = end_next(&world, compared(0.85).into()).await;
    let JobParams::FaceMatch { approve, review, .. } = claim.params else { panic!() };
    assert!((approve.get() - 0.85).abs() < 1e-6 && (review.get() - 0.60).abs() < 1e-6, "{approve:?} {review:?}");
    let again = call(&body).await;
    assert_eq!((again.status, &again.body, again.header("idempotent-replayed")), (202, &first.body, "true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(call(&good()).await.problem(), (409, "idempotency_conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn photos_become_reports_by_the_real_models_through_the_real_queue() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for (target, status) in [("obama2.jpg", "Approved"), ("biden.jpg", "Rejected"), ("no-face.png", "Not Finished")] {
        let body = json!({
            "source_image": BASE64_STANDARD.encode(photo("obama.jpg")),
            "target_image": BASE64_STANDARD.encode(photo(target)),
        });
        let accepted = answer(api.post(PATH, &body)).await;
        let path = format!("{}?wait=60", accepted.body["links"]["report"].as_str().unwrap());
        let (_, found) = api.get(&path).await;
        let report = &found["face_match"];
        assert_eq!(report["status"], status, "{target}: {report}");
        assert_eq!(report["score"].is_null(), status == "Not Finished");
    }
}
