//! Promise: an identity source that does not answer delays nobody but those who ask it.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use visavis::domain::identity::{IdNumber, IdType, IdentityRecord};

use crate::support::photos::photo;
use crate::support::world::{id_request, request};
use crate::support::{Api, World, eventually};

const SOON: Duration = Duration::from_mins(2);
/// More than a worker takes in hand.
const JOBS: i64 = 12;

/// A source that takes calls, and answers none of them before it is told to.
struct SlowSource {
    address: String,
    calls: watch::Receiver<i64>,
    answers: watch::Sender<bool>,
}

impl SlowSource {
    #[expect(clippy::disallowed_methods, reason = "no tracker in a test")]
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (counted, calls) = watch::channel(0);
        let (answers, told) = watch::channel(false);
        let body =
            json!({ "photo": BASE64_STANDARD.encode(photo("obama.jpg")), "person": { "name": "N" } }).to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (counted, mut told, body) = (counted.clone(), told.clone(), body.clone());
                tokio::spawn(async move {
                    let mut asked = [0; 4096];
                    if stream.read(&mut asked).await.is_ok_and(|bytes| bytes > 0) {
                        counted.send_modify(|calls| *calls += 1);
                        let _ = told.wait_for(|told| *told).await;
                        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                        let _ = stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await;
                    }
                });
            }
        });
        Self { address, calls, answers }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_face_match_and_another_source_and_another_organisation_do_not_wait_for_a_source_that_is_slow() {
    let world = World::new().await;
    let source = SlowSource::start().await;
    let file = world.path("sources.toml");
    let settings = format!(
        "[sources.bvn]\nkind = \"http\"\nurl = \"http://{}/{{id_number}}\"\nportrait = \"/photo\"\n\
         attributes = \"/person\"\ntimeout_seconds = 30\ncalls_at_once = 4\n",
        source.address
    );
    std::fs::write(&file, settings).unwrap();
    let number = IdNumber::parse("1").unwrap();
    let nobody = IdentityRecord { attributes: serde_json::Map::new() };
    world.registry().put(IdType::Nin, &number, &nobody, &photo("obama.jpg").into()).await.unwrap();
    let selfie = photo("obama2.jpg");
    for number in 0..JOBS {
        let mut body = id_request("bvn", &number.to_string(), &selfie);
        body["lane"] = json!("interactive");
        world.submit(None, body.to_string().as_bytes()).await.unwrap();
    }
    let changes = [("VISAVIS_IDENTITY_SOURCES", file.to_str().unwrap()), ("VISAVIS_ALLOW_LOOPBACK_TARGETS", "true")];
    let process = world.spawn_with(&["all"], &changes).await;
    let called = async |calls| *source.calls.borrow() == calls;
    eventually("one organisation has half of the calls", SOON, async || called(2).await).await;
    let put_off =
        "SELECT count(*) FROM jobs WHERE state = 'queued' AND attempt = 0 AND epoch > 0 AND run_after > now()";
    eventually("the others are put off", SOON, async || world.count(put_off).await >= 1).await;

    let api = Api::of(&process, &world.tenant.api_key);
    let ended = async |api: &Api, body: Value| {
        let (_, accepted) = api.submit(None, &body).await;
        api.get(&format!("/v1/jobs/{}?wait=60", accepted["id"].as_str().unwrap())).await.1
    };
    let waiting = "SELECT count(*) FROM jobs WHERE params->>'id_type' = 'bvn' AND finished_at IS NULL";
    let face_match = ended(&api, request("face_match", &photo("obama.jpg"), &selfie)).await;
    assert_eq!(face_match["state"], "succeeded", "{face_match}");
    let other_source = ended(&api, id_request("nin", "1", &selfie)).await;
    assert_eq!(other_source["verdict"], "approved", "{other_source}");
    let other = world.make_tenant("other", None).await;
    Api::of(&process, &other.api_key).submit(None, &id_request("bvn", "1", &selfie)).await;
    eventually("another organisation's call is made", SOON, async || *source.calls.borrow() >= 3).await;
    assert_eq!(world.count(waiting).await, JOBS + 1, "the source has answered nobody");

    source.answers.send_replace(true);
    eventually("all of them end when the source answers", SOON, async || {
        world.execute("UPDATE jobs SET run_after = now() WHERE state = 'queued'").await;
        world.execute("UPDATE outbox SET next_at = now(), published_at = NULL WHERE kind = 'doorbell'").await;
        world.count(waiting).await == 0
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE state = 'succeeded'").await, JOBS + 3);
}
