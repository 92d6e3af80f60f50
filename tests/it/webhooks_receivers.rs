//! What our users run against the real executable: the example receivers with the official libraries of their
//! languages, `visavis listen` and `visavis webhooks tail`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Client;
use visavis::webhooks::signature::Secret;

use crate::support::deliveries::{SOON, await_state, endpoint, endpoints, event, live};
use crate::support::environment::receivers;
use crate::support::receiver::Receiver;
use crate::support::{World, eventually, obtain};

/// A child whose output goes to a file; dropping it kills it.
struct Program {
    child: Child,
    output: PathBuf,
}

impl Program {
    fn start(mut command: Command, output: PathBuf) -> Self {
        let file = File::create(&output).unwrap();
        let errors = file.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().expect("the program starts");
        Self { child, output }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    /// The first line of its output with that word, once there is one.
    async fn line(&mut self, word: &str) -> String {
        let what = format!("a line with {word}");
        let found = obtain(&what, SOON, async || {
            assert!(self.child.try_wait().unwrap().is_none(), "the program ended: {}", self.output());
            let output = self.output();
            // A line that is not complete yet does not count.
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            whole.lines().find(|line| line.contains(word)).map(ToOwned::to_owned)
        });
        found.await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python(folder: &Path) -> Command {
    let mut command = Command::new("python3");
    command.current_dir(folder.join("python")).arg("receiver.py");
    command
}

fn node(folder: &Path) -> Command {
    let mut command = Command::new("node");
    command.current_dir(folder.join("typescript")).arg("receiver.js");
    command
}

/// The receiver accepts what the dispatcher signs, also during a rotation, and nothing else.
async fn takes_what_is_signed(mut command: Command) {
    let world = World::without_broker().await;
    let made = endpoint(&world, "http://127.0.0.1:9/").await;
    command.env("WEBHOOK_SECRET", &made.secret).env("PORT", "0");
    let mut receiver = Program::start(command, world.path("receiver.log"));
    let url = receiver.line("listening on ").await.split(' ').next_back().unwrap().to_owned();
    let set = sqlx::query("UPDATE webhook_endpoints SET url = $1");
    set.bind(&url).execute(&world.pool).await.unwrap();
    // The role `webhooks` needs no RabbitMQ.
    let dispatcher = world.spawn_with(&["webhooks"], &[("VISAVIS_ALLOW_LOOPBACK_TARGETS", "1")]).await;
    let first = event(&world).await;
    receiver.line(&format!("job.completed {first}")).await;
    let rotated = endpoints(&world).rotate(live(&world), made.endpoint.id, Duration::from_hours(1)).await.unwrap();
    assert!(rotated.is_ok());
    let second = event(&world).await;
    receiver.line(&format!("job.completed {second}")).await;
    await_state(&world, "delivered", 2).await;
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempts WHERE status = 204").await, 2);

    // Once the grace period is over, the old secret no longer works.
    world.pass(Duration::from_hours(1)).await;
    event(&world).await;
    eventually("the receiver refuses what its secret did not sign", SOON, async || {
        world.count("SELECT count(*) FROM delivery_attempts WHERE status = 400").await == 1
    })
    .await;
    let forged = Client::builder().no_proxy().build().unwrap().post(&url).header("webhook-id", "1");
    let forged = forged.header("webhook-timestamp", "1614265330").header("webhook-signature", "v1,AAAA").body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 400);
    assert!(dispatcher.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_takes_what_is_signed_and_nothing_else() {
    takes_what_is_signed(python(&receivers())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_typescript_takes_what_is_signed_and_nothing_else() {
    let folder = receivers();
    // It is built only if there is an npm: see ./dev.
    if folder.join("typescript/receiver.js").exists() {
        takes_what_is_signed(node(&folder)).await;
    }
}

/// Without a usable secret a receiver prints one line and exits with status 2.
fn refuses_to_start_without_a_secret(command: impl Fn() -> Command) {
    for secret in [None, Some(""), Some("whsec_!")] {
        let mut command = command();
        command.env_remove("WEBHOOK_SECRET").envs(secret.map(|secret| ("WEBHOOK_SECRET", secret))).env("PORT", "0");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{secret:?}: {errors}");
        assert!(errors.starts_with("WEBHOOK_SECRET is missing") && errors.lines().count() == 1, "{secret:?}: {errors}");
    }
}

#[test]
fn the_examples_say_in_one_line_that_their_secret_is_missing() {
    let folder = receivers();
    refuses_to_start_without_a_secret(|| python(&folder));
    if folder.join("typescript/receiver.js").exists() {
        refuses_to_start_without_a_secret(|| node(&folder));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_brings_events_to_a_local_program_signed_as_in_production() {
    let (world, process, _api) = World::with_api().await;
    let receiver = Receiver::start().await;
    let base = format!("http://{}", process.address());
    let arguments = ["listen", "--forward-to", &receiver.url(), "--key", &world.tenant.api_key, "--url", &base];
    let mut listen = Program::start(world.command(&arguments), world.path("listen.log"));
    let secret = listen.line("signed with ").await.split(' ').next_back().unwrap().to_owned();
    listen.line("listening").await;
    let job = event(&world).await;
    let seen = receiver.await_seen(1).await.remove(0);
    assert_eq!(seen.json()["data"]["id"], serde_json::json!(job));
    let expected = Secret::parse(&secret).unwrap().sign(&seen.id, seen.timestamp.parse().unwrap(), &seen.body);
    assert_eq!(seen.signature, expected);
    let line = listen.line(&seen.id).await;
    assert!(line.starts_with("job.completed ") && line.ends_with(" 200"), "{line}");

    // When its server stops and comes back, it resumes.
    let address = process.address().to_string();
    assert!(process.terminate().await.success());
    let second = event(&world).await;
    let _again = world.spawn_with(&["api"], &[("VISAVIS_LISTEN", &address)]).await;
    let seen = receiver.await_seen(2).await.remove(1);
    assert_eq!(seen.json()["data"]["id"], serde_json::json!(second));

    let output = world
        .run(&[
            "listen",
            "--forward-to",
            &receiver.url(),
            "--key",
            "vv_live_no_no",
            "--url",
            &format!("http://{address}"),
        ])
        .await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--key is no valid API key"));
    for (flag, value) in [("--forward-to", "ftp://x/"), ("--secret", "whsec_x"), ("--url", "nowhere")] {
        let mut arguments = vec!["listen", "--key", "k", flag, value];
        if flag != "--forward-to" {
            arguments.extend(["--forward-to", "http://127.0.0.1:9/"]);
        }
        let output = world.run(&arguments).await;
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(flag), "{flag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_attempts_as_they_are_made_without_the_rest_of_the_url() {
    let world = World::without_broker().await;
    let receiver = Receiver::start().await;
    endpoint(&world, &receiver.url()).await;
    let mut tail =
        Program::start(world.command(&["webhooks", "tail", "--organisation", "acme"]), world.path("tail.log"));
    tail.line("waiting for deliveries").await;
    let _dispatcher = world.spawn_with(&["webhooks"], &[("VISAVIS_ALLOW_LOOPBACK_TARGETS", "1")]).await;
    event(&world).await;
    let line = tail.line("job.completed").await;
    assert!(line.contains(" acme ") && line.contains(": 200 in ") && line.ends_with(", delivered"), "{line}");
    assert!(!line.contains("/hook"), "{line}");
}
