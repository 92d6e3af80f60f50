//! Promise: when the broker loses everything, jobs are delayed, and none is lost.

use std::time::Duration;

use crate::support::{World, eventually, photos};

const JOBS: usize = 1_000;
const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn all_jobs_finish_after_the_broker_lost_everything_with_a_thousand_of_them_queued() {
    let world = World::new().await;
    world.submit_many(JOBS, "likeness_check", photos::blank()).await;
    let _visavis = world.spawn(&["all"]).await;
    let succeeded = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
    eventually("work has begun", SOON, async || world.count(succeeded).await > 0).await;

    world.management.delete_vhost(&world.vhost).await;
    assert!(world.count(succeeded).await < 1_000, "most jobs were still queued");
    world.management.make_vhost(&world.vhost).await;
    let queue = "visavis.work.bulk.v1";
    eventually("the topology is back", SOON, async || world.management.has_queue(&world.vhost, queue).await).await;
    // The broker's doorbells are lost. The clock is moved until the sweeper sends new ones.
    world.execute("UPDATE outbox SET published_at = published_at - interval '121 seconds'").await;
    eventually("all jobs finish", Duration::from_mins(3), async || world.count(succeeded).await == 1_000).await;
    assert_eq!(world.count("SELECT count(*) FROM usage").await, 1_000);
    assert_eq!(world.count("SELECT count(*) FROM events").await, 1_000);
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
}
