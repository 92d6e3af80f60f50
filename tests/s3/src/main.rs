//! `s3-peer FOLDER KEY_ID SECRET`: serves the folder's subfolders as buckets, on a free loopback port. Prints the
//! address, and ends when its standard input does: no test that dies leaves it running.
#![expect(clippy::expect_used, reason = "a fault ends the peer, and the test that started it fails")]

use std::env;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [folder, key_id, secret] = &arguments[..] else { panic_usage() };
    let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).expect("the folder is there"));
    builder.set_auth(SimpleAuth::from_single(key_id.as_str(), secret.as_str()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("{}", listener.local_addr().expect("it listens"));
    let input_ends = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        () = serve(listener, builder.build()) => {}
        _ = input_ends => std::process::exit(0),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's process has no shutdown to wait for")]
async fn serve(listener: TcpListener, service: S3Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let connections = Builder::new(TokioExecutor::new());
            let _ = connections.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[expect(clippy::panic, reason = "only tests call it")]
fn panic_usage() -> ! {
    panic!("usage: s3-peer FOLDER KEY_ID SECRET")
}
