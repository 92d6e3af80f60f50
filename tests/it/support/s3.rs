//! A server that speaks S3 on a loopback port: it checks signatures, and keeps objects in a folder.

use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use visavis::media::S3Settings;

pub const BUCKET: &str = "faces";
const KEY_ID: &str = "test-key-id";
const SECRET: &str = "test-secret";

pub struct S3Server {
    pub endpoint: String,
    folder: TempDir,
    serving: JoinHandle<()>,
}

impl S3Server {
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket can be made");
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).expect("a folder of ours"));
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it listens"));
        let serving = tokio::spawn(async move {
            let connections = Builder::new(TokioExecutor::new());
            while let Ok((stream, _)) = listener.accept().await {
                let connection = connections.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self { endpoint, folder, serving }
    }

    /// Where the objects lie.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    pub fn settings(&self, prefix: &str) -> S3Settings {
        S3Settings {
            bucket: BUCKET.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: Some(self.endpoint.clone()),
            region: "us-east-1".to_owned(),
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: None,
        }
    }

    /// For a process that keeps its blobs here.
    pub fn environment(&self) -> [(&'static str, &str); 5] {
        [
            ("VISAVIS_BLOBS", "s3://faces/some/prefix"),
            ("VISAVIS_S3_ENDPOINT", &self.endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ]
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
