//! Promise: a sandbox job waits for no live job, and for no other test key's delays.

use std::time::Duration;

use serde_json::json;

use crate::support::world::request;
use crate::support::{Api, World, eventually, photos};

const SOON: Duration = Duration::from_mins(1);
const LANES: [&str; 2] = ["interactive", "bulk"];

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_job_ends_while_live_jobs_fill_both_lanes_and_block_every_slot() {
    let world = World::new().await;
    let body = |lane: &str| {
        let mut body = request("likeness_check", photos::blank(), photos::blank());
        body["lane"] = json!(lane);
        body
    };
    // More than a worker takes in hand, and none of them gets its images.
    let mut hung = Vec::new();
    for lane in LANES {
        for _ in 0..12 {
            let accepted = world.submit(None, body(lane).to_string().as_bytes()).await.unwrap();
            hung.push(world.hang(accepted.summary.id).await);
        }
    }
    let (world, process, _live) = world.serving(&["all"]).await;
    let running = "SELECT count(*) FROM jobs WHERE state = 'running'";
    eventually("live jobs hold every slot", SOON, async || world.count(running).await == 2).await;

    let sandbox = Api::of(&process, &world.make_test_key().await);
    for lane in LANES {
        let (_, accepted) = sandbox.submit(None, &body(lane)).await;
        let (_, job) = sandbox.get(&format!("/v1/jobs/{}?wait=15", accepted["id"].as_str().unwrap())).await;
        assert_eq!((&job["state"], &job["lane"]), (&json!("succeeded"), &json!(lane)), "{job}");
    }
    let live = "SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL AND NOT sandbox";
    assert_eq!(world.count(live).await, 0, "the live jobs still wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_a_test_key_delays_hold_nothing_that_another_test_key_needs() {
    let world = World::new().await;
    let greedy = world.make_test_key().await;
    let (world, process, _live) = world.serving(&["all"]).await;
    let greedy = Api::of(&process, &greedy);
    let delayed = [photos::blank(), b"visavis:delay_ms=10000"].concat();
    // More than a worker has slots, and takes in hand.
    for _ in 0..12 {
        greedy.submit(None, &request("likeness_check", photos::blank(), &delayed)).await;
    }
    // Put off further, so that none of them ends by itself.
    let put_off =
        "UPDATE jobs SET run_after = now() + interval '1 hour' WHERE state = 'queued' AND epoch = 1 AND attempt = 0";
    eventually("all of them are put off", SOON, async || world.execute(put_off).await == 12).await;

    let other = Api::of(&process, &world.make_test_key().await);
    let (_, accepted) = other.submit(None, &request("likeness_check", photos::blank(), photos::blank())).await;
    let (_, job) = other.get(&format!("/v1/jobs/{}?wait=60", accepted["id"].as_str().unwrap())).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(1)), "{job}");

    world.execute("UPDATE jobs SET run_after = now() WHERE state = 'queued'").await;
    world.execute("UPDATE outbox SET next_at = now(), published_at = NULL WHERE kind = 'doorbell'").await;
    let once = "SELECT count(*) FROM jobs WHERE state = 'succeeded' AND attempt = 1";
    eventually("all of them end, and waiting was no attempt", SOON, async || world.count(once).await == 13).await;
}
