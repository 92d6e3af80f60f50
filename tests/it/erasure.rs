//! The promise: what is erased, on request or when its retention ends, is nowhere any more.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;
use visavis::domain::ids::{ImageId, JobId};
use visavis::domain::image::Variant;
use visavis::domain::tenant::Account;
use visavis::images::Images;
use visavis::janitor::erase_due;
use visavis::store::jobs::Change;
use visavis::store::renditions::{NewRendition, RenditionInsert, StoredKey};

use crate::support::outcomes::{success, with_faces};
use crate::support::search::{self, Needle};
use crate::support::signatures::{canonical_receipt, verifies};
use crate::support::world::request;
use crate::support::{Api, World, api, blobs, eventually, photos};

const FACE: [f64; 4] = [100.0, 80.0, 160.0, 160.0];
const ID_NUMBER: &str = "NIN-4711-0815-2342";
const CASE: &str = "metadata-of-the-case-90210";
const SOME_ID: &str = "00000000-0000-7000-8000-000000000000";

fn images(world: &World) -> Images {
    Images::new(world.store().clone(), world.intake.media.clone(), "http://localhost").unwrap()
}

fn account(world: &World) -> Account {
    Account::live(world.tenant.id)
}

/// A job that ended with faces. Its two images were read once.
async fn seen(world: &World) -> JobId {
    let job = world.submit_pair("face_match", photos::small_face(), photos::small_face()).await;
    let claim = world.store().claim_job(job).await.unwrap().unwrap();
    let _ = world.store().finish_succeeded(&claim, &success(with_faces(&claim, FACE))).await.unwrap();
    read(world, job).await;
    job
}

async fn read(world: &World, job: JobId) {
    let (images, outcome) =
        (images(world), world.store().find_job(account(world), job).await.unwrap().unwrap().outcome);
    let urls = images.report_urls(world.tenant.id, job, outcome.as_ref()).await.unwrap();
    for url in [urls.source.unwrap(), urls.target.unwrap()] {
        let (path, query) = url.strip_prefix("http://localhost").unwrap().split_once('?').unwrap();
        images.read(images.verify(path, query).unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_erased_jobs_in_blobs_database_and_logs() {
    let world = World::new().await;
    let process = world.spawn(&["all"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let mut compared = request("face_match", photos::small_face(), photos::small_face());
    compared["metadata"] = json!({ "case": CASE });
    let (_, compared) = api.submit(None, &compared).await;
    let compared = compared["id"].as_str().unwrap();
    let selfie = photos::photo("small-face.png");
    let numbered = json!({
        "version": 1,
        "kind": "id_match",
        "metadata": { "case": CASE },
        "request": { "selfie": BASE64_STANDARD.encode(&selfie), "id_type": "nin", "id_number": ID_NUMBER },
    });
    let (status, numbered) = api.submit(None, &numbered).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{numbered}");
    let numbered = numbered["id"].as_str().unwrap();
    for id in [compared, numbered] {
        let (_, job) = api.get(&format!("/v1/jobs/{id}?wait=60")).await;
        assert!(!job["finished_at"].is_null(), "{job}");
    }
    let (_, report) = api.get(&format!("/v1/face-match/{compared}")).await;
    let urls = ["source_image", "target_image"].map(|field| report["face_match"][field].as_str().unwrap().to_owned());
    let mut needles = Needle::slices("the face", photos::small_face());
    needles.extend(Needle::slices("the selfie", &selfie));
    for url in &urls {
        let shown = api.anonymous(Method::GET, url).send().await.unwrap();
        assert_eq!(shown.status(), StatusCode::OK);
        needles.extend(Needle::slices("a rendition", &shown.bytes().await.unwrap()));
    }
    needles.extend([Needle::text("the ID number", ID_NUMBER), Needle::text("metadata", CASE)]);
    assert!(!search::database(&world.pool, &needles).await.is_empty(), "the search finds what is there");
    assert_eq!(search::files(&world.blobs, &needles), Vec::<String>::new(), "even before, blobs are encrypted");
    assert_eq!(blobs::count(&world.blobs), 5);

    let (_, jwks) = api.get("/.well-known/jwks.json").await;
    let scores = report["face_match"]["score"].to_string();
    for (id, images, renditions, records, verdict) in
        [(compared, 2, 2, 0, json!("approved")), (numbered, 1, 0, 1, json!("not_finished"))]
    {
        let (status, receipt) = api.delete(&format!("/v1/jobs/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{receipt}");
        assert_eq!(receipt["job_id"], id);
        assert_eq!(receipt["request_id"].as_str().unwrap().len(), 12);
        let counts = (&receipt["images"], &receipt["renditions"], &receipt["records"]);
        assert_eq!(counts, (&json!(images), &json!(renditions), &json!(records)));
        let signature = receipt["signature"].as_str().unwrap();
        assert!(verifies(signature, &canonical_receipt(&receipt), &jwks), "{receipt}");
        let mut altered = receipt.clone();
        altered["images"] = json!(0);
        assert!(!verifies(signature, &canonical_receipt(&altered), &jwks));
        assert_eq!(api.delete(&format!("/v1/jobs/{id}")).await, (StatusCode::OK, receipt.clone()), "the same again");

        let (status, job) = api.get(&format!("/v1/jobs/{id}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!((&job["verdict"], &job["result"], &job["metadata"]), (&verdict, &Value::Null, &json!({})), "{job}");
        assert_eq!((&job["erased_at"], &job["warnings"]), (&receipt["erased_at"], &json!([])));
    }
    assert_eq!(blobs::count(&world.blobs), 0);
    assert_eq!(search::database(&world.pool, &needles).await, Vec::<String>::new());
    assert_eq!(search::present(&process.log(), &needles, "the log"), Vec::<String>::new());
    let tables = "SELECT (SELECT count(*) FROM images) + (SELECT count(*) FROM renditions) + (SELECT count(*) FROM sealed_records)";
    assert_eq!(world.count(tables).await, 0, "no key is left either");
    let events: Vec<Value> = sqlx::query_scalar("SELECT payload FROM events").fetch_all(&world.pool).await.unwrap();
    assert_eq!(events.len(), 4, "an end and an erasure of each");
    assert!(
        events.iter().all(|event| event.get("score").is_none() && event.get("warnings").is_none()),
        "{events:?}, {scores}"
    );

    for url in &urls {
        let (status, problem) = api::send(api.anonymous(Method::GET, url)).await;
        assert_eq!((status, &problem["code"]), (StatusCode::GONE, &json!("image_erased")));
    }
    let (_, report) = api.get(&format!("/v1/face-match/{compared}")).await;
    let report = &report["face_match"];
    assert_eq!((&report["status"], &report["score"]), (&json!("Approved"), &Value::Null));
    assert_eq!((&report["source_image"], &report["target_image"]), (&Value::Null, &Value::Null));
    assert_eq!(report["warnings"][0]["risk"], "ERASED");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_erases_a_job_and_only_with_the_right_to() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let owner = Api::of(&process, &world.tenant.api_key);
    let stranger = Api::of(&process, &world.make_tenant("stranger", None).await.api_key);
    let job = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    let foreign = stranger.delete(&format!("/v1/jobs/{job}")).await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    assert_eq!(
        foreign,
        stranger.delete(&format!("/v1/jobs/{SOME_ID}")).await,
        "the answer does not tell that it exists"
    );
    assert_eq!(owner.delete("/v1/jobs/nonsense").await.0, StatusCode::NOT_FOUND);
    let test = Api::of(&process, &world.make_test_key().await);
    assert_eq!(
        test.delete(&format!("/v1/jobs/{job}")).await.0,
        StatusCode::NOT_FOUND,
        "a test key's account is another"
    );
    world.execute("UPDATE api_keys SET scopes = ARRAY['submit', 'read']").await;
    let (status, problem) = owner.delete(&format!("/v1/jobs/{job}")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("missing_scope")));
    assert_eq!((world.state(job).await.as_str(), blobs::count(&world.blobs)), ("queued", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_not_ended_is_cancelled_and_its_producer_told() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let process = world.spawn(&["api", "intake", "relay"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let mut body = request("face_match", photos::blank(), photos::blank());
    body["metadata"] = json!({ "case": CASE });
    let mut jobs = Vec::new();
    for name in ["queued", "running"] {
        producer.submit(name, &body).await;
        let accepted = producer.reply(name, "accepted").await;
        jobs.push(JobId(accepted.body["id"].as_str().unwrap().parse().unwrap()));
    }
    let claim = world.store().claim_job(jobs[1]).await.unwrap().unwrap();
    for (job, name) in jobs.iter().zip(["queued", "running"]) {
        let (status, receipt) = api.delete(&format!("/v1/jobs/{job}")).await;
        assert_eq!((status, &receipt["images"]), (StatusCode::OK, &json!(2)), "{receipt}");
        let told = producer.reply(name, "failed").await.body;
        assert_eq!((&told["state"], &told["failure"]["code"]), (&json!("cancelled"), &json!("cancelled")));
        assert_eq!(told["metadata"], json!({}));
        let (_, found) = api.get(&format!("/v1/jobs/{job}")).await;
        assert_eq!(
            (&found["state"], &found["verdict"], &found["failure"]),
            (&json!("cancelled"), &Value::Null, &Value::Null)
        );
        assert!(!found["finished_at"].is_null() && !found["erased_at"].is_null());
    }
    // The worker that runs the job changes nothing, and no other worker starts it again.
    let outcome = with_faces(&claim, FACE);
    assert_eq!(world.store().finish_succeeded(&claim, &success(outcome)).await.unwrap(), Change::Lost);
    assert_eq!(world.store().renew_lease(&claim).await.unwrap(), Change::Lost);
    assert_eq!(world.store().release_job(&claim, Duration::ZERO).await.unwrap(), Change::Lost);
    assert!(world.store().claim_job(jobs[0]).await.unwrap().is_none());
    assert_eq!(world.count("SELECT count(*) FROM outbox WHERE kind = 'doorbell'").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM usage").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM events WHERE type = 'image.erased'").await, 2);
    // A producer that submits it again gets its end again, and no new job.
    let again = producer.properties("queued").with_correlation_id("again".into());
    producer.publish(body.to_string().as_bytes(), again).await;
    assert_eq!(producer.reply("again", "accepted").await.body["state"], "cancelled");
    assert_eq!(producer.reply("again", "failed").await.body["failure"]["code"], "cancelled");
    assert_eq!(blobs::count(&world.blobs), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_were_not_delivered_keep_the_verdict_alone() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let job = seen(&world).await;
    // One reply of the job, and one that was asked for again, which names the job only in its payload.
    let insert = "INSERT INTO outbox (id, kind, tenant_id, job_id, reply_to, payload)
                  SELECT gen_random_uuid(), 'reply_final', $2, $3, 'q',
                         jsonb_build_object('id', $1::uuid, 'state', 'succeeded', 'verdict', 'approved', 'score', 99.5,
                                            'metadata', jsonb_build_object('case', 'x'))";
    for (tenant, named) in [(Some(world.tenant.id.0), Some(job.0)), (None, None)] {
        sqlx::query(insert).bind(job.0).bind(tenant).bind(named).execute(&world.pool).await.unwrap();
    }
    assert_eq!(api.delete(&format!("/v1/jobs/{job}")).await.0, StatusCode::OK);
    let payloads: Vec<Value> = sqlx::query_scalar("SELECT payload FROM outbox").fetch_all(&world.pool).await.unwrap();
    let thin = json!({ "id": job, "state": "succeeded", "verdict": "approved", "metadata": {} });
    assert_eq!(payloads, [thin.clone(), thin]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_takes_images_renditions_and_records_and_leaves_the_result() {
    let world = World::without_broker().await;
    let (job, kept) = (seen(&world).await, seen(&world).await);
    let sealed = "INSERT INTO sealed_records (job_id, purpose, tenant_id, master_key_id, wrapped_key, sealed, purge_at)
                  SELECT id, 'identity', tenant_id, 'test', 'x', 'x', now() + interval '1 hour' FROM jobs";
    world.execute(sealed).await;
    assert_eq!(blobs::count(&world.blobs), 8);
    let media = &world.intake.media;
    assert_eq!(erase_due(world.store(), media).await.unwrap(), 0);
    for statement in [
        "UPDATE images SET purge_at = now() WHERE job_id = $1",
        "UPDATE sealed_records SET purge_at = now() WHERE job_id = $1",
    ] {
        sqlx::query(statement).bind(job.0).execute(&world.pool).await.unwrap();
    }
    assert_eq!(erase_due(world.store(), media).await.unwrap(), 2);
    assert_eq!(blobs::count(&world.blobs), 4);
    for (job, left) in [(job, 0), (kept, 1)] {
        let rows = "SELECT (SELECT count(*) FROM images WHERE job_id = $1)";
        assert_eq!(world.scalar::<i64>(rows, job).await, 2 * left);
        let rows = "SELECT count(*) FROM renditions JOIN images ON images.id = image_id WHERE job_id = $1";
        assert_eq!(world.scalar::<i64>(rows, job).await, 2 * left);
        assert_eq!(world.scalar::<i64>("SELECT count(*) FROM sealed_records WHERE job_id = $1", job).await, left);
    }
    let found = world.store().find_job(account(&world), job).await.unwrap().unwrap();
    assert!(found.outcome.is_some() && found.erased_at.is_none(), "the result stays");
    // The receipt can still be read, and no image is left to count.
    let receipt = images(&world).erase_job(account(&world), job).await.unwrap().unwrap();
    assert_eq!((&receipt["images"], &receipt["renditions"]), (&json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_interrupted_is_ended_by_the_janitor_or_by_the_next_request() {
    let world = World::without_broker().await;
    let (first, second) = (seen(&world).await, seen(&world).await);
    for job in [first, second] {
        // As far as the first commit, and no further.
        let mut tx = world.store().begin().await.unwrap();
        let locked = tx.lock_job(account(&world), job).await.unwrap().unwrap();
        tx.erase_keys(&locked).await.unwrap();
        tx.mark_erased(&locked, &json!({ "job_id": job })).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(blobs::count(&world.blobs), 8);
    assert_eq!(world.count("SELECT count(*) FROM images WHERE wrapped_key IS NOT NULL").await, 0, "noise from here on");
    assert_eq!(world.count("SELECT count(*) FROM renditions WHERE wrapped_key IS NOT NULL").await, 0);
    let receipt = images(&world).erase_job(account(&world), first).await.unwrap().unwrap();
    assert_eq!(receipt, json!({ "job_id": first }), "what was stored");
    assert_eq!(blobs::count(&world.blobs), 4);
    erase_due(world.store(), &world.intake.media).await.unwrap();
    assert_eq!(blobs::count(&world.blobs), 0);
    assert_eq!(world.count("SELECT count(*) FROM images").await, 0);
}

/// Each call once held a connection while it asked the pool for another. With more calls than connections, all waited
/// for each other.
#[tokio::test(flavor = "multi_thread")]
async fn more_erasures_at_once_than_the_database_has_connections_for_all_get_the_receipt() {
    let world = World::without_broker().await;
    let job = seen(&world).await;
    let (images, account) = (images(&world), account(&world));
    let first = images.erase_job(account, job).await.unwrap().unwrap();
    let calls = std::iter::repeat_with(|| images.erase_job(account, job)).take(200);
    for receipt in futures_util::future::join_all(calls).await {
        assert_eq!(receipt.unwrap().as_ref(), Some(&first));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendition_that_is_made_while_its_image_is_erased_is_not_kept() {
    let world = World::without_broker().await;
    let job = seen(&world).await;
    let image: Uuid = world.scalar("SELECT id FROM images WHERE job_id = $1 AND role = 'probe'", job).await;
    let insert = async |variant, id| {
        let key = StoredKey { master_key_id: "test".to_owned(), wrapped_key: vec![1] };
        let rendition = NewRendition { id, image_id: ImageId(image), variant, key };
        world.store().insert_rendition(world.tenant.id, &rendition).await.unwrap()
    };
    assert_eq!(insert(Variant::Whole, Uuid::now_v7()).await, RenditionInsert::Exists, "the first one stands");
    assert_eq!(insert(Variant::Portrait, Uuid::now_v7()).await, RenditionInsert::Done);
    // The lock of the rendition's insert waits for the erasure's commit, and then finds no image.
    let mut tx = world.store().begin().await.unwrap();
    let locked = tx.lock_job(account(&world), job).await.unwrap().unwrap();
    tx.erase_keys(&locked).await.unwrap();
    let waiting = insert(Variant::Whole, Uuid::now_v7());
    let erasing = async {
        let blocked =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the maker waits", Duration::from_secs(20), async || world.count(blocked).await == 1).await;
        tx.mark_erased(&locked, &json!({})).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (kept, ()) = tokio::join!(waiting, erasing);
    assert_eq!(kept, RenditionInsert::Gone);
}
