//! Promise: a process that is asked to stop does so within 30 s. It charges no attempt, and loses or doubles no job.

use std::time::{Duration, Instant};

use crate::support::{World, eventually, photos};

const STOPS: usize = 20;
const JOBS: usize = 120;
const SOON: Duration = Duration::from_mins(1);
const PROMISED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn twenty_workers_that_are_stopped_under_load_charge_no_attempt_and_lose_nothing() {
    let world = World::new().await;
    world.submit_many(JOBS, "face_match", photos::small_face()).await;
    let _relay = world.spawn(&["relay"]).await;
    let succeeded = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
    let mut slowest = Duration::ZERO;
    for stop in 0..STOPS {
        let before = world.count(succeeded).await;
        let worker = world.spawn(&["worker"]).await;
        // Each worker is stopped at another moment of its jobs.
        let some = i64::try_from(stop % 4).unwrap();
        eventually("the worker works", SOON, async || world.count(succeeded).await >= before + some).await;
        let since = Instant::now();
        assert!(worker.terminate().await.success());
        slowest = slowest.max(since.elapsed());
        assert_eq!(world.count("SELECT count(*) FROM jobs WHERE state = 'running'").await, 0);
    }
    println!("slowest stop: {slowest:.1?}; {} jobs left", 120 - world.count(succeeded).await);
    assert!(slowest < PROMISED, "{slowest:?}");
    assert!(world.count(succeeded).await < 120, "the last worker was stopped under load, too");

    let _worker = world.spawn(&["worker"]).await;
    eventually("the rest finishes", SOON, async || world.count(succeeded).await == 120).await;
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE attempt <> 1").await, 0, "no attempt was charged");
    assert_eq!(world.count("SELECT count(*) FROM usage").await, 120);
    assert_eq!(world.count("SELECT count(*) FROM events").await, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_job_that_hangs_stops_in_time_and_the_job_is_as_if_never_begun() {
    let world = World::new().await;
    let job = world.submit_pair("face_match", photos::small_face(), photos::small_face()).await;
    let image = world.hang(job).await;
    let _relay = world.spawn(&["relay"]).await;
    let worker = world.spawn(&["worker"]).await;
    eventually("the job runs", SOON, async || world.state(job).await == "running").await;
    let since = Instant::now();
    assert!(worker.terminate().await.success());
    println!("stopped after {:.1?}", since.elapsed());
    assert!(since.elapsed() < PROMISED);
    assert_eq!((world.state(job).await.as_str(), world.attempt(job).await), ("queued", 0));

    image.put_back();
    let _worker = world.spawn(&["worker"]).await;
    eventually("another worker does it", SOON, async || world.state(job).await == "succeeded").await;
    assert_eq!(world.attempt(job).await, 1);
}
