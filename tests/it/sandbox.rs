//! The sandbox: every magic input that `docs/integrate/sandbox.md` lists, through the whole service.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, World, photos};

/// The smallest picture, with a directive after its end.
fn image(directive: &str) -> String {
    BASE64_STANDARD.encode([photos::blank(), directive.as_bytes()].concat())
}

fn pair(directive: &str) -> Value {
    let request = json!({"source_image": image(""), "target_image": image(directive)});
    json!({"version": 1, "kind": "face_match", "request": request})
}

fn identity(number: &str) -> Value {
    let request = json!({"id_type": "nin", "id_number": number, "selfie": image("")});
    json!({"version": 1, "kind": "id_match", "request": request})
}

fn gallery(directives: [&str; 2], probe: &str) -> Value {
    let request = json!({"os": "IOS", "search_mode": "FAST", "probe": image(probe),
                         "gallery": directives.map(image)});
    json!({"version": 1, "kind": "compare_with_liveness", "request": request})
}

/// Each documented input with the resulting state, verdict, score and attempt, and a risk or failure code.
const DIRECTIVES: &[(&str, &str, &str, i64, &str)] = &[
    ("none", "succeeded", "approved", 1, ""),
    ("visavis:similarity=0.42", "succeeded", "rejected", 1, "LOW_FACE_MATCH_SIMILARITY"),
    ("visavis:no_face", "succeeded", "not_finished", 1, "NO_FACE_DETECTED"),
    ("visavis:faces=3", "succeeded", "approved", 1, "MULTIPLE_FACES_DETECTED"),
    ("visavis:unreadable", "succeeded", "not_finished", 1, "INVALID_IMAGE"),
    ("visavis:liveness=0.30", "succeeded", "in_review", 1, "LOW_LIVENESS_SCORE"),
    ("visavis:spoof", "succeeded", "rejected", 1, "LIVENESS_FACE_ATTACK"),
    ("visavis:challenge_failed", "succeeded", "approved", 1, ""),
    ("visavis:fail", "failed", "", 1, "sandbox_failure"),
    ("visavis:retry=2", "succeeded", "approved", 3, ""),
    ("visavis:delay_ms=1500", "succeeded", "approved", 1, ""),
];

const NUMBERS: &[(&str, &str, &str, f64, i64, &str)] = &[
    ("00000000001", "succeeded", "approved", 95.0, 1, ""),
    ("00000000002", "succeeded", "rejected", 30.0, 1, "LOW_FACE_MATCH_SIMILARITY"),
    ("00000000003", "succeeded", "rejected", 70.0, 1, "LOW_FACE_MATCH_SIMILARITY"),
    ("00000000004", "succeeded", "not_finished", -1.0, 1, "ID_NOT_FOUND"),
    ("00000000005", "succeeded", "approved", 95.0, 2, ""),
    ("00000000006", "failed", "", -1.0, 1, "identity_source_refused"),
];

#[test]
fn the_documented_inputs_are_the_tested_ones() {
    let document = include_str!("../../docs/integrate/sandbox.md");
    let documented: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(input, _)| input)
        .filter(|word| word.starts_with("visavis:") || word.chars().all(|c| c.is_ascii_digit()))
        .collect();
    let tested: Vec<&str> = DIRECTIVES.iter().skip(1).map(|row| row.0).chain(NUMBERS.iter().map(|row| row.0)).collect();
    assert_eq!(documented, tested);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_magic_input_gives_what_is_documented_and_costs_nothing() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.make_test_key().await);
    let mut expected = Vec::new();
    for (directive, state, verdict, attempt, reason) in DIRECTIVES {
        let score = if *directive == "visavis:similarity=0.42" { 42.0 } else { 95.0 };
        expected.push((pair(directive), *directive, *state, *verdict, score, *attempt, *reason));
    }
    for (number, state, verdict, score, attempt, reason) in NUMBERS {
        expected.push((identity(number), *number, *state, *verdict, *score, *attempt, *reason));
    }
    let mut jobs = Vec::new();
    for (body, ..) in &expected {
        let (status, accepted) = api.submit(None, body).await;
        assert_eq!((status, &accepted["sandbox"]), (StatusCode::ACCEPTED, &json!(true)), "{accepted}");
        jobs.push(accepted["id"].as_str().unwrap().to_owned());
    }
    for (id, (_, input, state, verdict, score, attempt, reason)) in jobs.iter().zip(&expected) {
        let done = async || {
            let (_, job) = api.get(&format!("/v1/jobs/{id}?wait=1")).await;
            // The waits between attempts are the usual ones, so that the test moves the clock.
            world.pass_backoff().await;
            (!matches!(job["state"].as_str(), Some("queued" | "running"))).then_some(job)
        };
        let job = crate::support::obtain(input, std::time::Duration::from_mins(1), done).await;
        let text = |field: &str| job[field].as_str().unwrap_or_default().to_owned();
        assert_eq!((text("state").as_str(), text("verdict").as_str()), (*state, *verdict), "{input}: {job}");
        assert_eq!((&job["attempt"], &job["sandbox"]), (&json!(attempt), &json!(true)), "{input}: {job}");
        let messages = format!("{}{}", job["warnings"], job["failure"]);
        assert!(messages.contains(reason), "{input}: {messages} does not say {reason}");
        if let Some(found) = job["result"]["score"].as_f64() {
            assert_eq!(found.to_string(), score.to_string(), "{input}: {job}");
            assert_eq!(job["result"]["model"], "sandbox@1");
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM usage").await, 0, "nothing is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gallery_is_compared_image_by_image_and_liveness_comes_after_a_match() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.make_test_key().await);
    let run = async |body: &Value| {
        let (_, accepted) = api.submit(None, body).await;
        api.get(&format!("/v1/jobs/{}?wait=30", accepted["id"].as_str().unwrap())).await.1
    };
    let job = run(&gallery(["visavis:similarity=0.20", "visavis:similarity=0.90"], "visavis:liveness=0.80")).await;
    assert_eq!((&job["verdict"], &job["result"]["gallery_scores"]), (&json!("approved"), &json!([0.2, 0.9])), "{job}");
    assert_eq!(job["result"]["liveness"]["score"], 0.8);
    let job = run(&gallery(["visavis:similarity=0.20", "visavis:no_face"], "")).await;
    assert_eq!((&job["verdict"], &job["result"]["gallery_scores"]), (&json!("rejected"), &json!([0.2, null])), "{job}");
    assert_eq!(job["result"]["liveness"], Value::Null, "liveness is not tested below the least comparison score");
    let job = run(&gallery(["", ""], "visavis:liveness=0.55")).await;
    assert_eq!(job["verdict"], "rejected", "below liveness_min_score: {job}");
}
