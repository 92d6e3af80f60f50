//! Both blob stores keep the same promises: a folder, and a server that speaks S3.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;
use visavis::domain::ids::{ImageId, TenantId};
use visavis::keys::{Keyring, WrappedKey};
use visavis::media::{BlobStore, Media, S3Settings};

use crate::support::s3::S3Server;
use crate::support::world::request;
use crate::support::{Api, World, blobs, environment, eventually, photos};

fn media(store: BlobStore) -> Media {
    let keys = format!("test:{}", BASE64_STANDARD.encode([7; 32]));
    Media::new(store, Keyring::parse(&keys).unwrap())
}

async fn listed(media: &Media, moment: DateTime<Utc>) -> Vec<Uuid> {
    let mut ids: Vec<_> = media.blobs_before(moment).map_ok(|blob| blob.id).try_collect().await.unwrap();
    ids.sort();
    ids
}

/// What every blob store must do. `folder` is where its objects are in the end.
async fn keeps_its_promises(store: BlobStore, folder: &std::path::Path) {
    let media = media(store);
    let (tenant, image, rendition) = (TenantId::new(), ImageId::new(), Uuid::now_v7());
    let bytes = Bytes::from_static(b"a face, and then the same face again and again");
    let soon = DateTime::<Utc>::from(std::time::SystemTime::now() + Duration::from_hours(1));

    assert_eq!(listed(&media, soon).await, Vec::<Uuid>::new());
    let key = media.put_image(tenant, image, &bytes).await.unwrap();
    let other = media.put_rendition(tenant, rendition, &bytes).await.unwrap();
    assert_eq!(media.get_image(tenant, image, &key).await.unwrap(), bytes);
    assert_eq!(media.get_rendition(tenant, rendition, &other).await.unwrap(), bytes);
    assert!(media.get_image(tenant, image, &other).await.is_err(), "each has a key of its own");
    let stored = std::fs::read(folder.join(format!("images/{tenant}/{image}"))).unwrap();
    assert!(!stored.windows(6).any(|window| window == b"a face"), "it is encrypted");

    let mut both = [image.0, rendition];
    both.sort();
    assert_eq!(listed(&media, soon).await, both);
    assert_eq!(listed(&media, soon - Duration::from_hours(3)).await, Vec::<Uuid>::new(), "they are younger");

    let again = media.put_image(tenant, image, &Bytes::from_static(b"another")).await.unwrap();
    assert_eq!(media.get_image(tenant, image, &again).await.unwrap(), "another", "a place is written again");
    for _ in 0..2 {
        media.delete_image(tenant, image).await.unwrap();
        media.delete_rendition(tenant, rendition).await.unwrap();
    }
    assert!(media.get_image(tenant, image, &again).await.unwrap_err().is_not_found());
    assert_eq!(listed(&media, soon).await, Vec::<Uuid>::new());
}

#[tokio::test]
async fn a_folder_keeps_what_it_is_given_and_forgets_what_it_must() {
    let folder = tempfile::tempdir().unwrap();
    keeps_its_promises(BlobStore::folder(folder.path()).unwrap(), folder.path()).await;
}

#[tokio::test]
async fn a_bucket_keeps_what_it_is_given_and_forgets_what_it_must() {
    let _ = &*environment::SERVICES;
    let server = S3Server::start();
    for prefix in ["", "deep/prefix"] {
        let store = BlobStore::s3(&server.settings(prefix)).unwrap();
        keeps_its_promises(store, &server.objects().join(prefix)).await;
    }
}

#[tokio::test]
async fn a_bucket_that_does_not_let_us_in_is_a_fault_and_not_an_empty_place() {
    let _ = &*environment::SERVICES;
    let server = S3Server::start();
    let settings = S3Settings { secret_access_key: "wrong".to_owned(), ..server.settings("") };
    let media = media(BlobStore::s3(&settings).unwrap());
    let error = media.put_image(TenantId::new(), ImageId::new(), &Bytes::from_static(b"x")).await.err().unwrap();
    assert!(!error.is_not_found() && !error.to_string().contains("wrong"), "{error}");
    let key = WrappedKey { master_key_id: "test".to_owned(), wrapped: Vec::new() };
    assert!(!media.get_image(TenantId::new(), ImageId::new(), &key).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_lives_and_dies_on_a_bucket_as_on_a_folder() {
    let world = World::new().await;
    let server = S3Server::start();
    let process = world.spawn_with(&["all"], &server.environment()).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let (status, accepted) = api.submit(None, &request("face_match", photos::small_face(), photos::small_face())).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    assert_eq!(blobs::count(&world.blobs), 0, "nothing is kept elsewhere");
    let id = accepted["id"].as_str().unwrap();
    let (_, job) = api.get(&format!("/v1/jobs/{id}?wait=60")).await;
    assert_eq!((&job["state"], &job["verdict"]), (&json!("succeeded"), &json!("approved")));
    let (_, report) = api.get(&format!("/v1/face-match/{id}")).await;
    for field in ["source_image", "target_image"] {
        let url = report["face_match"][field].as_str().unwrap();
        let image = api.anonymous(Method::GET, url).send().await.unwrap();
        assert_eq!(image.status(), StatusCode::OK, "{field}");
        assert!(image::load_from_memory(&image.bytes().await.unwrap()).is_ok(), "{field}");
    }
    let objects = || blobs::count(&server.objects().join("some/prefix"));
    assert_eq!(objects(), 4, "two images, two renditions");
    let (status, receipt) = api.delete(&format!("/v1/jobs/{id}")).await;
    assert_eq!(status, StatusCode::OK, "{receipt}");
    assert_eq!((&receipt["images"], &receipt["renditions"]), (&json!(2), &json!(2)));
    assert_eq!(objects(), 0);
    let (_, report) = api.get(&format!("/v1/face-match/{id}")).await;
    assert_eq!(report["face_match"]["source_image"], Value::Null);

    // The retention as well.
    let (_, accepted) = api.submit(None, &request("face_match", photos::blank(), photos::blank())).await;
    let path = format!("/v1/jobs/{}?wait=60", accepted["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.1["state"], "succeeded");
    assert_eq!(objects(), 2);
    world.execute("UPDATE images SET purge_at = now()").await;
    let janitor = world.spawn_with(&["janitor"], &server.environment()).await;
    eventually("the janitor erases", Duration::from_secs(30), async || objects() == 0).await;
    drop(janitor);
}
