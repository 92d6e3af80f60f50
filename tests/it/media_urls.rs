//! Signed URLs: a client that has one may see the image for 60 minutes. Nobody else may, and not longer.

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use visavis::domain::ids::{ImageId, JobId};
use visavis::domain::image::Variant;
use visavis::keys::links::LIFETIME;

use crate::support::outcomes::{success, with_faces};
use crate::support::{Api, World, api, blobs, photos};
use crate::vision_images::with_orientation;

const FACE: [f64; 4] = [100.0, 80.0, 160.0, 160.0];

/// A job that ended with a face in both images.
async fn finished(world: &World) -> JobId {
    let target = with_orientation(photos::small_face(), 1);
    let job = world.submit_pair("face_match", photos::small_face(), &target).await;
    let claim = world.store().claim_job(job).await.unwrap().unwrap();
    let _ = world.store().finish_succeeded(&claim, &success(with_faces(&claim, FACE))).await.unwrap();
    job
}

/// The URLs of the report's images.
async fn urls(api: &Api, job: JobId) -> [String; 2] {
    let (status, report) = api.get(&format!("/v1/face-match/{job}")).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    ["source_image", "target_image"].map(|field| report["face_match"][field].as_str().unwrap().to_owned())
}

async fn status(api: &Api, url: &str) -> (StatusCode, Value) {
    api::send(api.anonymous(Method::GET, url)).await
}

async fn now(world: &World) -> i64 {
    world.count("SELECT floor(extract(epoch FROM now()))::bigint").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_shows_the_portrait_and_the_whole_target_to_whoever_holds_its_urls() {
    let world = World::without_broker().await;
    let process = world.spawn_with(&["api"], &[("VISAVIS_LOG", "debug")]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let job = finished(&world).await;
    let [source, target] = urls(&api, job).await;
    for (url, name, size) in [(&source, "portrait.jpg", (120, 160)), (&target, "whole.jpg", (256, 256))] {
        let response = api.anonymous(Method::GET, url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        for (header, expected) in [
            ("content-type", "image/jpeg"),
            ("cache-control", "private, no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("accept-ranges", "bytes"),
            ("content-disposition", &format!("inline; filename=\"{name}\"")),
        ] {
            assert_eq!(response.headers()[header], expected, "{header}");
        }
        let bytes = response.bytes().await.unwrap();
        let picture = image::load_from_memory(&bytes).unwrap();
        let longer = f64::from(picture.width().max(picture.height()));
        assert!(longer <= 256.0 && (picture.width() == size.0 || name == "whole.jpg"), "{name}");
        assert!(!bytes.windows(4).any(|window| window == b"Exif"), "metadata are left out");
        // The stored file is served again, byte for byte, and the same URL serves many readers.
        assert_eq!(api.anonymous(Method::GET, url).send().await.unwrap().bytes().await.unwrap(), bytes);
    }
    assert_eq!(blobs::count(&world.blobs), 4);
    let fresh = urls(&api, job).await;
    assert_eq!(blobs::count(&world.blobs), 4, "reading the report makes nothing");
    assert!(Url::parse(&fresh[0]).is_ok());

    let log = process.log();
    for url in [&source, &target] {
        let (_, signature) = url.split_once("&signature=").unwrap();
        assert!(!log.contains(signature) && !log.contains("expires="), "a log names no signature");
    }
    assert!(log.contains("/media/"), "requests are logged at all");
    assert!(log.contains("VISAVIS_PUBLIC_URL"), "a URL that is not https is warned of");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_ranges_answer_as_the_standard_says() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let [_, url] = urls(&api, finished(&world).await).await;
    // The first read of all, so HEAD makes the file that it describes.
    let head = api.anonymous(Method::HEAD, &url).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    let (length, etag) = (head.headers()["content-length"].clone(), head.headers()["etag"].clone());
    assert!(head.bytes().await.unwrap().is_empty());
    let whole = api.anonymous(Method::GET, &url).send().await.unwrap();
    assert_eq!((&whole.headers()["content-length"], &whole.headers()["etag"]), (&length, &etag));
    let whole = whole.bytes().await.unwrap();
    assert_eq!(length.to_str().unwrap().parse::<usize>().unwrap(), whole.len());

    let total = whole.len();
    for (range, part) in [
        ("bytes=0-99".to_owned(), 0..100),
        (format!("bytes={}-", total - 7), total - 7..total),
        ("bytes=-10".to_owned(), total - 10..total),
        ("bytes=10-99999999".to_owned(), 10..total),
    ] {
        let response = api.anonymous(Method::GET, &url).header("range", &range).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let expected = format!("bytes {}-{}/{total}", part.start, part.end - 1);
        assert_eq!(response.headers()["content-range"], expected.as_str());
        assert_eq!(response.headers()["cache-control"], "private, no-store");
        assert_eq!(response.bytes().await.unwrap(), whole.slice(part));
    }
    let beyond = api.anonymous(Method::GET, &url).header("range", format!("bytes={total}-")).send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()["content-range"], format!("bytes */{total}").as_str());
    for ignored in ["bytes=0-1,5-6", "bytes=x", "lines=1-2"] {
        let response = api.anonymous(Method::GET, &url).header("range", ignored).send().await.unwrap();
        assert_eq!((response.status(), response.bytes().await.unwrap()), (StatusCode::OK, whole.clone()), "{ignored}");
    }
    let other = api.anonymous(Method::GET, &url).header("range", "bytes=0-9").header("if-range", "\"other\"");
    assert_eq!(other.send().await.unwrap().status(), StatusCode::OK);
    let post = api.anonymous(Method::POST, &url).send().await.unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_dies_after_sixty_minutes_exactly_and_an_altered_one_was_never_alive() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let job = finished(&world).await;
    let [_, url] = urls(&api, job).await;
    let expires = Url::parse(&url).unwrap().query_pairs().find(|pair| pair.0 == "expires").unwrap().1.parse::<i64>();
    let left = expires.unwrap() - now(&world).await;
    assert!((LIFETIME - 30..=LIFETIME).contains(&left), "{left}");

    // The clock cannot be stepped, so the URL is issued with the same keys for an earlier time.
    let image: uuid::Uuid = world.scalar("SELECT id FROM images WHERE job_id = $1 AND role = 'probe'", job).await;
    let base = format!("http://{}", process.address());
    let links = visavis::keys::SignedLinks::new(world.intake.media.keyring(), &base).unwrap();
    let issued = |at| links.issue(world.tenant.id, ImageId(image), Variant::Whole, at).unwrap();
    let at = now(&world).await;
    assert_eq!(api.anonymous(Method::GET, &issued(at - LIFETIME + 60)).send().await.unwrap().status(), StatusCode::OK);
    for dead in [at - LIFETIME, at - LIFETIME - 1, 0] {
        let (found, problem) = status(&api, &issued(dead)).await;
        assert_eq!((found, &problem["code"]), (StatusCode::GONE, &json!("url_expired")), "{problem}");
    }
    // Changing the expiry is forgery, even of a URL that has expired.
    let dead = issued(at - LIFETIME);
    let (old, new) = (format!("expires={at}"), format!("expires={}", at + LIFETIME));
    assert!(dead.contains(&old));
    let tail = url.len() - 43..url.len();
    let swapped = format!("{}{}", &url[..tail.start], "A".repeat(43));
    let foreign = url.replace(&world.tenant.id.to_string(), "01900000-0000-7000-8000-000000000000");
    let forged = [
        dead.replace(&old, &new),
        url.replace("whole.jpg", "portrait.jpg"),
        url.replace("whole.jpg", "whole.png"),
        url.replace("whole.jpg", "whole/jpg"),
        foreign,
        swapped,
        url.replace("&signature=", "&signatur="),
        url.replace('?', "?x=1&"),
        format!("{url}&x=1"),
        url.split_once('?').unwrap().0.to_owned(),
        format!("{base}/media/x"),
    ];
    for url in forged {
        let response = api.anonymous(Method::GET, &url).send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "private, no-store", "{url}");
        let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(403), &json!("forged_url")), "{url}");
    }
    world.execute("UPDATE images SET purge_at = now()").await;
    let (found, problem) = status(&api, &url).await;
    assert_eq!((found, &problem["code"]), (StatusCode::GONE, &json!("image_erased")), "its time is over");
    let (_, report) = api.get(&format!("/v1/face-match/{job}")).await;
    assert_eq!(report["face_match"]["target_image"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_and_signatures_outlive_a_rotation_of_the_master_key() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let job = finished(&world).await;
    let [url, _] = urls(&api, job).await;
    let old_keys = world.environment("VISAVIS_MASTER_KEYS");
    let new = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let (_, before) = api.get("/.well-known/jwks.json").await;
    assert_eq!(before["keys"].as_array().unwrap().len(), 1);

    let rotating = world.spawn_with(&["api"], &[("VISAVIS_MASTER_KEYS", &format!("{new},{old_keys}"))]).await;
    let moved = |process: &crate::support::process::Process| {
        let mut moved = Url::parse(&url).unwrap();
        moved.set_port(Some(process.address().port())).unwrap();
        moved.to_string()
    };
    let response = api.anonymous(Method::GET, &moved(&rotating)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "an old URL, an old image");
    let public_url = [("VISAVIS_PUBLIC_URL", "https://faces.example.com/api/"), ("VISAVIS_MASTER_KEYS", new)];
    let rotated = world.spawn_with(&["api"], &public_url).await;
    let (found, problem) = status(&api, &moved(&rotated)).await;
    assert_eq!((found, &problem["code"]), (StatusCode::FORBIDDEN, &json!("forged_url")), "the old key is gone");
    let rotated_api = Api::of(&rotated, &world.tenant.api_key);
    let [url, _] = urls(&rotated_api, job).await;
    assert!(url.starts_with("https://faces.example.com/api/media/"), "{url}");
    assert!(!rotated.log().contains("are not https"));
    let (_, after) = rotated_api.get("/.well-known/jwks.json").await;
    let keys = after["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&before["keys"][0]), "the key of a retired master key is still listed");
    for key in keys {
        assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
        assert!(key.get("d").is_none(), "no private part");
    }
}
