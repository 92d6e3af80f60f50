//! Promise: a job that kills its worker at each attempt fails when its attempts are used up. The jobs beside it
//! succeed.

use std::time::Duration;

use visavis::domain::backoff::MAX_ATTEMPTS;

use crate::support::{Api, World, eventually, photos};

const SOON: Duration = Duration::from_mins(1);
const GOOD: usize = 100;
/// From this attempt on a job runs alone. Until then the jobs beside it are charged two attempts at most.
const IN_DOUBT: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn one_job_that_kills_its_worker_fails_for_good_and_a_hundred_beside_it_succeed() {
    let world = World::new().await;
    let poison = world.submit_pair("face_match", photos::small_face(), photos::small_face()).await;
    let _image = world.hang(poison).await;
    world.submit_many(GOOD, "face_match", photos::small_face()).await;
    let others = world.spawn(&["api", "relay"]).await;

    for attempt in 1..=MAX_ATTEMPTS {
        let worker = world.spawn(&["worker"]).await;
        eventually("the poison runs", SOON, async || {
            world.state(poison).await == "running" && world.attempt(poison).await == attempt
        })
        .await;
        if attempt >= IN_DOUBT {
            assert_eq!(world.count("SELECT count(*) FROM jobs WHERE state = 'running'").await, 1, "it runs alone");
        }
        worker.kill9();
        world.expire_leases().await;
        world.store().sweep(Duration::from_mins(2)).await.unwrap();
        world.pass_backoff().await;
    }
    let failure: String = world.scalar("SELECT failure->>'code' FROM jobs WHERE id = $1", poison).await;
    assert_eq!((world.state(poison).await.as_str(), failure.as_str()), ("failed", "attempts_exhausted"));
    assert_eq!(world.attempt(poison).await, MAX_ATTEMPTS);

    let _worker = world.spawn(&["worker"]).await;
    let unfinished = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')";
    eventually("the good jobs are over", SOON, async || world.count(unfinished).await == 0).await;
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE state = 'succeeded'").await, 100);
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE state = 'failed'").await, 1);
    assert!(world.count("SELECT max(attempt)::bigint FROM jobs WHERE state = 'succeeded'").await <= IN_DOUBT.into());
    assert_eq!(world.count("SELECT count(*) FROM usage").await, 100);
    assert_eq!(world.count("SELECT count(*) FROM events WHERE type = 'job.failed'").await, 1);

    let listed = world.run(&["dead-letters", "list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    let letter = listed.lines().find(|line| line.contains(&poison.to_string())).expect("the poison is listed");
    assert!(letter.contains("failed_job") && letter.contains("attempts_exhausted"), "{letter}");
    assert_eq!(listed.lines().count(), 2, "a heading and one letter: {listed}");

    let api = Api::of(&others, &world.tenant.api_key);
    let (status, report) = api.get(&format!("/v1/face-match/{poison}")).await;
    assert_eq!((status.as_u16(), &report["face_match"]["status"]), (200, &"Not Finished".into()));
}
