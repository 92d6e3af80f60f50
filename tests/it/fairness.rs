//! An organisation that floods the queue delays only its own jobs.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::task::JoinSet;
use visavis::domain::ids::{JobId, TenantId};
use visavis::domain::job::Lane;
use visavis::domain::request::Form;
use visavis::domain::tenant::{Account, TenantSettings};
use visavis::domain::work_queue::WorkQueue;
use visavis::intake::SubmissionContext;

use crate::support::photos::blank;
use crate::support::world::request;
use crate::support::{Api, World, api, eventually};

async fn submit(world: &World, tenant_id: TenantId) -> JobId {
    let (account, settings) = (Account::live(tenant_id), TenantSettings::default());
    let lane = Lane::Bulk;
    let origin = SubmissionContext {
        account,
        settings: &settings,
        form: Form::Native,
        idempotency_key: None,
        reply: None,
        lane,
    };
    let body = request("likeness_check", blank(), blank()).to_string();
    world.intake.submit(origin, body.into()).await.unwrap().summary.id
}

#[tokio::test]
async fn the_first_job_of_each_organisation_comes_before_the_second_of_any() {
    let world = World::without_broker().await;
    let (quiet, late) = (world.make_tenant("quiet", None).await, world.make_tenant("late", None).await);
    let mut flood = Vec::new();
    for _ in 0..50 {
        flood.push(submit(&world, world.tenant.id).await);
    }
    let quiet = [submit(&world, quiet.id).await, submit(&world, quiet.id).await];
    let late = submit(&world, late.id).await;

    let next = async |limit| {
        let claimed = world.store().claim_doorbells(WorkQueue::Bulk, limit).await.unwrap();
        let mut jobs: Vec<_> = claimed.into_iter().map(|claim| claim.job_id).collect();
        jobs.sort();
        jobs
    };
    assert_eq!(next(3).await, [flood[0], quiet[0], late]);
    assert_eq!(next(2).await, [flood[1], quiet[1]]);
    assert_eq!(next(2).await, [flood[2], flood[3]]);
    assert!(world.store().claim_doorbells(WorkQueue::Interactive, 9).await.unwrap().is_empty(), "lanes do not mix");
}

#[tokio::test]
async fn organisations_take_turns_even_if_the_queue_has_room_for_one_job_at_a_time() {
    let world = World::without_broker().await;
    let quiet = world.make_tenant("quiet", None).await;
    let mut flood = Vec::new();
    for _ in 0..10 {
        flood.push(submit(&world, world.tenant.id).await);
    }
    let quiet = [submit(&world, quiet.id).await, submit(&world, quiet.id).await];
    let mut order = Vec::new();
    for _ in 0..6 {
        let claimed = world.store().claim_doorbells(WorkQueue::Bulk, 1).await.unwrap();
        world.store().mark_published(&[claimed[0].id]).await.unwrap();
        order.push(claimed[0].job_id);
    }
    assert_eq!(order, [flood[0], quiet[0], flood[1], quiet[1], flood[2], flood[3]]);
}

const A_WHILE: Duration = Duration::from_mins(2);

/// Jobs of others that may start before the last of eight jobs of a quiet organisation. What waits in the broker (8, as
/// set here) and at the worker comes first. Then the two take turns, and one of five turns is the other lane's.
const TURNS: i64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_that_floods_by_both_doors_delays_nobody_else() {
    let world = World::new().await;
    let quiet = world.make_tenant("quiet", None).await;
    let producer = world.producer().await;
    let process = world.spawn_with(&["api", "intake", "relay"], &[("VISAVIS_LANE_DEPTH", "8")]).await;
    let (flooder, quiet) = (Api::of(&process, &world.tenant.api_key), Api::of(&process, &quiet.api_key));
    let pair = request("likeness_check", blank(), blank());

    let mut flood = JoinSet::new();
    for _ in 0..4 {
        let (flooder, body) = (flooder.clone(), pair.to_string());
        flood.spawn(async move {
            loop {
                let _ = api::send(flooder.request(Method::POST, "/v1/jobs").body(body.clone())).await;
            }
        });
    }
    for i in 0..60 {
        producer.submit(&format!("flood {i}"), &pair).await;
    }
    let waiting = "SELECT count(*) FROM jobs WHERE state = 'queued' AND lane = 'interactive'";
    eventually("a backlog", A_WHILE, async || world.count(waiting).await > 4 * TURNS).await;
    let bulk = "SELECT count(*) FROM jobs WHERE lane = 'bulk'";
    eventually("the broker's messages are taken in", A_WHILE, async || world.count(bulk).await == 60).await;
    for _ in 0..8 {
        assert_eq!(quiet.submit(None, &pair).await.0, StatusCode::ACCEPTED);
    }
    flood.shutdown().await;
    // The worker starts last, so that a fast one cannot end the flood before there is anything to share.
    let _worker = world.spawn(&["worker"]).await;
    let claimed = "SELECT count(started_at) FROM jobs JOIN tenants ON tenants.id = tenant_id WHERE name = 'quiet'";
    eventually("all of the quiet ones are claimed", A_WHILE, async || world.count(claimed).await == 8).await;
    let turns = world.count(
        "SELECT count(*) FROM jobs AS other JOIN tenants ON tenants.id = other.tenant_id
         WHERE name <> 'quiet' AND started_at <= (SELECT max(started_at) FROM jobs JOIN tenants ON tenants.id = tenant_id
                                                  WHERE name = 'quiet')",
    );
    let turns = turns.await;
    assert!(turns <= TURNS, "{turns} jobs of the flooder came before the last of the quiet ones");
}
