//! One pair of images, from submission to reply.

use crate::support::world::request;
use crate::support::{World, photos};

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
