//! Measures a job from the HTTP request to its verdict, through the queue: `cargo bench --bench http`. It calls the
//! server at `VISAVIS_URL` with the key in `VISAVIS_TEST_KEY` (sandbox: no model runs), or else in `VISAVIS_KEY`.

#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark without its server cannot run")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Numbers of concurrent clients.
const LEVELS: [usize; 4] = [1, 8, 32, 128];
/// A level ends after this number of jobs or this time.
const JOBS: usize = 2000;
const TIME: Duration = Duration::from_secs(15);

/// The smallest image, to measure only the way through the queue, and one as large as a camera makes it.
const PICTURES: [(&str, Picture); 2] =
    [("a 4 x 4 PNG", Picture::Square), ("a photo of 184 kB", Picture::Photo("obama2.jpg"))];

#[derive(Clone, Copy)]
enum Picture {
    Square,
    Photo(&'static str),
}

/// How a job is submitted and its verdict obtained.
#[derive(Clone, Copy)]
enum Face {
    /// One call, which waits for the verdict.
    Sync,
    /// One call to submit, one that waits.
    Native,
}

#[derive(Clone)]
struct Caller {
    client: Client,
    base: String,
    key: String,
    body: Arc<str>,
    face: Face,
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(run());
}

async fn run() {
    let base = setting("VISAVIS_URL").expect("VISAVIS_URL says where the server is: ./dev up, then . .local/env");
    let key = setting("VISAVIS_TEST_KEY").or_else(|| setting("VISAVIS_KEY")).expect("VISAVIS_TEST_KEY holds a key");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client can be made");
    if !key.starts_with("vv_test_") {
        println!("with a live key: the models compute too");
    }
    let face = face(&client, &base).await;
    for (name, picture) in PICTURES {
        let body = body(face, picture).into();
        let caller = Caller { client: client.clone(), base: base.clone(), key: key.clone(), body, face };
        // Warm-up: first connections and query plans are not measured.
        caller.job().await.unwrap_or_else(|fault| panic!("the server does not take the job: {fault}"));
        println!("\n{}, two images of {name}", describe(face));
        println!(
            "{:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "clients", "jobs", "jobs/s", "p50 ms", "p95 ms", "p99 ms", "errors"
        );
        for clients in LEVELS {
            println!("{}", level(&caller, clients).await);
        }
    }
}

/// One line of the table.
async fn level(caller: &Caller, clients: usize) -> String {
    let (taken, since) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (caller, taken) = (caller.clone(), Arc::clone(&taken));
        tasks.spawn(async move {
            let (mut times, mut faults) = (Vec::new(), Vec::new());
            while since.elapsed() < TIME && taken.fetch_add(1, Ordering::Relaxed) < JOBS {
                let start = Instant::now();
                match caller.job().await {
                    Ok(()) => times.push(start.elapsed()),
                    Err(fault) => faults.push(fault),
                }
            }
            (times, faults)
        });
    }
    let results = tasks.join_all().await;
    let spent = since.elapsed().as_secs_f64();
    let (times, faults): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    let (mut times, faults) = (times.concat(), faults.concat());
    times.sort_unstable();
    let at = |percent: usize| {
        // The smallest time that this percentage of jobs did not exceed.
        let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
        times.get(rank).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = times.len() as f64 / spent;
    let mut line = format!(
        "{clients:>8} {:>8} {rate:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8}",
        times.len(),
        at(50),
        at(95),
        at(99),
        faults.len()
    );
    if let Some(fault) = faults.first() {
        let _ = write!(line, "  ({fault})");
    }
    line
}

impl Caller {
    /// The time from the first byte of the request to the last byte of the verdict.
    async fn job(&self) -> Result<(), String> {
        match self.face {
            Face::Sync => {
                let answer = send(self.request(Method::POST, "/likeness_check").body(self.body.to_string())).await?;
                answer["result"]["similarity"].as_f64().map(drop).ok_or_else(|| answer.to_string())
            }
            Face::Native => {
                let accepted = send(self.request(Method::POST, "/v1/jobs").body(self.body.to_string())).await?;
                let path = accepted["links"]["self"].as_str().ok_or("no link to the job")?;
                let job = send(self.request(Method::GET, &format!("{path}?wait=60"))).await?;
                (job["state"] == "succeeded").then_some(()).ok_or_else(|| format!("the job is {}", job["state"]))
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.bearer_auth(&self.key).header("content-type", "application/json")
    }
}

async fn send(request: RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.text().await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{status}: {body}"));
    }
    serde_json::from_str(&body).map_err(|error| error.to_string())
}

/// The synchronous path, if this version has it.
async fn face(client: &Client, base: &str) -> Face {
    let response = client.post(format!("{base}/likeness_check")).send().await.expect("the server answers");
    if response.status() == reqwest::StatusCode::NOT_FOUND { Face::Native } else { Face::Sync }
}

fn describe(face: Face) -> &'static str {
    match face {
        Face::Sync => "POST /likeness_check",
        Face::Native => "POST /v1/jobs, then GET ?wait",
    }
}

fn body(face: Face, picture: Picture) -> String {
    let image = match picture {
        Picture::Square => visavis::docs::requests::EXAMPLE_IMAGE.to_owned(),
        Picture::Photo(name) => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/photos").join(name);
            BASE64_STANDARD.encode(std::fs::read(path).expect("the test photos lie in the repository"))
        }
    };
    let request = json!({ "photo": image, "probe_image": image });
    match face {
        Face::Sync => request.to_string(),
        Face::Native => {
            json!({ "version": 1, "kind": "likeness_check", "lane": "interactive", "request": request }).to_string()
        }
    }
}

fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads its target from the environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
