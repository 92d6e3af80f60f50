//! Promise: a sandbox job waits for no live job.

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
