//! Starts the peer. This test also has `cargo test` build the binary, which the tests of buckets start.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn it_refuses_strangers_and_ends_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("faces")).unwrap();
    let mut peer = Command::new(env!("CARGO_BIN_EXE_s3-peer"))
        .arg(folder.path())
        .args(["key", "secret"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(peer.stdout.take().unwrap()).read_line(&mut address).unwrap();

    let mut stream = TcpStream::connect(address.trim()).unwrap();
    stream.write_all(b"GET /faces/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");

    drop(peer.stdin.take());
    assert!(peer.wait().unwrap().success());
}
