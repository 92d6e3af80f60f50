//! An identity source over HTTP that misbehaves on request: how each answer is understood, and how the job ends.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use visavis::domain::identity::{IdNumber, IdType};
use visavis::identity::settings::{Secrets, parse};
use visavis::identity::{FoundIdentity, SourceError, Sources, Transient};
use visavis::net::Guard;
use wiremock::matchers::{any, body_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::identity_registry::assert_hidden;
use crate::support::photos::{blank, photo};
use crate::support::world::id_request;
use crate::support::{Api, World, eventually};

const NUMBER: &str = "22345678901";
const NAME: &str = "Zephyrine Quillfeather";
const TOKEN: &str = "t0ps3cret-t0ken";
const SOON: Duration = Duration::from_secs(30);

/// The sources of `settings`. In it `{server}` stands for the address of the server.
fn sources(world: &World, server: &MockServer, settings: &str) -> Sources {
    let env = |name: &str| (name == "TOKEN").then(|| TOKEN.to_owned());
    let settings = settings.replace("{server}", &server.uri());
    let settings = parse(&settings, &Secrets { env: &env, folder: world.path("").as_path() }).unwrap();
    Sources::new(settings, world.registry(), Guard::with_loopback()).unwrap()
}

async fn find(sources: &Sources, number: &str) -> Result<Option<FoundIdentity>, SourceError> {
    sources.find(IdType::Bvn, &IdNumber::parse(number).unwrap()).await
}

const SIMPLE: &str = r#"
[sources.bvn]
kind = "http"
url = "{server}/people/{id_number}"
portrait = "/photo"
attributes = "/person"
not_found = { pointer = "/code", equals = "UNKNOWN" }
timeout_seconds = 1
breaker = { calls = 1000 }
"#;

fn person(image: &[u8]) -> Value {
    json!({ "photo": BASE64_STANDARD.encode(image), "person": { "name": NAME } })
}

#[tokio::test]
async fn a_get_carries_the_number_in_its_url_and_secrets_in_its_headers() {
    let world = World::without_broker().await;
    let server = MockServer::start().await;
    std::fs::write(world.path("key"), "from-a-file\n").unwrap();
    let sources = sources(
        &world,
        &server,
        r#"
[sources.bvn]
kind = "http"
url = "{server}/v1/{id_type}/{id_number}?for={id_number}"
portrait = "/data/images/0/photo"
attributes = { name = "/data/full_name", born = "/data/born", tags = "/data/tags", nothing = "/data/nothing" }
[sources.bvn.headers]
Authorization = { env = "TOKEN", prefix = "Bearer " }
X-Key = { file = "key" }
X-Purpose = "kyc"
"#,
    );
    let answer = json!({ "data": {
        "images": [{ "photo": format!("data:image/png;base64,{}", BASE64_STANDARD.encode(blank())) }],
        "full_name": NAME, "born": "1961-08-04", "tags": ["a", 1], "internal": "not asked for",
    } });
    Mock::given(method("GET"))
        .and(path("/v1/bvn/22%2F3%204%25"))
        .and(query_param("for", "22/3 4%"))
        .and(header("authorization", format!("Bearer {TOKEN}")))
        .and(header("x-key", "from-a-file"))
        .and(header("x-purpose", "kyc"))
        .and(header("accept", "application/json"))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(1)
        .mount(&server)
        .await;
    let found = find(&sources, "22/3 4%").await.unwrap().unwrap();
    assert_eq!(found.portrait, blank());
    let expected = json!({ "name": NAME, "born": "1961-08-04", "tags": ["a", 1] });
    assert_eq!(Value::Object(found.record.attributes), expected);
}

#[tokio::test]
async fn a_post_carries_the_number_in_its_body_and_the_portrait_is_no_attribute() {
    let world = World::without_broker().await;
    let server = MockServer::start().await;
    let sources = sources(
        &world,
        &server,
        r#"
[sources.bvn]
kind = "http"
method = "POST"
url = "{server}/lookup"
body = '{"type": "{id_type}", "number": "{id_number}", "consent": true}'
portrait = "/person/photo"
attributes = "/person"
"#,
    );
    let mut answer = json!({ "person": { "name": NAME, "photo": BASE64_STANDARD.encode(blank()), "age": 64 } });
    Mock::given(method("POST"))
        .and(path("/lookup"))
        .and(header("content-type", "application/json"))
        .and(body_json(json!({ "type": "bvn", "number": "12\"3", "consent": true })))
        .respond_with(ResponseTemplate::new(200).set_body_json(&answer))
        .expect(1)
        .mount(&server)
        .await;
    let found = find(&sources, "12\"3").await.unwrap().unwrap();
    answer["person"].as_object_mut().unwrap().remove("photo");
    assert_eq!(Value::Object(found.record.attributes), answer["person"]);
}

#[tokio::test]
async fn id_types_without_a_source_of_their_own_have_the_registry() {
    let world = World::without_broker().await;
    let server = MockServer::start().await;
    let sources = sources(&world, &server, SIMPLE);
    let number = IdNumber::parse(NUMBER).unwrap();
    assert!(sources.find(IdType::Nin, &number).await.unwrap().is_none());
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

/// How an answer is understood.
#[derive(Debug, PartialEq)]
enum Taken {
    Found,
    NotFound,
    Transient,
    Permanent(&'static str),
}

fn taken(found: Result<Option<FoundIdentity>, SourceError>) -> Taken {
    match found {
        Ok(Some(_)) => Taken::Found,
        Ok(None) => Taken::NotFound,
        Err(SourceError::Transient(_)) => Taken::Transient,
        Err(SourceError::Permanent(fault)) => Taken::Permanent(fault.code()),
    }
}

#[tokio::test]
async fn each_answer_is_understood_as_what_it_is() {
    use Taken::{Found, NotFound, Transient};
    const REFUSED: Taken = Taken::Permanent("identity_source_refused");
    const MALFORMED: Taken = Taken::Permanent("identity_source_malformed");
    let world = World::without_broker().await;
    let server = MockServer::start().await;
    let sources = sources(&world, &server, SIMPLE);
    let ok = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    let status = ResponseTemplate::new;
    let base64 = BASE64_STANDARD.encode(blank());
    let cases = [
        ("good", ok(person(blank())), Found),
        ("created", status(201).set_body_json(person(blank())), Found),
        ("404", status(404), NotFound),
        ("404 with a portrait", status(404).set_body_json(person(blank())), NotFound),
        ("said so in a 200", ok(json!({ "code": "UNKNOWN" })), NotFound),
        ("said so in a 400", status(400).set_body_json(json!({ "code": "UNKNOWN" })), NotFound),
        ("a person without a photo", ok(json!({ "photo": null, "person": {} })), NotFound),
        ("a person with an empty photo", ok(json!({ "photo": "", "person": {} })), NotFound),
        ("500", status(500), Transient),
        ("502", status(502).set_body_json(person(blank())), Transient),
        ("503", status(503), Transient),
        ("429", status(429), Transient),
        ("408", status(408), Transient),
        ("too slow", ok(person(blank())).set_delay(Duration::from_secs(20)), Transient),
        ("401", status(401), REFUSED),
        ("401 that says not found", status(401).set_body_json(json!({ "code": "UNKNOWN" })), REFUSED),
        ("403", status(403), REFUSED),
        ("400", status(400).set_body_json(json!({ "code": "WRONG" })), REFUSED),
        ("422", status(422), REFUSED),
        ("a redirect", status(302).insert_header("location", "/people/1"), REFUSED),
        ("nothing", status(200), MALFORMED),
        ("not JSON", status(200).set_body_string("<html>"), MALFORMED),
        ("a list", ok(json!([person(blank())])), MALFORMED),
        ("no photo", ok(json!({ "person": {} })), MALFORMED),
        ("a photo that is a number", ok(json!({ "photo": 7, "person": {} })), MALFORMED),
        ("a photo that is not Base64", ok(json!({ "photo": "%%%", "person": {} })), MALFORMED),
        ("a photo that is no image", ok(json!({ "photo": "aGVsbG8=", "person": {} })), MALFORMED),
        ("no attributes", ok(json!({ "photo": base64 })), MALFORMED),
        ("attributes that are a list", ok(json!({ "photo": base64, "person": [] })), MALFORMED),
        ("attributes without end", ok(json!({ "photo": base64, "person": { "x": "y".repeat(300_000) } })), MALFORMED),
        ("an answer without end", status(200).set_body_bytes(vec![b' '; (16 << 20) + 1]), MALFORMED),
    ];
    for (name, answer, expected) in cases {
        server.reset().await;
        Mock::given(any()).respond_with(answer).expect(1).mount(&server).await;
        let found = find(&sources, NUMBER).await;
        if let Err(fault) = &found {
            let told = format!("{fault} {fault:?}");
            assert!(!told.contains(NUMBER) && !told.contains(NAME) && !told.contains("127.0.0.1"), "{told}");
        }
        assert_eq!(taken(found), expected, "{name}");
        server.verify().await;
    }
}

#[tokio::test]
async fn a_number_that_would_lead_to_another_path_is_not_asked_for() {
    let world = World::without_broker().await;
    let server = MockServer::start().await;
    let sources = sources(&world, &server, SIMPLE);
    for number in ["..", ".", "../..", "-", "?", "#"] {
        assert_eq!(taken(find(&sources, number).await), Taken::NotFound, "{number}");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
    Mock::given(any()).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    for number in ["../1", "%2e%2e/1", "1/..", "a\\..\\b", "1?x=y", "1#x"] {
        assert_eq!(taken(find(&sources, number).await), Taken::NotFound, "{number}");
    }
    for request in server.received_requests().await.unwrap() {
        let (path, query) = (request.url.path(), request.url.query());
        assert!(path.starts_with("/people/") && path.matches('/').count() == 2 && query.is_none(), "{path}");
    }
}

#[tokio::test]
async fn a_source_that_fails_is_left_alone_for_a_while_and_then_tried_again() {
    let world = World::without_broker().await;
    let server = MockServer::start().await;
    let sources = sources(&world, &server, &SIMPLE.replace("calls = 1000", "calls = 4, open_seconds = 1"));
    Mock::given(any()).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    for _ in 0..10 {
        assert_eq!(taken(find(&sources, NUMBER).await), Taken::NotFound, "an answer is no failure");
    }
    server.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(403)).mount(&server).await;
    for _ in 0..10 {
        assert_eq!(taken(find(&sources, NUMBER).await), Taken::Permanent("identity_source_refused"), "nor a refusal");
    }
    server.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).mount(&server).await;
    let suspended = async || matches!(find(&sources, NUMBER).await, Err(SourceError::Transient(Transient::Suspended)));
    let mut asked = 0;
    while !suspended().await {
        asked += 1;
        assert!(asked <= 5, "half of the last four calls failed, and it is still called");
    }
    assert!(suspended().await);
    assert_eq!(server.received_requests().await.unwrap().len(), asked, "nobody calls while the circuit is open");

    server.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(person(blank()))).mount(&server).await;
    eventually("it is tried again", SOON, async || taken(find(&sources, NUMBER).await) == Taken::Found).await;
    for _ in 0..10 {
        assert_eq!(taken(find(&sources, NUMBER).await), Taken::Found, "the circuit is closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_a_source_that_is_down_fails_by_one_that_refuses_and_leaves_no_trace_in_clear() {
    let world = World::new().await;
    let server = MockServer::start().await;
    let settings = r#"
[sources.bvn]
kind = "http"
url = "{server}/people/{id_number}"
portrait = "/photo"
attributes = "/person"
headers = { Authorization = { env = "BVN_TOKEN", prefix = "Bearer " } }
"#;
    let file = world.path("sources.toml");
    std::fs::write(&file, settings.replace("{server}", &server.uri())).unwrap();
    // A proxy in the environment must not be used.
    let proxy = MockServer::start().await;
    let changes = [
        ("VISAVIS_IDENTITY_SOURCES", file.to_str().unwrap()),
        ("VISAVIS_ALLOW_LOOPBACK_TARGETS", "true"),
        ("BVN_TOKEN", TOKEN),
        ("HTTP_PROXY", &proxy.uri()),
        ("http_proxy", &proxy.uri()),
        ("ALL_PROXY", &proxy.uri()),
        ("VISAVIS_LOG", "debug,lapin=error"),
    ];
    let process = world.spawn_with(&["all"], &changes).await;
    assert!(process.log().contains("WARN") && process.log().contains("VISAVIS_ALLOW_LOOPBACK_TARGETS is set"));
    let api = Api::of(&process, &world.tenant.api_key);
    let submit = async |number: &str| {
        let (_, accepted) = api.submit(None, &id_request("bvn", number, &photo("obama2.jpg"))).await;
        accepted["id"].as_str().unwrap().parse().map(visavis::domain::ids::JobId).unwrap()
    };
    let ended = async |job| api.get(&format!("/v1/jobs/{job}?wait=60")).await.1;

    let down = Mock::given(path(format!("/people/{NUMBER}"))).respond_with(ResponseTemplate::new(500));
    down.up_to_n_times(1).with_priority(1).mount(&server).await;
    let good = ResponseTemplate::new(200).set_body_json(person(&photo("obama.jpg")));
    Mock::given(path(format!("/people/{NUMBER}")))
        .and(header("authorization", format!("Bearer {TOKEN}")))
        .respond_with(good)
        .mount(&server)
        .await;
    Mock::given(path("/people/404")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    Mock::given(path("/people/401")).respond_with(ResponseTemplate::new(401)).mount(&server).await;

    let job = submit(NUMBER).await;
    eventually("the first attempt is over", SOON, async || {
        world.attempt(job).await == 1 && world.state(job).await == "queued"
    })
    .await;
    world.pass_backoff().await;
    let confirmed = ended(job).await;
    assert_eq!((&confirmed["verdict"], &confirmed["attempt"]), (&json!("approved"), &json!(2)), "{confirmed}");

    let unknown = ended(submit("404").await).await;
    assert_eq!((&unknown["verdict"], &unknown["attempt"]), (&json!("not_finished"), &json!(1)), "{unknown}");
    assert_eq!(unknown["warnings"][0]["risk"], "ID_NOT_FOUND");
    let refused = ended(submit("401").await).await;
    assert_eq!((&refused["state"], &refused["attempt"]), (&json!("failed"), &json!(1)), "{refused}");
    assert_eq!(refused["failure"]["code"], "identity_source_refused");
    assert!(!refused.to_string().contains("127.0.0.1"), "{refused}");

    assert_eq!(server.received_requests().await.unwrap().len(), 4);
    assert_eq!(proxy.received_requests().await.unwrap().len(), 0);
    assert_hidden(&world, &[process.log()], &[NUMBER, NAME, TOKEN]).await;
}
