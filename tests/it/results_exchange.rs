//! The results exchange: every event of a live account goes out with the routing key of its organisation, and no other
//! organisation can read it.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde_json::{Value, json};
use visavis::queue::topology::RESULTS;

use crate::support::World;
use crate::support::deliveries::{event, events, finish};
use crate::support::photos;
use crate::support::world::request;

const PATIENCE: Duration = Duration::from_secs(30);

struct Reader {
    queue: String,
    channel: Channel,
    connection: Connection,
}

impl Reader {
    /// The broker user of the organisation, with a queue of its own.
    async fn connect(world: &World) -> Self {
        let url = world.producer_url();
        let connection = Connection::connect(url.as_str(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let queue = format!("{}.results", url.username());
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), exclusive, FieldTable::default()).await.unwrap();
        Self { queue, channel, connection }
    }

    async fn bind(&self, key: &str) -> lapin::Result<()> {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        self.channel.queue_bind(self.queue.as_str().into(), RESULTS.into(), key.into(), options, arguments).await
    }

    async fn consume(&self) -> Consumer {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        self.channel.basic_consume(self.queue.as_str().into(), "".into(), options, FieldTable::default()).await.unwrap()
    }
}

/// The next message's routing key, id, type and body.
async fn next(consumer: &mut Consumer) -> (String, String, String, Value) {
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a result comes").unwrap().unwrap();
    let text =
        |property: &Option<lapin::types::ShortString>| property.as_ref().map(ToString::to_string).unwrap_or_default();
    let (id, kind) = (text(delivery.properties.message_id()), text(delivery.properties.kind()));
    (delivery.routing_key.to_string(), id, kind, serde_json::from_slice(&delivery.data).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_under_their_organisation_s_key_those_before_the_relay_s_start_too() {
    let world = World::new().await;
    drop(world.producer().await);
    let reader = Reader::connect(&world).await;
    reader.bind("acme.face_match.#").await.unwrap();
    let early = event(&world).await;
    let relay = world.spawn(&["relay"]).await;
    let mut results = reader.consume().await;
    let (key, id, kind, body) = next(&mut results).await;
    assert_eq!((key.as_str(), kind.as_str()), ("acme.face_match.not_finished", "job.completed"));
    assert_eq!((&body["type"], &body["data"]["id"]), (&json!("job.completed"), &json!(early)));
    let stored: uuid::Uuid = world.scalar("SELECT id FROM events WHERE job_id = $1", early).await;
    assert_eq!(id, stored.to_string());

    // Events of the sandbox and of a kind that is not bound do not come. The next message is of a bound kind.
    let sandbox = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    world.execute("UPDATE jobs SET sandbox = true WHERE state = 'queued'").await;
    finish(&world, sandbox).await;
    let other = request("likeness_check", photos::blank(), photos::blank());
    let other = world.submit(None, other.to_string().as_bytes()).await.unwrap().summary.id;
    finish(&world, other).await;
    let last = event(&world).await;
    assert_eq!(next(&mut results).await.3["data"]["id"], json!(last));

    // The next relay continues after the last published event.
    relay.kill9();
    world.execute("UPDATE event_tails SET lease_until = now()").await;
    let _relay = world.spawn(&["relay"]).await;
    events(&world, 200).await;
    let all: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM events ORDER BY xid, id").fetch_all(&world.pool).await.unwrap();
    let (old, new) = all.split_at(4);
    let mut missing: HashSet<_> = new.iter().map(ToString::to_string).collect();
    while !missing.is_empty() {
        let (key, id, ..) = next(&mut results).await;
        assert_eq!(key, "acme.face_match.not_finished");
        // The last event may come again, if the relay was killed before it noted the confirmation. Earlier ones may
        // not.
        assert!(missing.remove(&id) || new.iter().chain(&old[3..]).any(|job| job.to_string() == id), "{id} was noted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_and_refuses_more_stops_no_other_s_results() {
    let world = World::new().await;
    drop(world.producer().await);
    let reader = Reader::connect(&world).await;
    reader.bind("acme.#").await.unwrap();
    let full = reader.queue.replace(".results", ".full");
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    reader.channel.queue_declare(full.as_str().into(), exclusive, arguments).await.unwrap();
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    reader.channel.queue_bind(full.as_str().into(), RESULTS.into(), "acme.#".into(), options, arguments).await.unwrap();

    let _relay = world.spawn(&["relay"]).await;
    let mut results = reader.consume().await;
    let mut missing = HashSet::new();
    for _ in 0..5 {
        let job = event(&world).await;
        missing.insert(job.to_string());
    }
    while !missing.is_empty() {
        missing.remove(next(&mut results).await.3["data"]["id"].as_str().unwrap());
    }
    // Events after the refusals come too.
    let last = event(&world).await.to_string();
    while next(&mut results).await.3["data"]["id"] != json!(last) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_binds_another_organisation_s_results_or_publishes_any() {
    let world = World::new().await;
    drop(world.producer().await);
    for key in ["#", "*.face_match.approved", "stranger.#", "acmebank.#"] {
        let reader = Reader::connect(&world).await;
        let refused = reader.bind(key).await.unwrap_err().to_string();
        assert!(refused.contains("ACCESS_REFUSED"), "{key}: {refused}");
        let _ = reader.connection.close(200, "bye".into()).await;
    }
    let reader = Reader::connect(&world).await;
    reader.bind("acme.#").await.unwrap();
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let publish =
        reader.channel.basic_publish(RESULTS.into(), "acme.face_match.approved".into(), options, b"{}", properties);
    let refused = async { publish.await?.await }.await.unwrap_err().to_string();
    assert!(refused.contains("ACCESS_REFUSED"), "{refused}");
}
