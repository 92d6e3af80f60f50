//! A server that speaks S3 on a loopback port: it checks signatures, and keeps objects in a folder. See `tests/s3`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use visavis::media::S3Settings;

pub const BUCKET: &str = "faces";
const KEY_ID: &str = "test-key-id";
const SECRET: &str = "test-secret";

pub struct S3Server {
    pub endpoint: String,
    folder: TempDir,
    process: Child,
}

impl S3Server {
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket can be made");
        // `cargo test` builds it; `cargo test --test it` alone does not.
        let peer = Path::new(env!("CARGO_BIN_EXE_visavis")).with_file_name("s3-peer");
        let mut command = Command::new(peer);
        command.arg(folder.path()).args([KEY_ID, SECRET]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the peer starts: cargo build -p s3-peer makes it");
        let mut address = String::new();
        let output = process.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut address).expect("it prints its address");
        Self { endpoint: format!("http://{}", address.trim()), folder, process }
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
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
