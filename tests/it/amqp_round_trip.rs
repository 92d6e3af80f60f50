//! One pair of images, from submission to reply.

use std::time::Duration;

use crate::support::world::request;
use crate::support::{World, eventually, photos};

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_came_over_amqp_is_accepted_and_then_answered() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let visavis = world.spawn(&["all"]).await;
    producer.submit("one", &request("face_match", photos::small_face(), photos::small_face())).await;
    producer.reply("one", "accepted").await;
    assert_eq!(producer.reply("one", "completed").await.body["status"], "Approved");
    assert_eq!(producer.replies().await.len(), 2);
    assert!(visavis.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_of_a_type_that_only_a_newer_version_knows_is_sent_and_stops_no_other() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    world.execute("ALTER TABLE outbox DROP CONSTRAINT outbox_reply_type_check").await;
    for (name, reply_type) in [("new", "reviewed"), ("old", "rejected")] {
        let insert = "INSERT INTO outbox (id, kind, reply_to, correlation_id, payload, reply_type)
                      VALUES (gen_random_uuid(), 'reply_rejected', $1, $2, '{}', $3)";
        let insert = sqlx::query(insert).bind(&producer.reply_to).bind(name).bind(reply_type);
        insert.execute(&world.pool).await.unwrap();
    }
    let _relay = world.spawn(&["relay"]).await;
    producer.reply("new", "reviewed").await;
    producer.reply("old", "rejected").await;
    // The producer may see a reply before the relay has marked it as sent.
    let empty = async || world.count("SELECT count(*) FROM outbox").await == 0;
    eventually("an empty outbox", Duration::from_secs(20), empty).await;
}
