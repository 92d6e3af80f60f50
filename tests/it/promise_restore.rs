//! Promise: a restore revives nobody. What was erased after a backup is erased again when the backup is restored.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use visavis::domain::identity::{IdNumber, IdType, IdentityRecord};
use visavis::domain::ids::{ImageId, JobId};
use visavis::domain::tenant::Account;
use visavis::images::{Images, binding};
use visavis::janitor::erase_due;
use visavis::keys::WrappedKey;
use visavis::store::Store;

use crate::support::environment::SERVICES;
use crate::support::template::{at_path, copy_database, drop_database};
use crate::support::world::TEST_POOLS;
use crate::support::{World, blobs, eventually, photos};

async fn submit(world: &World) -> JobId {
    world.submit_pair("face_match", photos::blank(), photos::blank()).await
}

/// Images that open with what the database and the blob store hold.
async fn opening(world: &World, pool: &PgPool) -> Vec<Uuid> {
    let rows = "SELECT id, master_key_id, wrapped_key FROM images WHERE wrapped_key IS NOT NULL ORDER BY id";
    let rows: Vec<(Uuid, String, Vec<u8>)> = sqlx::query_as(rows).fetch_all(pool).await.unwrap();
    let mut opened = Vec::new();
    for (id, master_key_id, wrapped) in rows {
        let key = WrappedKey { master_key_id, wrapped };
        if world.intake.media.get_image(world.tenant.id, ImageId(id), &key).await.is_ok() {
            opened.push(id);
        }
    }
    opened
}

async fn images_of(world: &World, job: JobId) -> Vec<Uuid> {
    let ids = sqlx::query_scalar("SELECT id FROM images WHERE job_id = $1 ORDER BY id").bind(job.0);
    ids.fetch_all(&world.pool).await.unwrap()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_erased_after_a_backup_opens_when_the_backup_is_restored() {
    let world = World::without_broker().await;
    let (store, media) = (world.store(), &world.intake.media);
    let images = Images::new(store.clone(), media.clone(), "http://localhost").unwrap();
    let account = Account::live(world.tenant.id);
    binding::check(store, media).await.unwrap();
    let (on_request, expired, kept) = (submit(&world).await, submit(&world).await, submit(&world).await);
    let upload = images.upload(account, Bytes::from_static(photos::blank())).await.unwrap().id;
    let number = IdNumber::parse("NIN-4711-0815").unwrap();
    let record = IdentityRecord { attributes: Map::new() };
    let portrait = Bytes::from_static(photos::blank());
    world.registry().put(IdType::Nin, &number, &record, &portrait).await.unwrap();
    let kept_images = images_of(&world, kept).await;

    // The backup, of the database and of the blobs.
    let backup = format!("{}_restored", world.database_name());
    copy_database(world.database_name(), &backup).await;
    // The copy ended every session, and a pool learns that from the first use of each.
    eventually("the pool has new sessions", Duration::from_secs(30), async || {
        join_all((0..20).map(|_| store.database_name())).await.iter().all(Result::is_ok)
    })
    .await;
    let blobs_then = world.path("blobs-then");
    copy(&world.blobs, &blobs_then);

    images.erase_job(account, on_request).await.unwrap().unwrap();
    assert!(images.delete_upload(account, upload).await.unwrap());
    assert!(world.registry().delete(IdType::Nin, &number).await.unwrap());
    sqlx::query("UPDATE images SET purge_at = now() WHERE job_id = $1")
        .bind(expired.0)
        .execute(&world.pool)
        .await
        .unwrap();
    erase_due(store, media).await.unwrap();
    assert_eq!(opening(&world, &world.pool).await, kept_images);

    // The worst restore: the old database, and the old blobs. The erasure log is that of today.
    for folder in ["images", "identity"] {
        copy(&blobs_then.join(folder), &world.blobs);
    }
    let url = at_path(&SERVICES.database, &backup);
    let restored = PgPool::connect(url.as_str()).await.unwrap();
    assert_eq!(opening(&world, &restored).await.len(), 7, "they are back");
    let mut command = world.command(&["erasure", "replay", "--json"]);
    command.env("DATABASE_URL", url.as_str());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = ["images", "jobs", "registry_entries", "faults"].map(|field| replayed[field].as_i64().unwrap());
    // The job whose images had expired had not ended in the backup, so it is cancelled.
    assert_eq!(counts, [3, 2, 1, 0], "{replayed}");
    assert_eq!(opening(&world, &restored).await, kept_images);
    let left = "SELECT count(*) FROM identity_registry";
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(&restored).await.unwrap(), 0);
    let states = "SELECT state FROM jobs WHERE erased_at IS NOT NULL ORDER BY id";
    let states: Vec<String> = sqlx::query_scalar(states).fetch_all(&restored).await.unwrap();
    assert_eq!(json!(states), json!(["cancelled", "cancelled"]));
    // The janitor of the restored database deletes the blobs. A second replay finds nothing more to do.
    let restored_store = Store::connect(url.as_str(), TEST_POOLS).await.unwrap();
    erase_due(&restored_store, media).await.unwrap();
    assert_eq!(blobs::count(&world.blobs), 2);
    let again = Images::new(restored_store.clone(), media.clone(), "http://localhost").unwrap();
    let again = again.replay_erasures().await.unwrap();
    assert_eq!((again.images, again.jobs, again.registry_entries, again.faults), (0, 0, 0, 0));
    restored_store.close().await;
    restored.close().await;
    drop_database(&backup).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_the_erasure_log_that_cannot_be_read_keeps_no_other() {
    let world = World::without_broker().await;
    let media = &world.intake.media;
    let job = submit(&world).await;
    let places: Vec<_> =
        images_of(&world, job).await.iter().map(|id| format!("images/{}/{id}", world.tenant.id)).collect();
    media.log_erasures(&["a place/of a newer version".to_owned()]).await.unwrap();
    media.log_erasures(&places).await.unwrap();
    let log = world.blobs.join("erasures");
    std::fs::write(log.join(Uuid::nil().to_string()), "half an ent").unwrap();
    std::fs::write(log.join(Uuid::max().to_string()), "half an ent").unwrap();
    let images = Images::new(world.store().clone(), media.clone(), "http://localhost").unwrap();
    let replayed = images.replay_erasures().await.unwrap();
    assert_eq!((replayed.images, replayed.jobs, replayed.faults), (2, 1, 3));
}
