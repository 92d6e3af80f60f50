//! Liveness in its place: what is told without a model, and, where the optional pack is at hand, what it says of real photos.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::environment::model_mirror;
use crate::support::{Api, World, photos};

fn compare(probe: &[u8], gallery: &[&[u8]]) -> Value {
    let gallery: Vec<_> = gallery.iter().map(|it| BASE64_STANDARD.encode(it)).collect();
    json!({"os": "IOS", "search_mode": "FAST", "probe": BASE64_STANDARD.encode(probe), "gallery": gallery})
}

async fn post(api: &Api, body: &Value) -> (StatusCode, Value) {
    crate::support::api::send(api.post("/v2/face-recognition/compare-with-liveness", body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_liveness_model_the_answer_is_a_clear_error_whoever_is_in_the_pictures() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for gallery in [photos::small_face(), photos::blank()] {
        let (status, answer) = post(&api, &compare(photos::small_face(), &[gallery])).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("LivenessUnavailable")),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_pulled_only_with_its_licence_accepted_and_only_as_described() {
    let world = World::without_broker().await;
    let (mirror, packs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pull = async |more: &[&str]| {
        let packs = packs.path().to_str().unwrap();
        let arguments = [&["models", "pull", "minifasnet", "--packs", packs], more].concat();
        let output = world.run(&arguments).await;
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (ok, error) = pull(&[]).await;
    assert!(!ok && error.contains("--accept-licence Apache-2.0"), "{error}");
    let accepted = ["--accept-licence", "Apache-2.0"];
    let (ok, error) = pull(&accepted).await;
    assert!(!ok && error.contains("https://") && error.contains("--mirror"), "{error}");
    for file in ["2.7_80x80_MiniFASNetV2.onnx", "4_0_0_80x80_MiniFASNetV1SE.onnx"] {
        std::fs::write(mirror.path().join(file), b"something else").unwrap();
    }
    let (ok, error) = pull(&[&accepted[..], &["--mirror", mirror.path().to_str().unwrap()]].concat()).await;
    assert!(!ok && error.contains("sha256"), "{error}");
    assert!(!packs.path().join("minifasnet").exists(), "nothing of it is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_pack_a_match_is_followed_by_a_liveness_test_and_a_mismatch_is_not() {
    let Some(mirror) = model_mirror() else {
        eprintln!("not run: VISAVIS_MODEL_MIRROR names no folder with the files of the pack minifasnet");
        return;
    };
    let world = World::new().await;
    let packs = tempfile::tempdir().unwrap();
    let place = packs.path().to_str().unwrap();
    let pull =
        ["models", "pull", "minifasnet", "--accept-licence", "Apache-2.0", "--packs", place, "--mirror", &mirror];
    assert!(world.run(&pull).await.status.success());
    let process = world.spawn_with(&["all"], &[("VISAVIS_PACKS", place)]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let (obama, again, biden) = (photos::photo("obama.jpg"), photos::photo("obama2.jpg"), photos::photo("biden.jpg"));
    let (status, answer) = post(&api, &compare(&again, &[&biden, &obama])).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    eprintln!("{}", answer["data"]);
    let scores = answer["data"]["comparison"]["result"]["gallery_scores"].as_array().unwrap();
    assert!(scores[0].as_f64() < Some(0.67) && scores[1].as_f64() >= Some(0.85), "{answer}");
    let liveness = answer["data"]["liveness"]["result"]["liveness_score"].as_f64();
    assert!(liveness.is_some_and(|it| (0.0..=1.0).contains(&it)), "{answer}");
    let (status, answer) = post(&api, &compare(&again, &[&biden])).await;
    assert_eq!((status, answer["data"].get("liveness")), (StatusCode::OK, None), "{answer}");
}
