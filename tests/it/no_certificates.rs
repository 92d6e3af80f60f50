//! A machine without CA certificates: `serve` says what is missing where TLS needs them, and runs where nothing does.

use crate::support::world::request;
use crate::support::{World, photos};

const NOWHERE: [(&str, &str); 2] = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];

#[tokio::test(flavor = "multi_thread")]
async fn serve_says_at_start_which_setting_needs_certificates_and_what_to_install() {
    let world = World::without_broker().await;
    let amqps = world.environment("AMQP_URL").replacen("amqp:", "amqps:", 1);
    let verified = format!("{}?sslmode=verify-full", world.environment("DATABASE_URL"));
    let cases = [
        ("relay", "AMQP_URL", amqps.as_str(), "AMQP_URL"),
        ("relay", "DATABASE_URL", verified.as_str(), "DATABASE_URL"),
        ("janitor", "VISAVIS_BLOBS", "s3://bucket", "VISAVIS_BLOBS"),
        ("webhooks", "VISAVIS_LOG", "info", "cannot make an HTTP client"),
    ];
    for (role, variable, value, named) in cases {
        let mut command = world.command(&["serve", role]);
        command.envs(NOWHERE).env(variable, value);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{role}: {said}");
        for part in [named, "no CA certificates were found", "/nonexistent", "install the package ca-certificates"] {
            assert!(said.contains(part), "{role}: {said}");
        }
        assert!(!said.contains("panicked"), "{role}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_tls_needs_no_certificates() {
    let world = World::new().await;
    let mut producer = world.producer().await;
    let _process = world.spawn_with(&["intake", "relay"], &NOWHERE).await;
    producer.submit("one", &request("face_match", photos::blank(), photos::blank())).await;
    assert_eq!(producer.reply("one", "accepted").await.body["state"], "queued");
}
