//! Promise: a message, an event or a delivery that fails by itself harms no other. Its loop sets it aside.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use visavis::queue::topology;

use crate::support::api::send;
use crate::support::deliveries::{QUICK, Running, await_attempts, await_state, endpoint, event, live};
use crate::support::receiver::Receiver;
use crate::support::stream::Stream;
use crate::support::world::request;
use crate::support::{Api, World, eventually, photos};

const SOON: Duration = Duration::from_mins(1);
/// JSON for Postgres, and more than a number of this program can hold. A row that has it cannot be read.
const UNREADABLE: &str = r#"{"poison": 1e400}"#;

/// Loop and item of each parked item, as `visavis parked list` shows them.
async fn parked(world: &World) -> Vec<(String, String)> {
    let output = world.run(&["parked", "list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut items: Vec<_> =
        listed["parked"].as_array().unwrap().iter().map(|item| (text(&item["loop"]), text(&item["item"]))).collect();
    items.sort_unstable();
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_only_a_newer_version_can_read_concern_their_organisation_alone() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let other = world.make_tenant("other", Some("other")).await;
    world.execute(r#"UPDATE tenants SET settings = '{"palms": 2, "liveness": "in_depth"}' WHERE name = 'acme'"#).await;
    world.execute(r#"UPDATE tenants SET settings = '{"approve": {"fmr": 0.1}}' WHERE name = 'other'"#).await;
    let processes = world.spawn(&["api", "intake", "relay"]).await;
    // More than the prefetch, all with a threshold that cannot be read.
    let pair = request("likeness_check", photos::blank(), photos::blank());
    let administrator =
        lapin::Connection::connect(world.amqp.as_str(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = administrator.create_channel().await.unwrap();
    // The broker validates the user, so that a test must tell the service that this one is the other organisation's.
    sqlx::query("UPDATE tenants SET amqp_user = $1 WHERE name = 'other'")
        .bind(world.amqp.username())
        .execute(&world.pool)
        .await
        .unwrap();
    for n in 0..20 {
        let properties = lapin::BasicProperties::default()
            .with_message_id(format!("poison {n}").into())
            .with_user_id(world.amqp.username().into());
        let body = pair.to_string();
        let options = lapin::options::BasicPublishOptions::default();
        let publish =
            channel.basic_publish(topology::SUBMISSIONS.into(), "".into(), options, body.as_bytes(), properties);
        publish.await.unwrap();
    }
    producer.submit("good", &pair).await;
    producer.reply("good", "accepted").await;
    let set_aside = "SELECT count(*) FROM dead_letters WHERE code = 'not_processed' AND wrapped_key IS NOT NULL";
    eventually("the others are set aside", SOON, async || world.count(set_aside).await == 20).await;
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 1);

    let api = Api::of(&processes, &other.api_key);
    let (status, _) = send(api.post("/v1/jobs", &pair)).await;
    assert_eq!(status.as_u16(), 503, "a process of the newer version may take it");
    assert_eq!(api.get("/v1/jobs").await.0.as_u16(), 200, "reading goes on");
    let listed = world.run(&["tenant", "list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["organisations"].as_array().unwrap().len(), 2);

    // What this version does not know stays when it writes, and a redrive takes the letter in when all can be read.
    assert!(world.run(&["tenant", "set", "--organisation", "acme", "mode=FAST"]).await.status.success());
    assert!(world.run(&["tenant", "set", "--organisation", "other", "approve=0.9"]).await.status.success());
    let kept = "SELECT count(*) FROM tenants WHERE settings->>'palms' = '2' AND settings->>'liveness' = 'in_depth'
                  AND settings->>'mode' = 'FAST'";
    assert_eq!(world.count(kept).await, 1);
    let letter: Uuid = sqlx::query_scalar("SELECT id FROM dead_letters LIMIT 1").fetch_one(&world.pool).await.unwrap();
    let redriven = world.run(&["dead-letters", "redrive", &letter.to_string()]).await;
    assert!(redriven.status.success(), "{}", String::from_utf8_lossy(&redriven.stderr));
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_fails_by_itself_is_set_aside_and_answered_and_an_outage_sets_nothing_aside() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let processes = world.spawn(&["intake", "relay"]).await;
    let pair = request("likeness_check", photos::blank(), photos::blank());
    // The database is there, but fails every write of a job: no message may be given up for it.
    world.execute("ALTER TABLE images RENAME TO images_away").await;
    producer.submit("patient", &pair).await;
    eventually("it was tried", SOON, async || processes.log().contains("message not dealt with yet")).await;
    // An upload whose blob is gone: only the message that names it is at fault.
    world.execute("ALTER TABLE images_away RENAME TO images").await;
    producer.reply("patient", "accepted").await;
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);

    let upload = Uuid::now_v7();
    let insert = "INSERT INTO images (id, tenant_id, role, format, bytes, master_key_id, wrapped_key, purge_at)
                  VALUES ($1, $2, 'upload', 'jpeg', 100, 'test', 'x', now() + interval '1 hour')";
    sqlx::query(insert).bind(upload).bind(world.tenant.id.0).execute(&world.pool).await.unwrap();
    let mut poison = pair.clone();
    poison["request"]["photo"] = json!({ "image_id": upload });
    for n in 0..10 {
        producer.submit(&format!("poison {n}"), &poison).await;
    }
    producer.submit("good", &pair).await;
    producer.reply("good", "accepted").await;
    let answer = producer.reply("poison 7", "rejected").await;
    assert_eq!(answer.body["code"], "not_processed", "{}", answer.body);
    eventually("all are set aside", SOON, async || world.count("SELECT count(*) FROM dead_letters").await == 10).await;
    let listed = world.run(&["dead-letters", "list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.matches("an upload that it names is not in the blob store").count(), 10, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_cannot_be_recorded_is_parked_and_the_next_one_is_recorded() {
    let world = World::new().await;
    drop(world.producer().await);
    world.execute("ALTER TABLE dead_letters ADD CONSTRAINT poison CHECK (message_id <> 'poison')").await;
    let _intake = world.spawn(&["intake"]).await;
    let administrator =
        lapin::Connection::connect(world.amqp.as_str(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = administrator.create_channel().await.unwrap();
    for name in ["poison", "poison", "poison", "poison", "good"] {
        let mut headers = lapin::types::FieldTable::default();
        let text = |text: &str| lapin::types::AMQPValue::LongString(text.into());
        headers.insert("x-first-death-queue".into(), text(topology::SUBMISSIONS_QUEUE));
        headers.insert("x-first-death-reason".into(), text("delivery_limit"));
        let properties = lapin::BasicProperties::default().with_message_id(name.into()).with_headers(headers);
        let options = lapin::options::BasicPublishOptions::default();
        channel.basic_publish(topology::DEAD.into(), "".into(), options, b"{}", properties).await.unwrap();
    }
    let recorded = "SELECT count(*) FROM dead_letters WHERE message_id = 'good'";
    eventually("the good one is recorded", SOON, async || world.count(recorded).await == 1).await;
    eventually("the others are parked", SOON, async || {
        world.count("SELECT coalesce(sum(count), 0)::bigint FROM parked_items").await == 4
    })
    .await;
    assert_eq!(parked(&world).await, [("dead_letters".to_owned(), "poison".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_cannot_be_read_are_parked_and_the_others_are_sent() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    world.execute("ALTER TABLE outbox DROP CONSTRAINT outbox_reply_type_known, DROP CONSTRAINT outbox_check2").await;
    world.execute("DROP TRIGGER outbox_reply_type ON outbox").await;
    let mut poison = Vec::new();
    for (reply_type, payload) in [(None, Some("{}")), (Some("rejected"), None), (Some("rejected"), Some(UNREADABLE))] {
        let insert = "INSERT INTO outbox (id, kind, reply_to, payload, reply_type)
                      VALUES ($1, 'reply_rejected', $2, $3::text::jsonb, $4)";
        let id = Uuid::now_v7();
        let insert = sqlx::query(insert).bind(id).bind(&producer.reply_to).bind(payload).bind(reply_type);
        insert.execute(&world.pool).await.unwrap();
        poison.push(("replies".to_owned(), id.to_string()));
    }
    poison.sort_unstable();
    let insert = "INSERT INTO outbox (id, kind, reply_to, correlation_id, payload, reply_type)
                  VALUES (gen_random_uuid(), 'reply_rejected', $1, 'good', '{}', 'rejected')";
    sqlx::query(insert).bind(&producer.reply_to).execute(&world.pool).await.unwrap();
    let _relay = world.spawn(&["relay"]).await;
    producer.reply("good", "rejected").await;
    eventually("they are parked", SOON, async || world.count("SELECT count(*) FROM parked_items").await == 3).await;
    assert_eq!(parked(&world).await, poison);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_cannot_be_read_or_published_are_passed_over_by_exchange_and_streams() {
    let world = World::new().await;
    drop(world.producer().await);
    let processes = world.spawn(&["api"]).await;
    let api = Api::of(&processes, &world.tenant.api_key);
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    let long = json!({ "kind": "x".repeat(300) }).to_string();
    let mut poison = Vec::new();
    let first = event(&world).await;
    for payload in [UNREADABLE, &long] {
        let id = Uuid::now_v7();
        let insert =
            "INSERT INTO events (id, tenant_id, type, payload) VALUES ($1, $2, 'endpoint.disabled', $3::text::jsonb)";
        let insert = if payload == UNREADABLE {
            insert
        } else {
            "INSERT INTO events (id, tenant_id, type, payload, job_id) SELECT $1, $2, 'review.decided', $3::text::jsonb, id FROM jobs LIMIT 1"
        };
        sqlx::query(insert).bind(id).bind(world.tenant.id.0).bind(payload).execute(&world.pool).await.unwrap();
        poison.push(("results".to_owned(), id.to_string()));
    }
    let second = event(&world).await;
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(stream.event().await.2["id"].clone());
    }
    assert_eq!(told, [json!(first), Value::Null, json!(second)]);

    let _relay = world.spawn(&["relay"]).await;
    let at_end = "SELECT count(*) FROM event_tails WHERE holder IS NULL AND (xid, event_id) >= (SELECT xid, id FROM events ORDER BY xid DESC, id DESC LIMIT 1)";
    eventually("the tail is at its end", SOON, async || world.count(at_end).await == 1).await;
    poison.sort_unstable();
    assert_eq!(parked(&world).await, poison);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_cannot_be_signed_read_or_recorded_are_parked_and_the_others_arrive() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let (good, unsigned) = (endpoint(&world, &receiver.url()).await, endpoint(&world, &receiver.url()).await);
    // A secret under a master key that this process does not have.
    sqlx::query("UPDATE webhook_secrets SET master_key_id = 'elsewhere' WHERE endpoint_id = $1")
        .bind(unsigned.endpoint.id.0)
        .execute(&world.pool)
        .await
        .unwrap();
    let (unreadable, refused, fine) = (event(&world).await, event(&world).await, event(&world).await);
    let event_of = async |job| world.scalar::<Uuid>("SELECT id FROM events WHERE job_id = $1", job).await;
    let (unreadable, refused) = (event_of(unreadable).await, event_of(refused).await);
    let spoil = sqlx::query("UPDATE events SET payload = $2::text::jsonb WHERE id = $1").bind(unreadable);
    spoil.bind(UNREADABLE).execute(&world.pool).await.unwrap();
    let guard = format!("ALTER TABLE delivery_attempts ADD CONSTRAINT poison CHECK (event_id <> '{refused}')");
    sqlx::query(sqlx::AssertSqlSafe(guard)).execute(&world.pool).await.unwrap();

    let dispatcher = Running::start(&world, QUICK);
    await_state(&world, "delivered", 1).await;
    await_attempts(&world, 1).await;
    eventually("the others are parked", SOON, async || world.count("SELECT count(*) FROM parked_items").await == 4)
        .await;
    let of = |item: String| ("webhooks".to_owned(), item);
    let mut expected = [
        of(unsigned.endpoint.id.to_string()),
        of(format!("{}/{unreadable}", unsigned.endpoint.id)),
        of(format!("{}/{unreadable}", good.endpoint.id)),
        of(format!("{}/{refused}", good.endpoint.id)),
    ];
    expected.sort_unstable();
    assert_eq!(parked(&world).await, expected);
    assert!(receiver.await_seen(1).await.iter().any(|seen| seen.json()["data"]["id"] == json!(fine)));
    dispatcher.stop().await;
    let found = world.store().find_endpoint(live(&world), unsigned.endpoint.id).await.unwrap().unwrap();
    assert_eq!(found.disabled, None, "it is not the receiver's fault");
}
