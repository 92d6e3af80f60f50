//! Promise: a dead network is noticed, and all its connections are rebuilt.

use std::time::{Duration, Instant};

use crate::support::network::Network;
use crate::support::world::request;
use crate::support::{World, eventually, photos};

/// Connections of consumers: submissions, unrouted messages, dead letters and two lanes. The relay opens its own two
/// when it needs them.
const CONSUMERS: usize = 5;
/// The promise is 25 s. A busy machine may be a little late.
const NOTICED: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_and_after_silence_every_connection_is_rebuilt_and_work_goes_on() {
    let world = World::new().await;
    let network = Network::before(world.broker_address().await).await;
    // The producer avoids the bad network, so that only visavis loses its connections.
    let mut producer = world.producer().await;
    let mut visavis = world.spawn_with(&["all"], &[("AMQP_URL", &world.amqp_at(network.address))]).await;
    let pair = request("likeness_check", photos::blank(), photos::blank());
    producer.submit("before", &pair).await;
    producer.reply("before", "completed").await;

    for (name, fault) in [("cut", Network::cut as fn(&Network)), ("silence", Network::swallow)] {
        let (lines, since) = (network.accepted(), Instant::now());
        fault(&network);
        producer.submit(name, &pair).await;
        let rebuilt = || network.accepted() >= lines + CONSUMERS;
        eventually("every consumer has a new connection", NOTICED, async || rebuilt()).await;
        let noticed = since.elapsed();
        producer.reply(name, "completed").await;
        println!("{name}: reconnected after {noticed:.1?}, answered after {:.1?}", since.elapsed());
    }

    eventually("the broker knows every connection by its name", NOTICED, async || {
        let open = world.management.connections(&world.vhost).await;
        ["submissions.v1", "unrouted.v1", "dead.v1", "work.interactive.v1", "work.bulk.v1"]
            .iter()
            .all(|queue| open.contains(&format!("visavis visavis.{queue}")))
            && ["doorbells", "replies"].iter().all(|name| open.contains(&format!("visavis {name}")))
    })
    .await;
    visavis.ask_to_stop();
    assert!(visavis.exit().await.success());
    assert!(visavis.log().contains("stopped orderly=true"), "every task ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_network_went_silent_still_stops_in_time() {
    let world = World::new().await;
    let network = Network::before(world.broker_address().await).await;
    let mut producer = world.producer().await;
    let visavis = world.spawn_with(&["all"], &[("AMQP_URL", &world.amqp_at(network.address))]).await;
    producer.submit("before", &request("likeness_check", photos::blank(), photos::blank())).await;
    producer.reply("before", "completed").await;
    network.swallow();
    let since = Instant::now();
    assert!(visavis.terminate().await.success());
    println!("stopped after {:.1?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(30));
}
