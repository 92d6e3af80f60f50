//! An organisation that floods the queue delays only its own jobs.

use visavis::domain::ids::{JobId, TenantId};
use visavis::domain::job::Lane;
use visavis::domain::request::Form;
use visavis::domain::tenant::{Account, TenantSettings};
use visavis::domain::work_queue::WorkQueue;
use visavis::intake::SubmissionContext;

use crate::support::World;
use crate::support::photos::blank;
use crate::support::world::request;

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
