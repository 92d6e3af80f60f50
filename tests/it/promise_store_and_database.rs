//! Promise: the blob store and its database belong together. A process that finds the wrong one refuses to start, and
//! no blob is lost.

use std::process::{Output, Stdio};

use futures_util::future::join_all;
use serde_json::Value;
use uuid::Uuid;
use visavis::images::{Error, binding};
use visavis::keys::Keyring;
use visavis::media::{BlobStore, Media};

use crate::support::s3::S3Server;
use crate::support::{World, blobs, photos};

const MARKER: &str = "visavis-store.json";

/// Two jobs with their blobs.
async fn full() -> World {
    let world = World::without_broker().await;
    for _ in 0..2 {
        world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    }
    world
}

/// Starts a role and waits for its end: it must not start.
async fn refused(world: &World, role: &str, changes: &[(&str, &str)]) -> String {
    let mut command = world.command(&["serve", role]);
    command.envs(changes.iter().copied()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn media(store: BlobStore) -> Media {
    Media::new(store, Keyring::parse("test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_another_database_beside_a_full_store_refuses_to_start_and_no_blob_is_lost() {
    let (owner, other) = (full().await, World::without_broker().await);
    let store = owner.blobs.to_str().unwrap();
    // Before the two were bound: an installation that was upgraded.
    for role in ["janitor", "api", "intake", "worker"] {
        let said = refused(&other, role, &[("VISAVIS_BLOBS", store)]).await;
        let name = other.environment("DATABASE_URL").rsplit('/').next().unwrap();
        for expected in [store, name, "knows nothing of 4 of 4 blobs", "visavis blobs adopt --yes"] {
            assert!(said.contains(expected), "{role}: {expected}: {said}");
        }
    }
    assert!(!owner.blobs.join(MARKER).exists(), "nothing was changed");
    let empty = owner.path("empty");
    let said = refused(&owner, "janitor", &[("VISAVIS_BLOBS", empty.to_str().unwrap())]).await;
    assert!(said.contains("the store is empty, and the database knows blobs"), "{said}");
    // The store's own database knows its blobs.
    owner.spawn(&["janitor"]).await.kill9();
    assert!(owner.blobs.join(MARKER).exists());
    assert!(refused(&other, "janitor", &[("VISAVIS_BLOBS", store)]).await.contains("the database names none"));
    // The other one has a store by now.
    other.spawn(&["janitor"]).await.kill9();
    assert!(refused(&other, "janitor", &[("VISAVIS_BLOBS", store)]).await.contains("do not belong together"));
    // A store that is missing: a volume that is not mounted is an empty folder.
    let said = refused(&owner, "janitor", &[("VISAVIS_BLOBS", empty.to_str().unwrap())]).await;
    assert!(said.contains("the store has the id none"), "{said}");
    assert_eq!(blobs::count(&owner.blobs), 4);
    // Roles without blobs start even so.
    other.spawn_with(&["webhooks"], &[("VISAVIS_BLOBS", store)]).await.kill9();
    owner.spawn(&["janitor"]).await.kill9();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_bind_what_belongs_together_and_the_pair_of_before_ends() {
    let (owner, restored) = (full().await, World::without_broker().await);
    owner.spawn(&["janitor"]).await.kill9();
    let run = async |arguments: &[&str]| {
        let mut command = restored.command(arguments);
        command.env("VISAVIS_BLOBS", &owner.blobs);
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    };
    let before = run(&["blobs", "adopt", "--json"]).await;
    assert!(!before.status.success());
    assert_eq!((json(&before)["bound"].clone(), json(&before)["database_id"].clone()), (false.into(), Value::Null));
    let adopted = run(&["blobs", "adopt", "--yes"]).await;
    assert!(adopted.status.success(), "{adopted:?}");
    let shown = run(&["blobs", "show", "--json"]).await;
    assert!(shown.status.success() && json(&shown)["bound"] == true, "{shown:?}");
    restored.spawn_with(&["janitor"], &[("VISAVIS_BLOBS", owner.blobs.to_str().unwrap())]).await.kill9();
    assert!(refused(&owner, "janitor", &[]).await.contains("do not belong together"));
    assert_eq!(blobs::count(&owner.blobs), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_bind_one_id_in_a_folder_and_in_a_bucket() {
    let world = World::without_broker().await;
    let server = S3Server::start();
    for store in [BlobStore::folder(&world.path("new")).unwrap(), BlobStore::s3(&server.settings("new")).unwrap()] {
        world.execute("DELETE FROM blob_store").await;
        let media = media(store);
        for started in join_all((0..8).map(|_| binding::check(world.store(), &media))).await {
            started.unwrap();
        }
        let pair = binding::inspect(world.store(), &media).await.unwrap();
        assert!(pair.is_bound && pair.store_id == pair.database_id, "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_databases_that_start_at_once_on_an_empty_store_one_gets_it() {
    let (first, second) = (World::without_broker().await, World::without_broker().await);
    let server = S3Server::start();
    for store in [BlobStore::folder(&first.path("new")).unwrap(), BlobStore::s3(&server.settings("new")).unwrap()] {
        let media = media(store);
        for world in [&first, &second] {
            world.execute("DELETE FROM blob_store").await;
        }
        let both = [&first, &second].map(|world| binding::check(world.store(), &media));
        let started = join_all(both).await;
        let failed: Vec<_> = started.iter().filter_map(|result| result.as_ref().err()).collect();
        assert!(matches!(failed[..], [Error::Unbound(_)]), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_interrupted_is_ended_by_the_next_one() {
    let world = full().await;
    let media = &world.intake.media;
    // As far as the proposal, then as far as the store.
    let id = world.store().propose_blob_store(Uuid::now_v7()).await.unwrap();
    binding::check(world.store(), media).await.unwrap();
    assert_eq!(media.store_id().await.unwrap(), Some(id));
    world.execute("UPDATE blob_store SET bound_at = NULL").await;
    binding::check(world.store(), media).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM blob_store WHERE bound_at IS NOT NULL").await, 1);
    // A store whose marker was lost or spoilt is a fault that somebody must look at.
    std::fs::write(world.blobs.join(MARKER), "half a wri").unwrap();
    let error = binding::check(world.store(), media).await.unwrap_err();
    assert!(error.to_string().contains(MARKER), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_being_written_does_not_keep_an_upgraded_installation_from_starting() {
    let world = full().await;
    let media = &world.intake.media;
    let image = visavis::domain::ids::ImageId::new();
    media.put_image(world.tenant.id, image, &bytes::Bytes::from_static(b"no row yet")).await.unwrap();
    binding::check(world.store(), media).await.unwrap();
}
