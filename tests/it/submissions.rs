//! Submissions over AMQP, good and bad. Each message is answered with its reason and recorded; none of them blocks,
//! panics or is lost.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::{DynamicImage, ImageFormat};
use jpeg_encoder::{ColorType, Encoder};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::support::photos::{blank, photo, small_face};
use crate::support::world::request;
use crate::support::{Producer, World, eventually};
use crate::vision_images::{animated_png, animated_webp, huge_png, with_orientation};

const A_WHILE: Duration = Duration::from_mins(1);

/// A good request with the value at a JSON pointer replaced, or removed by `None`.
fn with(pointer: &str, value: Option<Value>) -> Vec<u8> {
    let mut root = request("face_match", blank(), blank());
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = root.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(parent.insert(name.to_owned(), value)),
        None => drop(parent.remove(name)),
    }
    root.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_submission_is_answered_and_recorded_with_its_reason() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _visavis = world.spawn(&["intake", "relay"]).await;
    let image = "/request/target_image";
    let cases: Vec<(&str, Vec<u8>, &str, Option<&str>)> = vec![
        ("empty body", Vec::new(), "malformed_json", None),
        ("half a body", b"{\"version\": 1, \"kind\"".to_vec(), "malformed_json", None),
        ("not JSON", b"\xFF\xFE\0\x01".to_vec(), "malformed_json", None),
        ("a JSON array", b"[]".to_vec(), "malformed_json", None),
        ("nested too deeply", "[".repeat(100_000).into_bytes(), "malformed_json", None),
        ("no version", with("/version", None), "missing_field", Some("version")),
        ("unknown version", with("/version", Some(json!(2))), "unknown_version", Some("version")),
        ("no kind", with("/kind", None), "missing_field", Some("kind")),
        ("unknown kind", with("/kind", Some(json!("palm_reading"))), "unknown_kind", Some("kind")),
        ("no request", with("/request", None), "missing_field", Some("request")),
        ("no image", with(image, None), "missing_field", Some("request.target_image")),
        ("an image of no bytes", with(image, Some(json!(""))), "empty_image", Some("request.target_image")),
        ("not Base64", with(image, Some(json!("%%%"))), "invalid_base64", Some("request.target_image")),
        (
            "not an image",
            with(image, Some(json!("aGVsbG8="))),
            "unsupported_image_format",
            Some("request.target_image"),
        ),
        ("a number", with(image, Some(json!(7))), "invalid_type", Some("request.target_image")),
        (
            "too large an image",
            with(image, Some(json!(BASE64_STANDARD.encode([&[0xFF, 0xD8, 0xFF][..], &[0; 10_000_000]].concat())))),
            "image_too_large",
            Some("request.target_image"),
        ),
        (
            "threshold beyond",
            with("/request/approve_score", Some(json!(101))),
            "invalid_threshold",
            Some("request.approve_score"),
        ),
        (
            "a misspelt field",
            with("/request/aprove_score", Some(json!(1))),
            "unknown_field",
            Some("request.aprove_score"),
        ),
        ("U+0000 in metadata", with("/metadata", Some(json!({ "a": "\0" }))), "invalid_metadata", Some("metadata")),
        ("U+0000 in a field's name", with("/a\0b", Some(json!(1))), "unknown_field", Some("ab")),
    ];
    for (name, body, _, _) in &cases {
        producer.publish(body, producer.properties(name)).await;
    }
    for (name, _, code, field) in &cases {
        let reply = producer.reply(name, "rejected").await;
        assert_eq!(reply.body["code"], *code, "{name}: {}", reply.body);
        assert_eq!(reply.body["field"].as_str(), *field, "{name}: {}", reply.body);
        assert!(reply.body["message"].as_str().is_some_and(|message| message.len() > 10), "{name}: {}", reply.body);
        let recorded: (String, Option<String>) = sqlx::query_as(
            "SELECT code, amqp_user FROM dead_letters WHERE kind = 'rejected_submission' AND message_id = $1",
        )
        .bind(name)
        .fetch_one(&world.pool)
        .await
        .unwrap();
        assert_eq!(recorded, ((*code).to_owned(), Some(producer.user.clone())), "{name}");
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);
    assert!(!world.blobs.join("images").exists(), "no image of a refused submission was stored");
    still_works(&world, &mut producer).await;
}

/// A good submission is accepted: the messages before it do not block the queue.
async fn still_works(world: &World, producer: &mut Producer) {
    producer.submit("good", &request("likeness_check", blank(), blank())).await;
    let id = producer.reply("good", "accepted").await.body["id"].as_str().unwrap().to_owned();
    let stored: String =
        sqlx::query_scalar("SELECT kind FROM jobs WHERE id = $1::uuid").bind(id).fetch_one(&world.pool).await.unwrap();
    assert_eq!(stored, "likeness_check");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_submits_is_decided_by_the_broker_and_never_by_the_message() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _visavis = world.spawn(&["intake", "relay"]).await;
    let body = request("face_match", blank(), blank()).to_string().into_bytes();

    let anonymous = lapin::BasicProperties::default()
        .with_message_id("anonymous".into())
        .with_correlation_id("anonymous".into())
        .with_reply_to(producer.reply_to.as_str().into());
    producer.publish(&body, anonymous).await;
    let refused = "SELECT count(*) FROM dead_letters WHERE message_id = 'anonymous' AND code = 'missing_user_id'";
    eventually("the refusal is recorded", A_WHILE, async || world.count(refused).await == 1).await;

    world.execute("UPDATE tenants SET amqp_user = NULL").await;
    producer.publish(&body, producer.properties("stranger")).await;
    assert_eq!(producer.reply("stranger", "rejected").await.body["code"], "unknown_organisation");

    let forged = producer.properties("forged").with_user_id("somebody-else".into());
    assert!(
        producer.replies().await.iter().all(|reply| reply.correlation_id != "anonymous"),
        "nobody knows whose queue it was"
    );
    assert!(producer.try_publish(&body, forged).await.is_err(), "the broker refuses a forged user_id");
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_twice_is_one_job_and_another_body_under_its_id_is_refused() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _visavis = world.spawn(&["intake", "relay"]).await;
    let first = request("face_match", blank(), blank());
    let second = request("face_match", blank(), small_face());

    producer.submit("one", &first).await;
    let accepted = producer.reply("one", "accepted").await;
    assert_eq!(accepted.body["duplicate"], false);
    let again = producer.properties("one").with_correlation_id("again".into());
    producer.publish(first.to_string().as_bytes(), again).await;
    let duplicate = producer.reply("again", "accepted").await;
    assert_eq!(duplicate.body["duplicate"], true);
    assert_eq!(duplicate.body["id"], accepted.body["id"]);
    let other = producer.properties("one").with_correlation_id("other".into());
    producer.publish(second.to_string().as_bytes(), other).await;
    assert_eq!(producer.reply("other", "rejected").await.body["code"], "idempotency_conflict");
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM images").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_only_to_queues_of_the_producers_own() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _visavis = world.spawn(&["intake", "relay"]).await;
    let others = [
        "visavis.work.bulk.v1",
        "visavis.submissions.v1",
        "another.replies",
        "amq.rabbitmq.reply-to.!!!.!!!",
        "amq.rabbitmq.reply-to.g1h2AAAA.AAAA",
    ];
    for queue in others {
        let properties = producer.properties(queue).with_reply_to(queue.into());
        producer.publish(request("face_match", blank(), blank()).to_string().as_bytes(), properties).await;
    }
    still_works(&world, &mut producer).await;
    eventually("all six were taken in", A_WHILE, async || world.count("SELECT count(*) FROM jobs").await == 6).await;
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE reply_to IS NOT NULL").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_queue_that_takes_nothing_holds_up_neither_answers_nor_work() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let full = format!("{}.full", producer.user);
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let declared =
        producer.channel.queue_declare(full.as_str().into(), QueueDeclareOptions::default(), arguments).await;
    declared.expect("a producer may declare its own queue");
    let _visavis = world.spawn(&["intake", "relay", "worker"]).await;
    let pair = request("likeness_check", blank(), blank());
    let unlucky = producer.properties("unlucky").with_reply_to(full.as_str().into());
    producer.publish(pair.to_string().as_bytes(), unlucky).await;
    let ended = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
    eventually("its job ends", A_WHILE, async || world.count(ended).await == 1).await;
    producer.submit("next", &pair).await;
    producer.reply("next", "completed").await;

    // Its replies are tried again, later each time, and then given up where an operator sees them.
    let waiting = "SELECT count(*) FROM outbox WHERE attempt > 0 AND published_at IS NULL";
    eventually("both were tried", A_WHILE, async || world.count(waiting).await == 2).await;
    world.execute("UPDATE outbox SET attempt = 8, next_at = now()").await;
    let buried = "SELECT count(*) FROM dead_letters WHERE kind = 'undelivered_reply'";
    eventually("they are given up", A_WHILE, async || world.count(buried).await == 2).await;
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_comes_back_with_another_queue_gets_its_answers_there() {
    let world = World::new().await;
    let (mut first, mut second) = (world.producer().await, world.producer().await);
    let intake = world.spawn(&["intake", "relay"]).await;
    let pair = request("likeness_check", blank(), blank());
    first.submit("one", &pair).await;
    first.reply("one", "accepted").await;
    second.submit("one", &pair).await;
    assert_eq!(second.reply("one", "accepted").await.body["duplicate"], true);
    let _worker = world.spawn(&["worker"]).await;
    let ended = second.reply("one", "completed").await;
    assert!(first.replies().await.iter().all(|reply| reply.kind == "accepted"), "the older address is out of use");
    // The job has ended: a producer that asks again gets both replies at once.
    first.submit("one", &pair).await;
    assert_eq!(first.reply("one", "completed").await.body, ended.body);
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 1);
    drop(intake);
}

/// A face in an unusual file, and the name of what is unusual.
fn unusual_but_good() -> Vec<(&'static str, Vec<u8>)> {
    let face = image::load_from_memory(small_face()).unwrap();
    let encode = |image: DynamicImage, format| {
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, format).unwrap();
        file.into_inner()
    };
    let rgb = face.to_rgb8();
    let cmyk: Vec<u8> = rgb.as_raw().chunks_exact(3).flat_map(|p| [255 - p[0], 255 - p[1], 255 - p[2], 0]).collect();
    let (width, height) = (u16::try_from(rgb.width()).unwrap(), u16::try_from(rgb.height()).unwrap());
    let mut cmyk_jpeg = Vec::new();
    Encoder::new(&mut cmyk_jpeg, 95).encode(&cmyk, width, height, ColorType::Cmyk).unwrap();
    vec![
        ("cmyk", cmyk_jpeg),
        ("16 bit", encode(face.to_rgb16().into(), ImageFormat::Png)),
        ("grey", encode(face.to_luma8().into(), ImageFormat::Jpeg)),
        ("alpha", encode(face.to_rgba8().into(), ImageFormat::Png)),
        ("webp", encode(face.to_rgb8().into(), ImageFormat::WebP)),
        ("turned, and EXIF says so", with_orientation(&encode(face.rotate270(), ImageFormat::Jpeg), 6)),
    ]
}

/// A file that pretends to be an image that we accept, with the code of its fault.
fn unusable() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let jpeg = photo("obama.jpg");
    let png = photo("no-face.png");
    vec![
        ("truncated JPEG", jpeg[..jpeg.len() / 2].to_vec(), "invalid_image"),
        ("truncated PNG", png[..png.len() / 2].to_vec(), "invalid_image"),
        ("magic bytes alone", jpeg[..4].to_vec(), "invalid_image"),
        ("100 megapixels", huge_png(10_000, 10_000), "too_many_pixels"),
        ("animated WebP", animated_webp(), "animated_image"),
        ("animated PNG", animated_png(), "animated_image"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_files_are_compared_and_unusable_ones_end_not_finished_with_the_reason() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _visavis = world.spawn(&["intake", "relay", "worker"]).await;
    let (good, bad) = (unusual_but_good(), unusable());
    for (name, file) in good.iter().chain(&bad.iter().map(|file| (file.0, file.1.clone())).collect::<Vec<_>>()) {
        // Without liveness: a photo made grey looks printed, and this test is about files.
        producer.submit(name, &request("likeness_check", small_face(), file)).await;
    }
    for (name, _) in &good {
        let reply = producer.reply(name, "completed").await;
        assert_eq!(reply.body["status"], "Approved", "{name}: {}", reply.body);
    }
    for (name, _, code) in &bad {
        let reply = producer.reply(name, "completed").await;
        assert_eq!(reply.body["verdict"], "not_finished", "{name}: {}", reply.body);
        assert_eq!(reply.body["score"], Value::Null, "{name}: {}", reply.body);
        let reason: String = sqlx::query_scalar(
            "SELECT result->'warnings'->0->>'additional_data' FROM jobs WHERE id = ($1::text)::uuid",
        )
        .bind(reply.body["id"].as_str().unwrap())
        .fetch_one(&world.pool)
        .await
        .unwrap();
        assert!(reason.starts_with(&format!("image=probe_image code={code}: ")), "{name}: {reason}");
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE attempt <> 1").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_erased_when_their_time_is_over_and_not_before() {
    let world = World::without_broker().await;
    let job = world.submit_pair("face_match", blank(), blank()).await;
    let kept = world.submit_pair("face_match", blank(), blank()).await;
    let blobs = || crate::support::blobs::count(&world.blobs);
    assert_eq!(blobs(), 4);
    let media = &world.intake.media;
    assert_eq!(visavis::janitor::erase_due(world.store(), media).await.unwrap(), 0, "a queued job keeps its images");

    for id in [job, kept] {
        let claim = world.store().claim_job(id).await.unwrap().unwrap();
        let failure = visavis::domain::job::Failure { code: "test".to_owned(), detail: "test".to_owned() };
        let _ = world.store().finish_failed(&claim, &failure).await.unwrap();
    }
    assert_eq!(visavis::janitor::erase_due(world.store(), media).await.unwrap(), 0, "retention counts from the end");
    sqlx::query("UPDATE images SET purge_at = now() WHERE job_id = $1").bind(job.0).execute(&world.pool).await.unwrap();
    assert_eq!(visavis::janitor::erase_due(world.store(), media).await.unwrap(), 2);
    assert_eq!(blobs(), 2);
    assert_eq!(world.store().list_images(world.tenant.id, job).await.unwrap().len(), 0);
    assert_eq!(world.store().list_images(world.tenant.id, kept).await.unwrap().len(), 2);
}
