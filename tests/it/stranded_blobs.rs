//! Blobs that no row knows are set aside for days, and a look that finds many of them changes nothing.

use bytes::Bytes;
use uuid::Uuid;
use visavis::domain::ids::ImageId;
use visavis::images;
use visavis::images::stranded::{Bound, Looked, look};
use visavis::janitor::erase_due;

use crate::support::{World, blobs, photos};

const NOTHING: Bytes = Bytes::from_static(b"no row");

async fn looked(world: &World) -> Looked {
    look(world.store(), &world.intake.media, Bound::SmallShare).await.unwrap()
}

/// Images without rows.
async fn strand(world: &World, count: usize) {
    for _ in 0..count {
        world.intake.media.put_image(world.tenant.id, ImageId::new(), &NOTHING).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_belong_to_nothing_are_set_aside_after_a_day_and_deleted_a_week_later_and_no_others() {
    let world = World::without_broker().await;
    let media = &world.intake.media;
    world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    let letter = Uuid::now_v7();
    let key = media.put_dead_letter(letter, &Bytes::from_static(b"a body")).await.unwrap();
    let insert = "INSERT INTO dead_letters (id, kind, code, detail, master_key_id, wrapped_key)
                  VALUES ($1, 'undelivered_submission', 'x', 'x', $2, $3)";
    let insert = sqlx::query(insert).bind(letter).bind(&key.master_key_id).bind(&key.wrapped);
    insert.execute(&world.pool).await.unwrap();
    let (old, young) = (ImageId::new(), ImageId::new());
    for image in [old, young] {
        media.put_image(world.tenant.id, image, &NOTHING).await.unwrap();
    }
    let found_late = Uuid::now_v7();
    media.put_rendition(world.tenant.id, Uuid::now_v7(), &NOTHING).await.unwrap();
    media.put_dead_letter(Uuid::now_v7(), &NOTHING).await.unwrap();
    let late = media.put_dead_letter(found_late, &NOTHING).await.unwrap();
    media.put_portrait(Uuid::now_v7(), &NOTHING).await.unwrap();
    let folder = world.blobs.join(format!("images/{}", world.tenant.id));
    for name in [format!("{}#1", Uuid::now_v7()), "README".to_owned()] {
        std::fs::write(folder.join(name), b"half a write").unwrap();
    }
    assert_eq!(looked(&world).await, Looked::default(), "all are young");

    blobs::age(&world.blobs, &folder.join(young.to_string()));
    let first = looked(&world).await;
    assert_eq!(first, Looked { listed: 8, unknown: 5, set_aside: 5, leftovers: 1, ..Looked::default() });
    let all = 2 + 1 + 2 + 1 + 1 + 1 + 1 + 1;
    assert_eq!(blobs::count(&world.blobs), all, "all but the leftover are there");
    let insert = "INSERT INTO dead_letters (id, kind, code, detail, master_key_id, wrapped_key)
                  VALUES ($1, 'undelivered_submission', 'x', 'x', $2, $3)";
    let insert = sqlx::query(insert).bind(found_late).bind(&late.master_key_id).bind(&late.wrapped);
    insert.execute(&world.pool).await.unwrap();
    let second = looked(&world).await;
    assert_eq!(second, Looked { listed: 8, unknown: 4, released: 1, ..Looked::default() });

    world.execute("UPDATE stranded_blobs SET first_seen_at = first_seen_at - interval '6 days'").await;
    assert_eq!(looked(&world).await.erased, 0, "a week has not passed");
    world.execute("UPDATE stranded_blobs SET first_seen_at = first_seen_at - interval '1 day'").await;
    assert_eq!(looked(&world).await.erased, 4);
    assert_eq!(looked(&world).await, Looked { listed: 8, ..Looked::default() }, "they wait to be deleted");
    erase_due(world.store(), media).await.unwrap();
    assert_eq!(blobs::count(&world.blobs), all - 4);
    assert!(folder.join("README").exists(), "what is not ours stays");
    assert!(folder.join(young.to_string()).exists());
    assert_eq!(media.get_dead_letter(letter, &key).await.unwrap(), "a body");
    assert_eq!(media.get_dead_letter(found_late, &late).await.unwrap(), "no row");
    assert_eq!(world.count("SELECT count(*) FROM stranded_blobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_finds_many_unknown_blobs_changes_nothing_until_a_person_says_so() {
    let world = World::without_broker().await;
    world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    strand(&world, 101).await;
    blobs::age(&world.blobs, &world.blobs);
    let media = &world.intake.media;
    let refused = look(world.store(), media, Bound::SmallShare).await.unwrap_err();
    assert!(matches!(refused, images::Error::ManyUnknown { unknown: 101, listed: 103 }), "{refused}");
    assert!(refused.to_string().contains("visavis blobs quarantine --yes"), "{refused}");
    let set_aside = "SELECT count(*) FROM stranded_blobs";
    assert_eq!((world.count(set_aside).await, blobs::count(&world.blobs)), (0, 103));

    visavis::images::binding::adopt(world.store(), media).await.unwrap();
    assert!(!world.run(&["blobs", "quarantine"]).await.status.success());
    assert_eq!(world.count(set_aside).await, 0);
    let output = world.run(&["blobs", "quarantine", "--yes", "--json"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!((world.count(set_aside).await, blobs::count(&world.blobs)), (101, 103));
}
