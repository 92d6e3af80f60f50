//! Bodies that are announced and do not come: they cost their sender a connection, and nobody else anything.

use std::time::Duration;

use axum::http::Request;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use h2::client::SendRequest;
use reqwest::{Body, Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::photos::blank;
use crate::support::process::Process;
use crate::support::world::request;
use crate::support::{Api, World, api, eventually};

const LARGEST: usize = 80 << 20;

/// The head of a request that announces the largest body, on a connection of HTTP/1.1.
async fn announce(process: &Process, key: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(process.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: visavis\r\nAuthorization: Bearer {key}\r\nContent-Length: {LARGEST}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status line of the answer, once it comes.
async fn status(mut stream: TcpStream) -> String {
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

/// The same on a stream of HTTP/2.
fn announce_2(
    client: &mut SendRequest<bytes::Bytes>,
    key: &str,
) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let head = Request::post("http://visavis/v1/jobs").header("authorization", format!("Bearer {key}"));
    let head = head.header("content-length", LARGEST).body(()).unwrap();
    client.send_request(head, false).unwrap()
}

async fn connect_2(process: &Process) -> SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(process.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "no tracker in a test")]
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// A good request as large as may be.
fn large() -> Vec<u8> {
    let mut body = request("face_match", blank(), blank()).to_string().into_bytes();
    body.resize(LARGEST, b' ');
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_bodies_take_no_place_from_anybody() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let other = Api::of(&process, &world.make_tenant("other", None).await.api_key);
    let flooder = Api::of(&process, &world.tenant.api_key);
    let keys = [world.tenant.api_key.clone(), world.make_test_key().await];

    let mut sockets = Vec::new();
    for key in keys.iter().cycle().take(60) {
        let mut socket = announce(&process, key, "/v1/jobs").await;
        socket.write_all(b"{ \"version\"").await.unwrap();
        sockets.push(socket);
    }
    let mut client = connect_2(&process).await;
    let mut streams = Vec::new();
    for key in keys.iter().cycle().take(60) {
        let (answer, mut body) = announce_2(&mut client, key);
        body.send_data("{ \"version\"".into(), false).unwrap();
        streams.push((answer, body));
    }

    let small = request("face_match", blank(), blank());
    for caller in [&other, &flooder] {
        assert_eq!(caller.submit(None, &small).await.0, StatusCode::ACCEPTED);
    }
    let post = || other.request(Method::POST, "/v1/jobs").body(large());
    assert_eq!(api::send(post()).await.0, StatusCode::ACCEPTED);
    drop((sockets, streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_chunked_bodies_at_once_are_all_taken() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let body = request("face_match", blank(), blank()).to_string();
    let mut pending = tokio::task::JoinSet::new();
    let mut ends = Vec::new();
    for _ in 0..12 {
        let (sender, receiver) = mpsc::unbounded_channel::<Result<String, std::io::Error>>();
        sender.send(Ok(body.clone())).unwrap();
        ends.push(sender);
        let chunks = stream::unfold(receiver, async |mut chunks| Some((chunks.recv().await?, chunks)));
        let post = api.request(Method::POST, "/v1/jobs").body(Body::wrap_stream(chunks));
        pending.spawn(async { api::send(post).await.0 });
    }
    // All are under way; a refused one would be answered now.
    let early = tokio::time::timeout(Duration::from_secs(1), pending.join_next()).await;
    assert!(early.is_err(), "one was refused while it waited for its end: {early:?}");
    drop(ends);
    assert_eq!(pending.join_all().await, [StatusCode::ACCEPTED; 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_half_of_the_memory_is_refused_and_the_others_are_not() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let other = Api::of(&process, &world.make_tenant("other", None).await.api_key);
    let mut held = Vec::new();
    for key in [&world.tenant.api_key, &world.make_test_key().await] {
        let mut socket = announce(&process, key, "/v1/jobs").await;
        socket.write_all(&vec![b' '; LARGEST - 1]).await.unwrap();
        held.push(socket);
    }
    // A third of this size would be more than half of 448 MiB. The client hears it before it sends the body.
    eventually("the third is refused", Duration::from_mins(1), async || {
        let third = announce(&process, &world.tenant.api_key, "/v1/jobs").await;
        let answer = tokio::time::timeout(Duration::from_millis(500), status(third)).await;
        answer.is_ok_and(|line| line == "HTTP/1.1 429")
    })
    .await;
    let flooder = Api::of(&process, &world.tenant.api_key);
    let small = request("face_match", blank(), blank());
    assert_eq!(flooder.submit(None, &small).await.0, StatusCode::ACCEPTED, "small bodies have a reserve");
    let post = other.request(Method::POST, "/v1/jobs").body(large());
    assert_eq!(api::send(post).await.0, StatusCode::ACCEPTED);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_before_the_body_is_read() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let forged = format!("vv_live_{}_{}", "0".repeat(16), BASE64_STANDARD.encode([0; 32]));
    for path in ["/v1/jobs", "/v1/images", "/v1/webhooks", "/v1/liveness/challenges", "/likeness_check"] {
        let line = status(announce(&process, &forged, path).await).await;
        assert_eq!(line, "HTTP/1.1 401", "{path}");
    }
    let (answer, _body) = announce_2(&mut connect_2(&process).await, &forged);
    assert_eq!(answer.await.unwrap().status().as_u16(), 401);
}
