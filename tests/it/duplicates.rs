//! Warnings about a picture that was sent with another reference before, and about files that no camera made.

use std::io::Cursor;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _, RgbImage, imageops};
use serde_json::{Value, json};

use crate::support::photos::photo;
use crate::support::{Api, World};

/// Runs a job and returns the weight and data of its warning about the target, if there is one.
async fn warned(api: &Api, risk: &str, source: &[u8], target: &[u8]) -> Option<(String, String)> {
    let images = [source, target].map(|file| BASE64_STANDARD.encode(file));
    let request = json!({ "source_image": images[0], "target_image": images[1], "search_mode": "FAST" });
    let native = json!({ "version": 1, "kind": "face_match", "lane": "interactive", "request": request });
    let (_, accepted) = api.submit(None, &native).await;
    let (_, job) = api.get(&format!("/v1/jobs/{}?wait=60", accepted["id"].as_str().unwrap())).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let warning = job["warnings"].as_array().unwrap().iter().find(|warning| {
        warning["risk"] == risk
            && warning["additional_data"].as_str().is_some_and(|data| data.starts_with("image=target_image"))
    })?;
    Some((text(&warning["log_type"]), text(&warning["additional_data"])))
}

fn saved_again(file: &[u8], share: f64, quality: u8, metadata: Option<&[u8]>) -> Vec<u8> {
    let picture = image::load_from_memory(file).unwrap().to_rgb8();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides of pictures")]
    let side = |side: u32| (f64::from(side) * share) as u32;
    let scaled: RgbImage =
        imageops::resize(&picture, side(picture.width()), side(picture.height()), imageops::FilterType::Triangle);
    let mut written = Cursor::new(Vec::new());
    let mut encoder = JpegEncoder::new_with_quality(&mut written, quality);
    if let Some(metadata) = metadata {
        encoder.set_exif_metadata(metadata.to_vec()).unwrap();
    }
    encoder.write_image(scaled.as_raw(), scaled.width(), scaled.height(), ExtendedColorType::Rgb8).unwrap();
    written.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_sent_with_another_reference_before_is_warned_about_within_its_organisation_while_it_is_kept() {
    let (world, process, api) = World::new().await.serving(&["all"]).await;
    let stranger = Api::of(&process, &world.make_tenant("stranger", None).await.api_key);
    let [obama, again, biden] = ["obama.jpg", "obama2.jpg", "biden.jpg"].map(photo);
    let duplicated =
        async |api: &Api, source: &[u8], target: &[u8]| warned(api, "DUPLICATED_IMAGE", source, target).await;
    assert_eq!(duplicated(&api, &obama, &again).await, None);
    assert_eq!(duplicated(&api, &obama, &again).await, None, "the same pair once more is a repetition");
    let better = saved_again(&obama, 0.8, 80, None);
    assert_eq!(duplicated(&api, &better, &again).await, None, "so is the same document, photographed no differently");

    let (weight, data) = duplicated(&api, &biden, &again).await.expect("another's document");
    assert_eq!(weight, "warning");
    assert!(data.starts_with("image=target_image jobs=3 latest="), "{data}");
    let copy = saved_again(&again, 0.6, 60, None);
    assert!(duplicated(&api, &biden, &copy).await.is_some(), "scaled and saved again");
    assert_eq!(duplicated(&api, &biden, &obama).await, None, "another picture");
    assert_eq!(duplicated(&stranger, &biden, &again).await, None, "another organisation's");

    // The hash is deleted with the images, by retention and by request.
    assert_eq!(world.count("SELECT count(*) FROM probe_prints").await, 7);
    let (_, listed) = api.get("/v1/jobs?limit=100").await;
    let newest = listed["jobs"][0]["id"].as_str().unwrap().to_owned();
    api.delete(&format!("/v1/jobs/{newest}")).await;
    assert_eq!(world.count("SELECT count(*) FROM probe_prints").await, 6);
    world.execute("UPDATE probe_prints SET purge_at = now()").await;
    assert_eq!(duplicated(&api, &biden, &copy).await, None, "its time is over");
    assert_eq!(world.store().erase_due_probe_hashes(100, 0).await.unwrap(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn edited_files_and_screenshots_are_warned_about_and_decide_nothing() {
    let (_world, _process, api) = World::new().await.serving(&["all"]).await;
    let (obama, again) = (photo("obama.jpg"), photo("obama2.jpg"));
    // A TIFF header, one entry (0x0131, Software, ASCII, 20 characters at offset 26), and no further directory.
    let exif = |software: &str| {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x31\x01\x02\0\x14\0\0\0\x1a\0\0\0\0\0\0\0".to_vec();
        exif.extend(format!("{software:20}").into_bytes());
        exif
    };
    for (software, risk) in
        [("Adobe Photoshop 25.0", Some("IMAGE_EDITED")), ("Screenshot", Some("SCREENSHOT")), ("HDR+ 1.0.5401", None)]
    {
        let marked = saved_again(&again, 1.0, 90, Some(&exif(software)));
        for other in ["IMAGE_EDITED", "SCREENSHOT"] {
            let expected = (risk == Some(other)).then(|| ("information".to_owned(), "image=target_image".to_owned()));
            assert_eq!(warned(&api, other, &obama, &marked).await, expected, "{software}");
        }
    }
}
