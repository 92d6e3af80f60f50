//! Promise: webhooks arrive. A receiver answers three of ten attempts with 5xx and lets one of ten time out. All 1,000
//! events arrive, each under one id. Two dispatchers work side by side. The test moves the clock by moving rows.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use visavis::webhooks::DispatcherSettings;

use crate::support::deliveries::{Running, SOON, endpoint, events};
use crate::support::receiver::{Receiver, Reply};
use crate::support::{World, eventually};

const EVENTS: i32 = 1000;
const SETTINGS: DispatcherSettings =
    DispatcherSettings { places: NonZeroU32::new(64).unwrap(), timeout: Duration::from_millis(150) };

/// The attempts that the receiver saw for one id, and its answers.
#[derive(Default, Clone, Copy)]
struct Tally {
    accepted: usize,
    refused: usize,
    hung: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_events_every_one_arrives_under_one_id() {
    let world = World::new().await;
    let tallies: Arc<Mutex<HashMap<String, Tally>>> = Arc::default();
    let kept = Arc::clone(&tallies);
    let receiver = Receiver::answering(move |_, seen| {
        let mut tallies = kept.lock().unwrap();
        let tally = tallies.entry(seen.id.clone()).or_default();
        let attempt = tally.accepted + tally.refused + tally.hung;
        // Looks random, and is the same each time: 7 and 10 have no common divisor.
        let mut hash = DefaultHasher::new();
        seen.id.hash(&mut hash);
        match (hash.finish() % 10 + 7 * attempt as u64) % 10 {
            0..3 => {
                tally.refused += 1;
                Reply::Status(500 + u16::try_from(attempt % 5).unwrap())
            }
            3 => {
                tally.hung += 1;
                Reply::Hang
            }
            _ => {
                tally.accepted += 1;
                Reply::Status(200)
            }
        }
    })
    .await;
    endpoint(&world, &receiver.url()).await;
    events(&world, EVENTS).await;
    let dispatchers = [Running::start(&world, SETTINGS), Running::start(&world, SETTINGS)];
    let mut steps = 0;
    while world.count("SELECT count(*) FROM deliveries WHERE state = 'pending'").await > 0 {
        eventually("what is due was attempted", 4 * SOON, async || {
            world.count("SELECT count(*) FROM deliveries WHERE state = 'pending' AND next_at <= now()").await == 0
                && world
                    .count(
                        "SELECT count(*) FROM deliveries WHERE epoch > (SELECT count(*) FROM delivery_attempts AS made
                                WHERE made.event_id = deliveries.event_id)",
                    )
                    .await
                    == 0
        })
        .await;
        let wait: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM max(next_at) - now())::float8 FROM deliveries WHERE state = 'pending'",
        )
        .fetch_one(&world.pool)
        .await
        .unwrap();
        let Some(wait) = wait else { break };
        world.pass(Duration::from_secs_f64(wait.max(0.0) + 1.0)).await;
        steps += 1;
        assert!(steps <= 9, "no more steps than the schedule has");
    }
    for dispatcher in dispatchers {
        dispatcher.stop().await;
    }
    assert_eq!(world.count("SELECT count(*) FROM deliveries WHERE state = 'delivered'").await, i64::from(EVENTS));
    let attempts = world.count("SELECT count(*) FROM delivery_attempts").await;
    let tallies = tallies.lock().unwrap();
    assert_eq!(tallies.len(), usize::try_from(EVENTS).unwrap(), "one id each");
    let sum = |of: fn(&Tally) -> usize| tallies.values().map(of).sum::<usize>();
    let (accepted, refused, hung) = (sum(|tally| tally.accepted), sum(|tally| tally.refused), sum(|tally| tally.hung));
    let duplicates = accepted - tallies.len();
    println!("{accepted} accepted, {duplicates} of them twice; {refused} refused, {hung} hung; {attempts} attempts");
    assert!(tallies.values().all(|tally| tally.accepted >= 1), "each was accepted");
    assert_eq!(attempts, i64::try_from(accepted + refused + hung).unwrap(), "every attempt is in the ledger");
    assert!(refused > 300 && hung > 70, "the receiver was as bad as promised: {refused} {hung}");
}
