//! The contract of the job itself: the native request over HTTP and AMQP, and the list of jobs. See
//! `docs/contracts.md`.

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use visavis::domain::evidence::Judgement;
use visavis::domain::job::JobParams;
use visavis::domain::policy::Evidence;

use crate::support::api::answer;
use crate::support::endings::{Ending, compared, end, end_next, gallery, live, picture, seen};
use crate::support::photos::blank;
use crate::support::{Api, World, eventually};

const KINDS: [&str; 4] = ["likeness_check", "id_match", "face_match", "compare_with_liveness"];

/// A good native request.
fn native(kind: &str) -> Value {
    let image = json!(BASE64_STANDARD.encode(blank()));
    let request = match kind {
        "likeness_check" => json!({ "photo": image, "probe_image": image }),
        "id_match" => json!({ "selfie": image, "id_number": "12345678901", "id_type": "BVN" }),
        "face_match" => json!({ "source_image": image, "target_image": image }),
        _ => json!({ "os": "ANDROID", "probe": image, "gallery": [image, image], "search_mode": "ACCURATE" }),
    };
    json!({ "version": 1, "kind": kind, "request": request })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_accepted_with_the_fields_of_the_contract_and_waits_in_its_lane() {
    let (world, _process, api) = World::with_api().await;
    for kind in KINDS {
        for lane in [None, Some("interactive"), Some("bulk")] {
            let mut body = native(kind);
            body["metadata"] = json!({ "case": "7", "note": "ä" });
            if let Some(lane) = lane {
                body["lane"] = json!(lane);
            }
            let accepted = answer(api.post("/v1/jobs", &body)).await;
            let id = accepted.body["id"].as_str().unwrap().to_owned();
            let mut links = json!({ "self": format!("/v1/jobs/{id}") });
            if kind == "face_match" {
                links["report"] = json!(format!("/v1/face-match/{id}"));
            }
            let expected = json!({
                "id": id, "request_id": accepted.body["request_id"], "kind": kind, "state": "queued",
                "status": "Not Finished", "metadata": body["metadata"], "links": links,
            });
            assert_eq!((accepted.status, &accepted.body), (202, &expected));
            assert_eq!(accepted.header("location"), format!("/v1/jobs/{id}"));
            assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7);
            assert_eq!(accepted.body["request_id"].as_str().unwrap().len(), 12);
            let (_, job) = api.get(&format!("/v1/jobs/{id}")).await;
            assert_eq!((&job["lane"], &job["metadata"]), (&json!(lane.unwrap_or("interactive")), &body["metadata"]));
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_gets_the_first_answer_even_when_the_job_is_over() {
    let (world, _process, api) = World::with_api().await;
    let key = "k".repeat(255);
    let call = |body: &Value| answer(api.post("/v1/jobs", body).header("idempotency-key", &key));
    let first = call(&native("likeness_check")).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, ""));
    end_next(&world, compared(0.9).into()).await;
    let again = call(&native("likeness_check")).await;
    assert_eq!((again.status, &again.body, again.header("idempotent-replayed")), (202, &first.body, "true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(call(&native("face_match")).await.problem(), (409, "idempotency_conflict"));
    // The same bytes on another path are another request.
    let other_door = answer(api.post("/likeness_check", &native("likeness_check")).header("idempotency-key", &key));
    assert_eq!(other_door.await.status, 400);
    for key in ["k".repeat(256), String::new()] {
        let refused = answer(api.post("/v1/jobs", &native("id_match")).header("idempotency-key", key)).await;
        assert_eq!(refused.problem(), (400, "invalid_idempotency_key"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_are_taken_as_false_match_rates_where_they_were_measured() {
    let (world, _process, api) = World::with_api().await;
    for (kind, field, fmr, mode, expected) in [
        ("likeness_check", "similarity_threshold", 1e-3, "ACCURATE", Some(0.75)),
        ("likeness_check", "similarity_threshold", 1e-4, "FAST", Some(0.85)),
        ("id_match", "threshold", 1e-2, "ACCURATE", Some(0.60)),
        ("face_match", "approve_score", 1e-3, "ACCURATE", Some(0.75)),
        ("id_match", "threshold", 9e-5, "ACCURATE", None),
        ("likeness_check", "similarity_threshold", 0.0, "FAST", None),
        ("face_match", "approve_score", 2.0, "FAST", None),
    ] {
        let mut body = native(kind);
        body["request"][field] = json!({ "fmr": fmr });
        body["request"]["search_mode"] = json!(mode);
        let accepted = answer(api.post("/v1/jobs", &body)).await;
        let Some(expected) = expected else {
            assert_eq!(accepted.problem(), (400, "invalid_threshold"), "{kind} {fmr}");
            assert_eq!(accepted.body["field"], format!("request.{field}"));
            let detail = accepted.body["detail"].as_str().unwrap();
            assert!(detail.contains("measured from 1e-4 to"), "{detail}");
            continue;
        };
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let claim = end_next(&world, seen(picture(0), picture(0)).into()).await;
        let applied = match claim.params {
            JobParams::LikenessCheck { threshold, .. } | JobParams::IdMatch { threshold, .. } => threshold,
            JobParams::FaceMatch { approve, .. } => approve,
            JobParams::CompareWithLiveness { compare_min, .. } => compare_min,
        };
        assert!((applied.get() - expected).abs() < 1e-6, "{kind}: {applied:?}");
    }
    let elsewhere = world.spawn_with(&["api"], &[("VISAVIS_MODELS", "/nowhere")]).await;
    let api = Api::of(&elsewhere, &world.tenant.api_key);
    let mut body = native("id_match");
    body["request"]["threshold"] = json!({ "fmr": 1e-3 });
    let refused = answer(api.post("/v1/jobs", &body)).await;
    assert_eq!(refused.problem(), (400, "invalid_threshold"), "without a pack nothing is known of rates");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_page_by_page_the_newest_first() {
    let (world, process, api) = World::with_api().await;
    let mut submitted = Vec::new();
    for _ in 0..7 {
        let (_, accepted) = api.submit(None, &native("likeness_check")).await;
        submitted.push(accepted["id"].as_str().unwrap().to_owned());
    }
    submitted.reverse();
    let stranger = world.make_tenant("stranger", None).await;
    let stranger = Api::of(&process, &stranger.api_key);
    stranger.submit(None, &native("likeness_check")).await;

    let (mut next, mut listed, mut pages) = (Some("/v1/jobs?limit=3&kind=likeness_check".to_owned()), Vec::new(), 0);
    while let Some(path) = next {
        let (status, page) = api.get(&path).await;
        assert_eq!(status, 200);
        listed.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        pages += 1;
        next = page["links"]["next"].as_str().map(ToOwned::to_owned);
        // A job that arrives now is newer than every page to come.
        api.submit(None, &native("likeness_check")).await;
        assert!(next.as_ref().is_none_or(|path| path.contains("kind=likeness_check")), "filters stay: {next:?}");
    }
    assert_eq!((pages, listed), (3, submitted));
    let (_, theirs) = stranger.get("/v1/jobs").await;
    assert_eq!((theirs["jobs"].as_array().unwrap().len(), &theirs["links"]["next"]), (1, &Value::Null));
    let (_, mine) = api.get("/v1/jobs?limit=1").await;
    let (_, one) = api.get(&format!("/v1/jobs/{}", mine["jobs"][0]["id"].as_str().unwrap())).await;
    assert_eq!(mine["jobs"][0], one, "an item is what the job's own address gives");
    let (_, all) = api.get("/v1/jobs").await;
    assert_eq!(all["jobs"].as_array().unwrap().len(), 10);
    for _ in 0..15 {
        api.submit(None, &native("likeness_check")).await;
    }
    let (_, all) = api.get("/v1/jobs").await;
    assert_eq!(all["jobs"].as_array().unwrap().len(), 20, "a page of its own accord");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_by_status_state_kind_and_time() {
    let (world, _process, api) = World::with_api().await;
    let living = |evidence: Evidence| Evidence { liveness: Some(live(0.9, Judgement::Live)), ..evidence };
    let endings: Vec<(&str, Option<Ending>)> = vec![
        ("likeness_check", Some(compared(0.9).into())),
        ("id_match", Some(compared(0.1).into())),
        ("face_match", Some(living(compared(0.7)).into())),
        ("face_match", Some(seen(picture(0), picture(1)).into())),
        ("compare_with_liveness", Some(living(gallery(&[Some(0.9)])).into())),
        ("likeness_check", Some(Ending::Failure("attempts_exhausted"))),
        ("face_match", None),
    ];
    let mut ids = Vec::new();
    for (kind, ending) in endings {
        api.submit(None, &native(kind)).await;
        let claim = crate::support::endings::claim_next(&world).await;
        ids.push(claim.summary.id.to_string());
        if let Some(ending) = ending {
            end(&world, &claim, ending).await;
        }
    }
    api.submit(None, &native("id_match")).await;
    let times: Vec<DateTime<Utc>> =
        sqlx::query_scalar("SELECT created_at FROM jobs ORDER BY id").fetch_all(&world.pool).await.unwrap();
    let time = |job: usize| times[job].to_rfc3339_opts(SecondsFormat::Micros, true);
    let elsewhere = times[4].with_timezone(&FixedOffset::east_opt(7200).unwrap()).to_rfc3339().replace('+', "%2B");
    let between = format!("created_after={}&created_before={}", time(4), time(7));
    let after = format!("created_after={elsewhere}&kind=compare_with_liveness");
    let before = format!("created_before={}", time(2));

    for (query, expected) in [
        ("status=approved", &[4, 0][..]),
        ("status=in_review", &[2]),
        ("status=rejected", &[1]),
        ("status=not_finished", &[3]),
        ("state=succeeded", &[4, 3, 2, 1, 0]),
        ("state=failed", &[5]),
        ("state=running", &[6]),
        ("state=cancelled", &[]),
        ("kind=face_match", &[6, 3, 2]),
        ("kind=compare_with_liveness", &[4]),
        ("kind=face_match&state=succeeded&status=in_review", &[2]),
        (&between, &[6, 5, 4]),
        (&after, &[4]),
        (&before, &[1, 0]),
        ("created_after=2026-01-01T00:00:00Z&created_before=2026-02-01T00:00:00Z", &[]),
    ] {
        let (status, page) = api.get(&format!("/v1/jobs?{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        let found: Vec<_> = page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
        let expected: Vec<_> = expected.iter().map(|i| ids[*i].as_str()).collect();
        assert_eq!(found, expected, "{query}");
    }
    let (_, queued) = api.get("/v1/jobs?state=queued").await;
    assert_eq!(queued["jobs"][0]["kind"], "id_match");
    for (query, code, field) in [
        ("limit=0", "invalid_limit", "limit"),
        ("limit=101", "invalid_limit", "limit"),
        ("limit=many", "invalid_limit", "limit"),
        ("cursor=7", "invalid_cursor", "cursor"),
        ("status=Approved", "invalid_status", "status"),
        ("state=done", "invalid_state", "state"),
        ("state=expired", "invalid_state", "state"),
        ("kind=palm_reading", "invalid_kind", "kind"),
        ("created_after=yesterday", "invalid_time", "created_after"),
        ("created_before=2026-01-05", "invalid_time", "created_before"),
        ("verdict=approved", "invalid_query", "query"),
        ("limit=1&limit=2", "invalid_query", "query"),
    ] {
        let refused = answer(api.request(Method::GET, &format!("/v1/jobs?{query}"))).await;
        assert_eq!(refused.problem(), (400, code), "{query}");
        assert_eq!(refused.body["field"], field);
    }
    let (status, _) = api.get("/v1/jobs?limit=100").await;
    assert_eq!(status, 200);
}

/// Rows of another version: one in each column that is read as JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_this_version_cannot_read_is_left_out_and_its_neighbours_are_listed() {
    let (world, _process, api) = World::with_api().await;
    for _ in 0..3 {
        api.submit(None, &native("face_match")).await;
    }
    let spoil = r#"UPDATE jobs SET params = '{"kind": "palm_reading"}', metadata = '{"number": 7}'
                   WHERE id = (SELECT id FROM jobs ORDER BY id LIMIT 1 OFFSET 1)"#;
    assert_eq!(world.execute(spoil).await, 1);
    let (status, page) = api.get("/v1/jobs?limit=3").await;
    assert_eq!((status.as_u16(), page["jobs"].as_array().unwrap().len()), (200, 2), "{page}");
    let (status, page) = api.get("/v1/jobs?limit=1&state=queued").await;
    let next = page["links"]["next"].as_str().unwrap();
    let (_, after) = api.get(next).await;
    assert_eq!((status.as_u16(), after["jobs"].as_array().unwrap().len()), (200, 0), "its page is empty");
    assert!(after["links"]["next"].is_string(), "and leads on: {after}");
}

/// The account has 120,000 jobs, of which one is a rare kind. The rows are copies, so that the test takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_matches_few_of_many_jobs_takes_bounded_steps_to_all_of_them() {
    let (world, _process, api) = World::with_api().await;
    api.submit(None, &native("id_match")).await;
    let copies = "INSERT INTO jobs (id, tenant_id, sandbox, request_id, request_hash, kind, lane, params, metadata)
                  SELECT uuidv7_at(n), tenant_id, sandbox, substr(md5(n::text), 1, 12), request_hash, 'face_match', lane,
                         params, metadata FROM jobs, generate_series(1, 120000) AS n";
    let ids = "CREATE FUNCTION uuidv7_at(n int) RETURNS uuid LANGUAGE sql AS
               $$ SELECT ('ffff' || lpad(to_hex(n), 8, '0') || '70008000000000000000')::uuid $$";
    world.execute(ids).await;
    assert_eq!(world.execute(copies).await, 120_000);
    let (mut next, mut pages, mut found) = (Some("/v1/jobs?kind=id_match&limit=5".to_owned()), 0, 0);
    while let Some(path) = next {
        let (status, page) = api.get(&path).await;
        assert_eq!(status, 200);
        found += page["jobs"].as_array().unwrap().len();
        pages += 1;
        next = page["links"]["next"].as_str().map(ToOwned::to_owned);
    }
    assert_eq!((pages, found), (2, 1));
    let (_, failed) = api.get("/v1/jobs?state=failed").await;
    assert_eq!((failed["jobs"].as_array().unwrap().len(), &failed["links"]["next"]), (0, &Value::Null), "one step");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds_are_accepted_over_amqp_and_completed() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _visavis = world.spawn(&["intake", "relay"]).await;
    let mut ids = HashSet::new();
    for kind in KINDS {
        let mut body = native(kind);
        body["metadata"] = json!({ "kind": kind });
        producer.submit(kind, &body).await;
        let accepted = producer.reply(kind, "accepted").await;
        for (field, expected) in [
            ("kind", json!(kind)),
            ("state", json!("queued")),
            ("status", json!("Not Finished")),
            ("duplicate", json!(false)),
            ("metadata", body["metadata"].clone()),
        ] {
            assert_eq!(accepted.body[field], expected, "{kind}: {field}");
        }
        let id = accepted.body["id"].as_str().unwrap().to_owned();
        assert_eq!(accepted.body["links"]["self"], format!("/v1/jobs/{id}"));
        let claim = end_next(&world, gallery(&[Some(0.1), None]).into()).await;
        assert_eq!((claim.summary.id.to_string(), claim.params.kind()), (id.clone(), kind));
        let completed = producer.reply(kind, "completed").await;
        assert_eq!((&completed.body["id"], &completed.body["status"]), (&json!(id), &json!("Rejected")));
        // A repetition of the same message is answered as a duplicate.
        producer.submit(kind, &body).await;
        eventually("the repetition is answered", std::time::Duration::from_secs(30), async || {
            producer.replies().await.iter().any(|reply| reply.correlation_id == kind && reply.body["duplicate"] == true)
        })
        .await;
        ids.insert(id);
    }
    assert_eq!(ids.len(), 4);
    for (kind, pointer, code) in
        [("id_match", "id_type", "missing_field"), ("compare_with_liveness", "gallery", "missing_field")]
    {
        let mut body = native(kind);
        body["request"].as_object_mut().unwrap().remove(pointer);
        producer.submit(&format!("bad {kind}"), &body).await;
        let rejected = producer.reply(&format!("bad {kind}"), "rejected").await;
        assert_eq!(
            (&rejected.body["code"], &rejected.body["field"]),
            (&json!(code), &json!(format!("request.{pointer}")))
        );
    }
}
