//! A message that no client can read: one of its properties is not UTF-8. The broker passes it on, and AMQP libraries
//! refuse it by cutting the connection. Its neighbours must still be handled, and the service must not stop.

use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::World;
use crate::support::photos::blank;
use crate::support::world::request;

const GOOD: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_client_can_read_takes_no_neighbour_along() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _relay = world.spawn(&["relay"]).await;
    let pair = request("likeness_check", blank(), blank());
    // All of them wait in the queue together, the unreadable one among the others.
    for n in 0..GOOD {
        if n == 2 {
            publish_unreadable(&world.amqp, &world.vhost).await;
        }
        producer.submit(&format!("good {n}"), &pair).await;
    }
    let mut intake = world.spawn(&["intake"]).await;
    for n in 0..GOOD {
        producer.reply(&format!("good {n}"), "accepted").await;
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 20);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0, "no neighbour was given up on");
    assert!(intake.log().contains("consumer lost"), "it did cut the connection");
    intake.ask_to_stop();
    assert!(intake.exit().await.success());
}

/// A submission whose message id is not UTF-8, in frames that we build (AMQP 0-9-1, sections 2.3 and 4.2).
async fn publish_unreadable(broker: &Url, vhost: &str) {
    let (user, password) = (broker.username(), broker.password().unwrap_or_default());
    let address = (broker.host_str().unwrap(), broker.port().unwrap_or(5672));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    expect(&mut stream, 10, 10).await;
    let response = format!("\0{user}\0{password}");
    let length = u32::try_from(response.len()).unwrap().to_be_bytes();
    let start_ok = [&[0; 4], short(b"PLAIN").as_slice(), &length, response.as_bytes(), &short(b"en_US")].concat();
    method(&mut stream, 0, 10, 11, &start_ok).await;
    expect(&mut stream, 10, 30).await;
    method(&mut stream, 0, 10, 31, &[0, 16, 0, 2, 0, 0, 0, 0]).await;
    method(&mut stream, 0, 10, 40, &[short(vhost.as_bytes()).as_slice(), &[0, 0]].concat()).await;
    expect(&mut stream, 10, 41).await;
    method(&mut stream, 1, 20, 10, &[0]).await;
    expect(&mut stream, 20, 11).await;
    method(&mut stream, 1, 85, 10, &[0]).await;
    expect(&mut stream, 85, 11).await;

    method(&mut stream, 1, 60, 40, &[&[0, 0], short(b"visavis.submissions").as_slice(), &[0, 0]].concat()).await;
    // Delivery mode, message id, user id.
    let flags: u16 = 1 << 12 | 1 << 7 | 1 << 4;
    let properties = [&[2], short(b"\xFF\xFE\xFD").as_slice(), &short(user.as_bytes())].concat();
    let header = [&[0, 60, 0, 0], 2_u64.to_be_bytes().as_slice(), &flags.to_be_bytes(), &properties].concat();
    frame(&mut stream, 2, 1, &header).await;
    frame(&mut stream, 3, 1, b"{}").await;
    expect(&mut stream, 60, 80).await;
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

async fn method(stream: &mut TcpStream, channel: u16, class: u16, method: u16, arguments: &[u8]) {
    let payload = [&class.to_be_bytes(), method.to_be_bytes().as_slice(), arguments].concat();
    frame(stream, 1, channel, &payload).await;
}

async fn frame(stream: &mut TcpStream, kind: u8, channel: u16, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let frame = [&[kind], channel.to_be_bytes().as_slice(), &length, payload, &[0xCE]].concat();
    stream.write_all(&frame).await.unwrap();
}

/// Reads frames up to that method.
async fn expect(stream: &mut TcpStream, class: u16, method: u16) {
    loop {
        let mut head = [0; 7];
        stream.read_exact(&mut head).await.expect("the broker keeps the connection");
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; length as usize + 1];
        stream.read_exact(&mut payload).await.unwrap();
        let found = [payload[0], payload[1], payload[2], payload[3]];
        if found == [class.to_be_bytes(), method.to_be_bytes()].concat()[..] {
            return;
        }
    }
}
