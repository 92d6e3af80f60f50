//! Promise: one blob that cannot be deleted, or one row that cannot be erased, harms no other.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use visavis::domain::ids::JobId;
use visavis::domain::tenant::Account;
use visavis::images::Images;
use visavis::janitor::{Error, erase_due};

use crate::support::{World, blobs, eventually, photos};

async fn submit(world: &World) -> JobId {
    world.submit_pair("face_match", photos::blank(), photos::blank()).await
}

async fn probe(world: &World, job: JobId) -> PathBuf {
    let id: Uuid = world.scalar("SELECT id FROM images WHERE job_id = $1 AND role = 'probe'", job).await;
    world.blobs.join(format!("images/{}/{id}", world.tenant.id))
}

async fn erase(world: &World) -> Result<u64, Error> {
    erase_due(world.store(), &world.intake.media).await
}

/// Steps the clock past every back-off of a blob.
async fn pass_backoff(world: &World) {
    world.execute("UPDATE erasures SET next_at = now()").await;
}

const LISTED: &str = "SELECT count(*) FROM erasures";

#[tokio::test(flavor = "multi_thread")]
async fn every_due_image_loses_its_key_and_every_blob_but_the_bad_one_goes() {
    let world = World::without_broker().await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(submit(&world).await);
    }
    let letter = Uuid::now_v7();
    let insert = "INSERT INTO dead_letters (id, kind, code, detail, master_key_id, wrapped_key, created_at)
                  VALUES ($1, 'undelivered_submission', 'x', 'x', 'test', 'x', now() - interval '8 days')";
    sqlx::query(insert).bind(letter).execute(&world.pool).await.unwrap();
    let (bad, body) = (probe(&world, jobs[0]).await, world.blobs.join(format!("dead/{letter}")));
    blobs::poison(&bad);
    blobs::poison(&body);
    world.execute("UPDATE images SET purge_at = now()").await;
    assert_eq!(erase(&world).await.unwrap(), 6);
    assert_eq!(world.count("SELECT count(*) FROM images").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters WHERE wrapped_key IS NOT NULL").await, 0);
    assert_eq!(blobs::files(&world.blobs.join("images")), [bad.join("poison")]);
    let attempts = "SELECT sum(attempt)::bigint FROM erasures";
    assert_eq!((world.count(LISTED).await, world.count(attempts).await), (2, 2));

    // They wait for their own turn, and a blob that can be deleted again is.
    assert_eq!(erase(&world).await.unwrap(), 0);
    assert_eq!(world.count(attempts).await, 2, "it is not their time");
    let soon = "SELECT count(*) FROM erasures WHERE next_at BETWEEN now() + interval '10 seconds' AND now() + interval '3 minutes'";
    assert_eq!(world.count(soon).await, 2);
    blobs::cure(&body);
    pass_backoff(&world).await;
    erase(&world).await.unwrap();
    assert_eq!(world.count(LISTED).await, 1);

    // One that fails again and again is parked, where operators see it and can have it tried again.
    world.execute("UPDATE erasures SET attempt = 5").await;
    pass_backoff(&world).await;
    erase(&world).await.unwrap();
    let parked = "SELECT count(*) FROM parked_items WHERE loop = 'erasure' AND item LIKE 'images/%'";
    assert_eq!(world.count(parked).await, 1);
    blobs::cure(&bad);
    erase(&world).await.unwrap();
    assert_eq!(world.count(LISTED).await, 1, "it is not its time");
    let place = bad.strip_prefix(&world.blobs).unwrap().to_str().unwrap();
    assert!(world.run(&["parked", "retry", "erasure", place]).await.status.success());
    erase(&world).await.unwrap();
    assert_eq!(world.count(LISTED).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_parks_nothing_and_the_keys_go_even_so() {
    let world = World::without_broker().await;
    submit(&world).await;
    world.execute("UPDATE images SET purge_at = now()").await;
    std::fs::rename(&world.blobs, world.path("away")).unwrap();
    std::fs::write(&world.blobs, b"not a folder").unwrap();
    let round = erase(&world).await;
    assert!(matches!(round, Err(Error::Images(_))), "{round:?}");
    assert_eq!(world.count("SELECT count(*) FROM images").await, 0, "the keys are gone");
    assert_eq!((world.count("SELECT count(*) FROM parked_items").await, world.count(LISTED).await), (0, 2));
    std::fs::remove_file(&world.blobs).unwrap();
    std::fs::rename(world.path("away"), &world.blobs).unwrap();
    pass_backoff(&world).await;
    erase(&world).await.unwrap();
    assert_eq!((blobs::count(&world.blobs), world.count(LISTED).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bad_blobs_than_a_batch_do_not_keep_the_good_ones() {
    let world = World::without_broker().await;
    submit(&world).await;
    let mut places = Vec::new();
    for _ in 0..300 {
        let place = format!("dead/{}", Uuid::now_v7());
        blobs::poison(&world.blobs.join(&place));
        places.push(place);
    }
    let insert = "INSERT INTO erasures (place, next_at) SELECT place, now() - interval '1 hour' FROM unnest($1::text[]) AS bad (place)";
    sqlx::query(insert).bind(&places).execute(&world.pool).await.unwrap();
    world.execute("UPDATE images SET purge_at = now()").await;
    // The first batch is all bad. A probe tells that the store is well, so the round goes on.
    assert_eq!(erase(&world).await.unwrap(), 2);
    assert_eq!(blobs::files(&world.blobs.join("images")), Vec::<PathBuf>::new());
    assert_eq!(world.count(LISTED).await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_row_cannot_be_erased_is_left_out_and_every_other_step_runs() {
    let world = World::without_broker().await;
    let (bad, good) = (submit(&world).await, submit(&world).await);
    let sealed = "INSERT INTO sealed_records (job_id, purpose, tenant_id, master_key_id, wrapped_key, sealed, purge_at)
                  SELECT id, 'identity', tenant_id, 'test', 'x', 'x', now() FROM jobs";
    world.execute(sealed).await;
    world
        .execute("INSERT INTO spent_challenges SELECT gen_random_uuid(), id, now() - interval '1 day' FROM jobs")
        .await;
    for statement in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison'; END $$",
        "CREATE TRIGGER refuse BEFORE DELETE ON images FOR EACH ROW WHEN (OLD.created_at = '2000-01-01')
         EXECUTE FUNCTION refuse()",
    ] {
        world.execute(statement).await;
    }
    let mark = "UPDATE images SET created_at = '2000-01-01' WHERE job_id = $1 AND role = 'probe'";
    sqlx::query(mark).bind(bad.0).execute(&world.pool).await.unwrap();
    // Many more than a batch, with the bad one in front.
    let many = "INSERT INTO images (id, tenant_id, job_id, role, position, format, bytes, master_key_id, wrapped_key)
                SELECT gen_random_uuid(), tenant_id, id, 'probe', n, 'jpeg', 1, 'test', 'x'
                FROM jobs CROSS JOIN generate_series(1, 300) AS n WHERE id = $1";
    sqlx::query(many).bind(good.0).execute(&world.pool).await.unwrap();
    world
        .execute("UPDATE images SET purge_at = CASE created_at WHEN '2000-01-01' THEN created_at ELSE now() END")
        .await;

    eventually("all others are erased", Duration::from_mins(1), async || {
        erase(&world).await.unwrap();
        world.count("SELECT count(*) FROM images").await == 1
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM parked_items WHERE loop = 'erasure' AND item = 'images'").await, 1);
    pass_backoff(&world).await;
    erase(&world).await.unwrap();
    assert_eq!(blobs::count(&world.blobs), 1, "blobs of the others are gone");
    let after = "SELECT (SELECT count(*) FROM sealed_records) + (SELECT count(*) FROM spent_challenges)";
    assert_eq!(world.count(after).await, 0, "the steps behind it ran");
    world.execute("DROP TRIGGER refuse ON images").await;
    assert_eq!(erase(&world).await.unwrap(), 1);
    assert_eq!(blobs::count(&world.blobs), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_comes_when_the_last_blob_of_its_job_is_gone() {
    let world = World::without_broker().await;
    let job = submit(&world).await;
    let bad = probe(&world, job).await;
    blobs::poison(&bad);
    let images = Images::new(world.store().clone(), world.intake.media.clone(), "http://localhost").unwrap();
    let account = Account::live(world.tenant.id);
    for _ in 0..2 {
        assert!(images.erase_job(account, job).await.is_err());
    }
    assert_eq!(world.count("SELECT count(*) FROM images").await, 0, "nobody can read them");
    assert_eq!(blobs::files(&world.blobs.join("images")), [bad.join("poison")], "its neighbour is gone");
    blobs::cure(&bad);
    let receipt = images.erase_job(account, job).await.unwrap().unwrap();
    assert_eq!((&receipt["images"], &receipt["job_id"]), (&json!(2), &json!(job)));
    assert_eq!(world.count(LISTED).await, 0);
    assert_eq!(images.erase_job(account, job).await.unwrap().unwrap(), receipt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_is_seen_by_a_probe_and_a_good_one_is_left_as_it_was() {
    let world = World::without_broker().await;
    let media = &world.intake.media;
    media.probe(Duration::from_secs(20)).await.unwrap();
    assert_eq!(blobs::files(&world.blobs), Vec::<PathBuf>::new());
    std::fs::remove_dir_all(&world.blobs).unwrap();
    std::fs::write(&world.blobs, b"not a folder").unwrap();
    assert!(media.probe(Duration::from_secs(20)).await.is_err());
}
