//! Liveness challenges: they are issued, can be answered once and in time, and only a face passes them.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use visavis::domain::action::Action;
use visavis::vision::Pipeline;

use crate::support::api::{Answer, answer};
use crate::support::photos::{photo, thumbnail};
use crate::support::renderer::{Attack, MANNER, Subject, jpeg, performed, resized};
use crate::support::spoilt::Shot;
use crate::support::{Api, World};
use crate::vision_support;

const PATH: &str = "/v1/face-match";
const CHALLENGES: &str = "/v1/liveness/challenges";

fn encoded(bytes: &[u8]) -> Value {
    json!(BASE64_STANDARD.encode(bytes))
}

/// A face as a phone at arm's length shows it.
fn shot(pipeline: &mut Pipeline, name: &str) -> Shot {
    let large = Shot::of(pipeline, &photo(name)).unwrap();
    resized(pipeline, &large, 80.0).unwrap()
}

async fn issued(api: &Api, wanted: &Value) -> (String, Vec<Action>) {
    let issued = answer(api.post(CHALLENGES, wanted)).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let steps = issued.body["actions"].as_array().unwrap();
    let actions = steps.iter().map(|step| serde_json::from_value(step["action"].clone()).unwrap()).collect();
    (issued.body["challenge"].as_str().unwrap().to_owned(), actions)
}

fn request(frames: &[Vec<u8>], challenge: &str) -> Value {
    let frames: Vec<_> = frames.iter().map(|frame| encoded(frame)).collect();
    let source = encoded(&photo("obama2.jpg"));
    json!({ "source_image": source, "target_frames": frames, "challenge": challenge, "search_mode": "FAST" })
}

/// Frames for a test key, which nobody analyses.
fn some_frames(challenge: &str) -> Value {
    request(&vec![thumbnail("obama.jpg", 64); 12], challenge)
}

async fn refused(api: &Api, body: &Value) -> (String, Value) {
    let refused = answer(api.post(PATH, body)).await;
    let (status, code) = refused.problem();
    assert_eq!(status, 400, "{refused:?}");
    (code.to_owned(), refused.body["field"].clone())
}

async fn finished(api: &Api, accepted: &Answer) -> Value {
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.body["id"].as_str().unwrap();
    api.get(&format!("/v1/jobs/{id}?wait=60")).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_random_signed_and_lives_two_minutes() {
    let (world, _process, api) = World::new().await.serving(&["api"]).await;
    let before = world.store().now().await.unwrap();
    let answered = answer(api.post(CHALLENGES, &json!({ "length": 6 }))).await;
    let expires: DateTime<Utc> = answered.body["expires_at"].as_str().unwrap().parse().unwrap();
    let after = world.store().now().await.unwrap();
    assert!((before + 120..=after + 120).contains(&expires.timestamp()), "{before} {expires} {after}");
    let steps = answered.body["actions"].as_array().unwrap();
    assert_eq!(steps.len(), 6);
    assert!(steps.iter().all(|step| step["instruction"].as_str().unwrap().ends_with('.')));
    // There are 2,490 equally likely challenges. Five equal ones have a chance of 1 in 38 million million.
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(issued(&api, &json!({ "length": 6 })).await.1);
    }
    assert!(others.iter().any(|other| *other != others[0]), "{others:?}");

    let (status, _) = api.get("/.well-known/jwks.json").await;
    assert_eq!(status, StatusCode::OK);
    let token = answered.body["challenge"].as_str().unwrap();
    let key: Value = api.get("/.well-known/jwks.json").await.1["keys"][0].clone();
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["kid"], &header["alg"]), (&key["kid"], &json!("EdDSA")));

    for (wanted, code, field) in [
        (json!({ "length": 7 }), "invalid_length", "length"),
        (json!({ "actions": ["open_mouth"] }), "invalid_actions", "actions"),
        (json!({ "steps": 4 }), "unknown_field", "steps"),
    ] {
        let refused = answer(api.post(CHALLENGES, &wanted)).await;
        assert_eq!((refused.problem(), &refused.body["field"]), ((400, code), &json!(field)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_answered_once_in_time_and_by_whom_it_was_issued_to() {
    let (world, process, live) = World::new().await.serving(&["all"]).await;
    let api = Api::of(&process, &world.make_test_key().await);
    let field = json!("challenge");
    let (token, asked) = issued(&api, &json!({})).await;

    // Forged challenges are refused, and nothing is stored.
    let mut altered = token.clone();
    altered.replace_range(
        token.len() - 9..token.len() - 8,
        if token.as_bytes()[token.len() - 9] == b'A' { "B" } else { "A" },
    );
    for forged in ["", "x", "a.b.c", &altered] {
        assert_eq!(refused(&api, &some_frames(forged)).await, ("invalid_challenge".to_owned(), field.clone()));
    }
    let (others, _) = issued(&live, &json!({})).await;
    assert_eq!(refused(&api, &some_frames(&others)).await.0, "invalid_challenge", "a live key's challenge");
    assert_eq!(refused(&live, &some_frames(&token)).await.0, "invalid_challenge", "a test key's challenge");
    let single = json!({ "source_image": encoded(&photo("obama.jpg")), "target_image": encoded(&photo("obama.jpg")),
                         "challenge": token });
    assert_eq!(refused(&api, &single).await, ("conflicting_fields".to_owned(), field.clone()));

    // The same request again gives the same job. Another request finds the challenge used.
    let post = |key: &'static str, body: Value| {
        let request = api.post(PATH, &body).header("idempotency-key", key);
        async move { answer(request).await }
    };
    let first = post("one", some_frames(&token)).await;
    let job = finished(&api, &first).await;
    assert_eq!(
        (&job["verdict"], &job["result"]["challenge"]),
        (&json!("approved"), &json!({ "asked": asked, "passed": true }))
    );
    assert_eq!(post("one", some_frames(&token)).await.body["id"], first.body["id"]);
    let again = post("two", some_frames(&token)).await;
    assert_eq!((again.problem(), &again.body["field"]), ((400, "challenge_used"), &field));

    // One of many parallel requests gets the challenge.
    let (token, _) = issued(&api, &json!({})).await;
    let body = some_frames(&token);
    let racing = (0..8).map(|_| answer(api.post(PATH, &body)));
    let statuses: Vec<_> = futures_util::future::join_all(racing).await.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 7, "{statuses:?}");

    // An expired challenge, by the database's clock. Its expiry is signed, so that the test signs a challenge itself.
    assert_eq!(world.count("SELECT count(*) FROM spent_challenges").await, 2);
    let (token, _) = issued(&api, &json!({})).await;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["expires"] = json!(world.store().now().await.unwrap());
    let late = visavis::keys::Signer::new(world.intake.media.keyring())
        .unwrap()
        .sign_token("liveness-challenge+jwt", &claims)
        .unwrap();
    assert_eq!(refused(&api, &some_frames(&late)).await, ("challenge_expired".to_owned(), field));
    world.execute("UPDATE spent_challenges SET expires_at = now() - interval '1 hour'").await;
    assert_eq!(world.store().forget_expired_challenges().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_was_not_met_is_warned_about_and_never_approved() {
    let (world, process, _) = World::new().await.serving(&["all"]).await;
    let api = Api::of(&process, &world.make_test_key().await);
    let (token, _) = issued(&api, &json!({ "actions": ["turn_left", "turn_right", "open_mouth"], "length": 3 })).await;
    let mut frame = thumbnail("obama.jpg", 64);
    frame.extend_from_slice(b"visavis:challenge_failed");
    let job = finished(&api, &answer(api.post(PATH, &request(&vec![frame; 12], &token))).await).await;
    assert_eq!((&job["verdict"], &job["result"]["challenge"]["passed"]), (&json!("in_review"), &json!(false)));
    let warning = &job["warnings"][0];
    assert_eq!((&warning["risk"], &warning["log_type"]), (&json!("CHALLENGE_FAILED"), &json!("error")));
    let data = warning["additional_data"].as_str().unwrap();
    assert!(
        data.starts_with("image=target_frames asked=") && data.ends_with("seen=none depth=no one_take=yes"),
        "{data}"
    );
}

/// One sharp frame is compared with the document; another person makes the actions in blurred frames.
#[tokio::test(flavor = "multi_thread")]
async fn another_s_actions_beside_a_photo_answer_nothing_however_badly_they_are_seen() {
    let (_world, _process, api) = World::new().await.serving(&["all"]).await;
    let wanted = json!({ "length": 3, "actions": ["turn_left", "turn_right", "open_mouth"] });
    let shots = tokio::task::block_in_place(|| {
        let mut pipeline = vision_support::pipeline();
        ["obama.jpg", "astronaut.png"].map(|name| shot(&mut pipeline, name))
    });
    let [victim, actor] = &shots;
    let (token, asked) = issued(&api, &wanted).await;
    let head = Subject::head(&actor.picture, &actor.face);
    let poses = performed(&asked, &MANNER, 3);
    let blurred = poses.iter().map(|pose| jpeg(&image::imageops::blur(&head.frame(pose), 3.0)));
    let frames: Vec<_> = std::iter::once(jpeg(&victim.picture)).chain(blurred).collect();
    let job = finished(&api, &answer(api.post(PATH, &request(&frames, &token))).await).await;
    let found = &job["result"]["frames"];
    assert_eq!((&found["best"], &job["result"]["challenge"]["passed"]), (&json!(0), &json!(false)), "{job}");
    assert!(found["least_similarity"].as_f64().unwrap() < 0.5, "{found}");
}

/// With real models and a real queue a head passes, and a tilted photo of it does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_what_is_asked_passes_and_a_tilted_photo_of_it_does_not() {
    let (_world, _process, api) = World::new().await.serving(&["all"]).await;
    let wanted = json!({ "length": 3, "actions": ["turn_left", "turn_right", "open_mouth"] });
    let shot = tokio::task::block_in_place(|| shot(&mut vision_support::pipeline(), "obama.jpg"));
    let (head, sheet) = (Subject::head(&shot.picture, &shot.face), Subject::sheet(&shot.picture, &shot.face));

    let (token, asked) = issued(&api, &wanted).await;
    let frames: Vec<_> = performed(&asked, &MANNER, 3).iter().map(|pose| jpeg(&head.frame(pose))).collect();
    let job = finished(&api, &answer(api.post(PATH, &request(&frames, &token))).await).await;
    assert_eq!(job["result"]["challenge"], json!({ "asked": asked, "passed": true }), "{job}");
    let risks: Vec<_> =
        job["warnings"].as_array().unwrap().iter().map(|warning| warning["risk"].as_str().unwrap()).collect();
    assert!(!risks.contains(&"CHALLENGE_FAILED") && !risks.contains(&"FRAMES_INCONSISTENT"), "{risks:?}");

    let (token, asked) = issued(&api, &wanted).await;
    let frames: Vec<_> = Attack::Tilted.poses(&asked, 0.5, 3).iter().map(|pose| jpeg(&sheet.frame(pose))).collect();
    let job = finished(&api, &answer(api.post(PATH, &request(&frames, &token))).await).await;
    assert_eq!(job["result"]["challenge"]["passed"], json!(false), "{job}");
    assert_ne!(job["verdict"], "approved");
}
