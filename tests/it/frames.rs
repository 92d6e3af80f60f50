//! Reports on several frames and on videos: the best frame is compared, and frames that do not belong together are
//! reported.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::{Answer, answer};
use crate::support::photos::{photo, thumbnail};
use crate::support::{Api, World, api, blobs, eventually, videos};

const PATH: &str = "/v1/face-match";

fn encoded(bytes: &[u8]) -> Value {
    json!(BASE64_STANDARD.encode(bytes))
}

fn request(target: &str, value: &Value) -> Value {
    json!({ "source_image": encoded(&photo("obama.jpg")), target: value, "search_mode": "FAST" })
}

/// The finished report of that request, and its job.
async fn finished(api: &Api, body: &Value) -> (Value, Value) {
    let accepted = answer(api.post(PATH, body)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.body["id"].as_str().unwrap();
    let (_, job) = api.get(&format!("/v1/jobs/{id}?wait=60")).await;
    let (_, report) = api.get(&format!("{PATH}/{id}")).await;
    (report["face_match"].clone(), job)
}

/// Risk, weight and data of each warning, without those that every report here has.
fn warnings(report: &Value) -> Vec<(&str, &str, &str)> {
    let all = report["warnings"].as_array().unwrap().iter().map(|warning| {
        (
            warning["risk"].as_str().unwrap(),
            warning["log_type"].as_str().unwrap(),
            warning["additional_data"].as_str().unwrap_or(""),
        )
    });
    all.filter(|warning| !matches!(warning.0, "LIVENESS_NOT_PERFORMED" | "LOW_RESOLUTION" | "IMAGE_EDITED")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_of_several_frames_is_compared_and_shown() {
    let (_world, _process, api) = World::new().await.serving(&["all"]).await;
    let blurred = encoded(&videos::blurred("obama2.jpg"));
    let frames = json!([blurred, encoded(&photo("obama2.jpg")), blurred]);
    let (report, job) = finished(&api, &request("target_frames", &frames)).await;
    assert_eq!(report["status"], "Approved", "{report}");
    assert_eq!(warnings(&report), [], "what is wrong with the others matters to nobody");
    let mut found = job["result"]["frames"].clone();
    let depth = found.as_object_mut().unwrap().remove("parallax").unwrap();
    assert!(found.as_object_mut().unwrap().remove("least_similarity").unwrap().as_f64().unwrap() > 0.6, "{job}");
    assert_eq!(
        found,
        json!({ "best": 1, "looked_at": 3, "unreadable": 0, "without_face": 0, "other_person": 0, "cuts": 0, "actions": [] })
    );
    assert!(depth["unexplained"].as_f64().unwrap() < 0.1, "one photo has no depth: {depth}");
    let composite = |at: usize| job["result"]["images"][at]["composite_quality"].as_f64().unwrap();
    assert_eq!(job["result"]["images"][2]["image"], "target_frames[1]");
    assert!(composite(2) > composite(1) && composite(2) > composite(3), "{job}");
    // The URL shows the compared frame.
    let shown = api.anonymous(Method::GET, report["target_image"].as_str().unwrap()).send().await.unwrap();
    let shown = image::load_from_memory(&shown.bytes().await.unwrap()).unwrap();
    let best = image::load_from_memory(&photo("obama2.jpg")).unwrap();
    assert!(shown.width() > 480 && shown.width() <= best.width());
}

#[tokio::test(flavor = "multi_thread")]
async fn inconsistent_frames_are_reported_and_another_person_is_not_approved() {
    let (_world, _process, api) = World::new().await.serving(&["all"]).await;
    let [obama, again, nobody] = ["obama.jpg", "obama2.jpg", "no-face.png"].map(photo);
    // It has fewer pixels than the others, so it is not the best frame.
    let biden = thumbnail("biden.jpg", 300);
    let told = |status: &str, frames: [&[u8]; 3]| {
        let (api, status) = (api.clone(), status.to_owned());
        let frames = json!(frames.map(encoded));
        async move {
            let (report, _) = finished(&api, &request("target_frames", &frames)).await;
            assert_eq!(report["status"], status, "{report}");
            let found = warnings(&report);
            let found: Vec<_> =
                found.iter().filter(|warning| warning.0 == "FRAMES_INCONSISTENT" || warning.1 == "error").collect();
            found.iter().map(|(risk, weight, data)| format!("{risk} {weight} {data}")).collect::<Vec<_>>()
        }
    };
    let data = |rest: &str| format!("image=target_frames frames=3 {rest}");
    assert_eq!(
        told("In Review", [&again, &again, &biden]).await,
        [format!("FRAMES_INCONSISTENT error {}", data("without_face=0 other_person=1 cuts=1"))]
    );
    assert_eq!(
        told("Approved", [&again, &obama, &obama]).await,
        [format!("FRAMES_INCONSISTENT warning {}", data("without_face=0 other_person=0 cuts=1"))]
    );
    let gone = told("Approved", [&again, &again, &nobody]).await;
    assert!(gone[0].starts_with("FRAMES_INCONSISTENT warning ") && gone[0].contains("without_face=1"), "{gone:?}");
    assert_eq!(
        told("Not Finished", [&nobody, &nobody, &nobody]).await,
        [
            "NO_FACE_DETECTED error image=target_frames".to_owned(),
            format!("FRAMES_INCONSISTENT warning {}", data("without_face=3 other_person=0 cuts=0"))
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_frame_of_a_video_is_compared_stored_and_erased_with_it() {
    let (world, _process, api) = World::new().await.serving(&["all"]).await;
    for (ending, lane) in [("mp4", "interactive"), ("webm", "bulk")] {
        let video = videos::face("obama2.jpg", 4, 2, ending);
        let request =
            request("target_video", &json!(format!("data:video/{ending};base64,{}", BASE64_STANDARD.encode(&video))));
        let native = json!({ "version": 1, "kind": "face_match", "lane": lane, "request": request });
        let (_, accepted) = api.submit(None, &native).await;
        let id = accepted["id"].as_str().unwrap().to_owned();
        let (_, job) = api.get(&format!("/v1/jobs/{id}?wait=60")).await;
        let frames = &job["result"]["frames"];
        assert_eq!(job["verdict"], "approved", "{job}");
        assert!(frames["best_at"].as_f64().unwrap() >= 2.0, "in focus: {frames}");
        assert_eq!(
            (&frames["looked_at"], &frames["other_person"], &frames["cuts"]),
            (&json!(20), &json!(0), &json!(0))
        );
        assert_eq!(job["result"]["images"][1]["image"], "target_video");

        let (_, report) = api.get(&format!("{PATH}/{id}")).await;
        let url = report["face_match"]["target_image"].as_str().unwrap().to_owned();
        let shown = api.anonymous(Method::GET, &url).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(image::load_from_memory(&shown).unwrap().height(), 900);

        // The document, the video, the frame and the frame's rendition.
        assert_eq!(blobs::count(&world.blobs), 4);
        assert_eq!(
            world.count("SELECT count(*) FROM images WHERE purge_at > now() AND wrapped_key IS NOT NULL").await,
            3
        );
        let (status, receipt) = api.delete(&format!("/v1/jobs/{id}")).await;
        assert_eq!((status, &receipt["images"]), (StatusCode::OK, &json!(3)), "{receipt}");
        assert_eq!(blobs::count(&world.blobs), 0);
        assert_eq!(api::send(api.anonymous(Method::GET, &url)).await.0, StatusCode::GONE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_cannot_be_used_says_why_and_shows_what_it_can() {
    let (_world, _process, api) = World::new().await.serving(&["all"]).await;
    let (report, job) = finished(&api, &request("target_video", &encoded(&videos::pattern("320x240", 2)))).await;
    assert_eq!((&report["status"], &report["score"]), (&json!("Not Finished"), &Value::Null));
    assert_eq!(warnings(&report)[0], ("NO_FACE_DETECTED", "error", "image=target_video"));
    assert_eq!(job["result"]["frames"]["best"], Value::Null);
    let shown = api.anonymous(Method::GET, report["target_image"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(shown.status(), StatusCode::OK);

    let broken = [b"\0\0\0\x18ftypisom".as_slice(), &[7; 500]].concat();
    let (report, _) = finished(&api, &request("target_video", &encoded(&broken))).await;
    let (risk, weight, data) = warnings(&report)[0];
    assert_eq!((risk, weight), ("INVALID_IMAGE", "error"));
    assert!(data.starts_with("image=target_video code=invalid_video: "), "{data}");
    assert_eq!(report["target_image"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_while_its_video_is_analysed_leaves_nothing() {
    let (world, _process, api) = World::new().await.serving(&["all"]).await;
    let video = request("target_video", &encoded(&videos::face("obama2.jpg", 8, 0, "webm")));
    let accepted = answer(api.post(PATH, &video)).await;
    let id = accepted.body["id"].as_str().unwrap().to_owned();
    eventually("the job runs", Duration::from_secs(30), async || {
        api.get(&format!("/v1/jobs/{id}")).await.1["state"] == "running"
    })
    .await;
    let (status, _) = api.delete(&format!("/v1/jobs/{id}")).await;
    assert_eq!(status, StatusCode::OK);
    eventually("the worker has let go", Duration::from_secs(60), async || blobs::count(&world.blobs) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_videos_or_images_and_are_reported_as_such() {
    let (world, _process, api) = World::new().await.serving(&["all"]).await;
    let video = videos::face("obama2.jpg", 1, 0, "webm");
    let upload = async |kind: &str, bytes: Vec<u8>| -> Answer {
        answer(api.request(Method::POST, "/v1/images").header("content-type", kind).body(bytes)).await
    };
    let uploaded = upload("video/webm", video).await;
    assert_eq!(
        (uploaded.status, &uploaded.body["format"], &uploaded.body["width"]),
        (201, &json!("webm"), &Value::Null)
    );
    let id = uploaded.body["id"].as_str().unwrap();
    let (status, seen) = api.get(&format!("/v1/images/{id}")).await;
    assert_eq!((status, seen.get("url")), (StatusCode::OK, None));
    let picture = upload("image/jpeg", photo("obama.jpg")).await.body["id"].clone();
    for (field, id, code) in [
        ("target_image", json!(id), "unsupported_image_format"),
        ("target_video", picture.clone(), "unsupported_video_format"),
    ] {
        let refused = answer(api.post(PATH, &request(field, &json!({ "image_id": id })))).await;
        assert_eq!((refused.problem(), &refused.body["field"]), ((400, code), &json!(field)));
    }
    let (report, _) = finished(&api, &request("target_video", &json!({ "image_id": id }))).await;
    assert_eq!(report["status"], "Approved", "{report}");

    // A worker keeps all files of a job in memory, so seven uploads of 10 MB are too much.
    let large = upload("image/jpeg", crate::support::photos::padded(photo("obama.jpg"), 10_000_000)).await;
    let named = json!({ "image_id": large.body["id"] });
    let frames: Vec<_> = (0..6).map(|_| named.clone()).collect();
    let blobs = blobs::count(&world.blobs);
    let refused = answer(api.post(PATH, &request("target_frames", &json!(frames)))).await;
    assert_eq!(refused.problem(), (400, "image_too_large"), "{refused:?}");
    assert_eq!(refused.body["field"], "target_frames[5]");
    assert_eq!(blobs::count(&world.blobs), blobs, "nothing of it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn test_keys_get_outcomes_of_frames_and_videos_too() {
    let (world, process, _) = World::new().await.serving(&["all"]).await;
    let api = Api::of(&process, &world.make_test_key().await);
    let frames = json!([encoded(&photo("obama.jpg")), encoded(&photo("obama.jpg"))]);
    let (report, job) = finished(&api, &request("target_frames", &frames)).await;
    assert_eq!((&report["status"], &job["result"]["frames"]["best"]), (&json!("Approved"), &json!(0)));
    let (report, job) = finished(&api, &request("target_video", &encoded(b"\0\0\0\x18ftypisom"))).await;
    assert_eq!((&report["status"], &report["target_image"]), (&json!("Approved"), &Value::Null));
    assert_eq!(job["result"]["images"][1]["image"], "target_video");
}
