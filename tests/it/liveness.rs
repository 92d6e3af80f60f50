//! Liveness in the whole service: results of the default pack on real photos, answers without a model, and results of
//! the optional pack where it is present.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use visavis::domain::evidence::Judgement;
use visavis::domain::job::JobParams;
use visavis::domain::policy::Evidence;
use visavis::domain::tenant::TenantSettings;

use crate::support::endings::{answered, gallery, live};
use crate::support::environment::model_mirror;
use crate::support::world::request;
use crate::support::{Api, World, photos};
use crate::vision_support::models_without_liveness;

fn compare(probe: &[u8], gallery: &[&[u8]]) -> Value {
    let gallery: Vec<_> = gallery.iter().map(|file| BASE64_STANDARD.encode(file)).collect();
    json!({"os": "IOS", "search_mode": "FAST", "probe": BASE64_STANDARD.encode(probe), "gallery": gallery})
}

async fn post(api: &Api, body: &Value) -> (StatusCode, Value) {
    crate::support::api::send(api.post("/v2/face-recognition/compare-with-liveness", body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_liveness_model_the_answer_is_a_clear_error_for_any_pictures() {
    let world = World::new().await;
    let models = models_without_liveness();
    let process = world.spawn_with(&["all"], &[("VISAVIS_MODELS", models.path().to_str().unwrap())]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for gallery in [photos::small_face(), photos::blank()] {
        let (status, answer) = post(&api, &compare(photos::small_face(), &[gallery])).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("LivenessUnavailable")),
            "{answer}"
        );
    }
    let (_, accepted) = api.submit(None, &request("face_match", photos::small_face(), photos::small_face())).await;
    let (_, job) = api.get(&format!("/v1/jobs/{}?wait=60", accepted["id"].as_str().unwrap())).await;
    assert_eq!((&job["verdict"], &job["result"]["liveness"]), (&json!("approved"), &Value::Null), "{job}");
    assert_eq!(job["warnings"][0]["risk"], "LIVENESS_NOT_PERFORMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_pack_tests_liveness_after_a_match_and_asks_for_more_than_a_face() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let (obama, again, biden) = (photos::photo("obama.jpg"), photos::photo("obama2.jpg"), photos::photo("biden.jpg"));
    let (status, answer) = post(&api, &compare(&again, &[&biden, &obama])).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let result = &answer["data"]["liveness"]["result"];
    assert!(result["liveness_score"].as_f64() >= Some(0.6) && result["passed"] == json!(true), "{answer}");
    let (status, answer) = post(&api, &compare(&again, &[&biden])).await;
    assert_eq!((status, answer["data"].get("liveness")), (StatusCode::OK, None), "{answer}");

    // The same photo, cropped to little more than the face: from above the hair to the collar.
    let close = image::load_from_memory(&obama).unwrap().crop_imm(320, 10, 345, 490).to_rgb8();
    let close = photos::encode(&close.into(), image::ImageFormat::Jpeg);
    let (status, answer) = post(&api, &compare(&close, &[&again])).await;
    let result = &answer["data"]["liveness"]["result"];
    assert_eq!((status, &result["passed"]), (StatusCode::OK, &json!(false)), "{answer}");
    let (_, accepted) = api.submit(None, &request("face_match", &again, &close)).await;
    let id = accepted["id"].as_str().unwrap();
    let (_, job) = api.get(&format!("/v1/jobs/{id}?wait=60")).await;
    let liveness = &job["result"]["liveness"];
    assert_eq!((&job["verdict"], &liveness["judgement"]), (&json!("in_review"), &json!("uncertain")), "{job}");
    assert!(liveness["context"].as_f64() < Some(2.0) && liveness["score"].as_f64() < Some(0.5), "{job}");
    let (_, report) = api.get(&format!("/v1/face-match/{id}")).await;
    assert_eq!(report["face_match"]["status"], "In Review");
    let warnings = report["face_match"]["warnings"].as_array().unwrap();
    let warning =
        warnings.iter().find(|warning| warning["risk"] == "INSUFFICIENT_CONTEXT").unwrap_or_else(|| panic!("{report}"));
    assert_eq!(warning["log_type"], "warning");
    assert!(warning["additional_data"].as_str().unwrap().starts_with("image=target_image context=1."), "{warning}");
    assert!(warning["long_description"].as_str().unwrap().contains("uncropped"), "{warning}");
    assert!(warnings.iter().all(|warning| warning["risk"] != "LOW_LIVENESS_SCORE"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_liveness_score_is_the_requests_then_the_organisations_for_its_os_then_for_all() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let settings = json!({ "liveness_threshold": 0.7, "liveness_threshold_by_os": { "IOS": 0.55, "ANDROID": 0.9 } });
    let settings = TenantSettings::default().merged(settings.as_object().unwrap()).unwrap();
    let tenant = world.make_tenant_with("careful", &settings).await;
    let api = Api::of(&process, &tenant.api_key);
    for (os, asked, applied) in [
        ("IOS", None, 0.55),
        ("ANDROID", None, 0.9),
        ("DESKTOP", None, 0.7),
        ("ANDROID", Some(0.52), 0.52),
        ("IOS", Some(0.95), 0.95),
    ] {
        let mut body = compare(photos::blank(), &[photos::blank()]);
        body["os"] = json!(os);
        body["liveness_min_score"] = json!(asked);
        let evidence = Evidence { liveness: Some(live(0.6, Judgement::Live)), ..gallery(&[Some(0.9)]) };
        let path = "/v2/face-recognition/compare-with-liveness";
        let (answer, claim) = answered(&world, api.post(path, &body), evidence).await;
        let JobParams::CompareWithLiveness { liveness_min, .. } = claim.params else { panic!("another kind") };
        assert_eq!(liveness_min.get().to_string(), applied.to_string(), "{os} {asked:?}");
        let result = &answer.body["data"]["liveness"]["result"];
        assert_eq!(
            (&result["min_score"], &result["passed"]),
            (&json!(applied), &json!(0.6 >= applied)),
            "{os} {asked:?}"
        );
    }
    // A report does not name the system of a selfie, so that the general minimum applies.
    let report = request("face_match", photos::blank(), photos::blank());
    assert_eq!(api.submit(None, &report).await.0, StatusCode::ACCEPTED);
    let least = "SELECT (params->>'liveness_min')::float8 FROM jobs WHERE kind = 'face_match'";
    let least: f64 = sqlx::query_scalar(least).fetch_one(&world.pool).await.unwrap();
    assert_eq!(least.to_string(), "0.7");
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
    for file in ["2.7_80x80_MiniFASNetV2.onnx", "4_0_0_80x80_MiniFASNetV1SE.onnx"] {
        std::fs::write(mirror.path().join(file), b"something else").unwrap();
    }
    let (ok, error) = pull(&[&accepted[..], &["--mirror", mirror.path().to_str().unwrap()]].concat()).await;
    assert!(!ok && error.contains("sha256"), "{error}");
    assert!(!packs.path().join("minifasnet").exists(), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_minifasnet_a_match_is_followed_by_a_test_of_both_and_a_mismatch_is_not() {
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
    let scores = answer["data"]["comparison"]["result"]["gallery_scores"].as_array().unwrap();
    assert!(scores[0].as_f64() < Some(0.67) && scores[1].as_f64() >= Some(0.85), "{answer}");
    let liveness = answer["data"]["liveness"]["result"]["liveness_score"].as_f64();
    assert!(liveness.is_some_and(|score| (0.0..=1.0).contains(&score)), "{answer}");
    let (status, answer) = post(&api, &compare(&again, &[&biden])).await;
    assert_eq!((status, answer["data"].get("liveness")), (StatusCode::OK, None), "{answer}");
}

/// A server of one file that understands `Range`, and fails at chosen requests.
struct Ranged {
    file: Vec<u8>,
    down_from: std::sync::atomic::AtomicUsize,
    starts: std::sync::Mutex<Vec<usize>>,
}

impl wiremock::Respond for &'static Ranged {
    fn respond(&self, request: &wiremock::Request) -> wiremock::ResponseTemplate {
        let range = request.headers["range"].to_str().unwrap().strip_prefix("bytes=").unwrap().to_owned();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        self.starts.lock().unwrap().push(start);
        if start >= self.down_from.load(std::sync::atomic::Ordering::SeqCst) {
            return wiremock::ResponseTemplate::new(500);
        }
        let end = end.min(self.file.len() - 1);
        let whole = self.file.len();
        wiremock::ResponseTemplate::new(206)
            .insert_header("content-range", format!("bytes {start}-{end}/{whole}"))
            .set_body_bytes(&self.file[start..=end])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_broke_off_goes_on_where_it_was_and_another_file_is_refused() {
    const PIECE: usize = 1 << 20;
    let world = World::without_broker().await;
    let file: Vec<u8> = (0..2 * PIECE + 999).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
    let hash = hex::encode(ring::digest::digest(&ring::digest::SHA256, &file));
    let server = wiremock::MockServer::start().await;
    let ranged: &'static Ranged =
        Box::leak(Box::new(Ranged { file, down_from: PIECE.into(), starts: std::sync::Mutex::default() }));
    wiremock::Mock::given(wiremock::matchers::path("/tiny.onnx")).respond_with(ranged).mount(&server).await;
    let (models, packs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(models.path().join("packs")).unwrap();
    let describe = |hash: &str| {
        let text = format!(
            "pack = 'tiny'\nversion = '1'\n[liveness]\nmodels = [{{ model = 'tiny', weight = 1.0 }}]\n\
             shift = 0.0\nspoof_below = 0.5\nleast_context = 2.0\n\
             [[models]]\nname = 'tiny'\nversion = '1'\ntask = 'liveness'\nfile = 'tiny.onnx'\nsha256 = '{hash}'\nlicence = 'MIT'\n\
             outputs = [{{ name = 'logits', shape = [3] }}]\nparams = {{ scale = 2.7, resize = 'area', classes = 3, live = 1 }}\n\
             origin = {{ repository = 'a test', commit = 'none', url = '{}/tiny.onnx' }}\n\
             [models.input]\nname = 'input'\nwidth = 80\nheight = 80\nlayout = 'nchw'\ncolour = 'bgr'\n\
             mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n",
            server.uri()
        );
        std::fs::write(models.path().join("packs/tiny.toml"), text).unwrap();
    };
    let pull = async || {
        let (models, packs) = (models.path().to_str().unwrap(), packs.path().to_str().unwrap());
        let arguments = ["models", "pull", "tiny", "--accept-licence", "MIT", "--models", models, "--packs", packs];
        let output = world.run(&[&arguments[..], &["--allow-loopback-targets"]].concat()).await;
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    describe(&hash);
    let (ok, error) = pull().await;
    assert!(!ok && error.contains("500") && error.contains("run the command again to continue"), "{error}");
    assert!(!packs.path().join("tiny").exists());
    ranged.starts.lock().unwrap().clear();
    ranged.down_from.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
    let (ok, error) = pull().await;
    assert!(ok, "{error}");
    assert_eq!(*ranged.starts.lock().unwrap(), [PIECE, 2 * PIECE], "earlier pieces are not fetched again");
    assert!(std::fs::read(packs.path().join("tiny/tiny.onnx")).unwrap() == ranged.file);
    describe(&"0".repeat(64));
    let (ok, error) = pull().await;
    assert!(!ok && error.contains("sha256"), "{error}");
    assert!(!packs.path().join(".tiny.new").exists(), "another file is not kept");
    assert!(packs.path().join("tiny/tiny.onnx").exists(), "what was pulled before stays");
}
