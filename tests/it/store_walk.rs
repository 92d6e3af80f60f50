//! The state machine against real Postgres: in whatever order two workers, the relay, the sweeper and the clock act, a
//! job's invariants hold.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use sqlx::{AssertSqlSafe, Row as _};
use visavis::domain::backoff::{self, MAX_ATTEMPTS};
use visavis::domain::ids::JobId;
use visavis::domain::work_queue::WorkQueue;
use visavis::store::jobs::{Change, Claim};

use crate::support::outcomes::{failure, outcome, success};
use crate::support::property::property;
use crate::support::{World, photos};

const CASES: u32 = 250;
const CHUNKS: usize = 40;
const PATIENCE: Duration = Duration::from_mins(2);

/// Something that happens. A worker keeps its last claim, however old. That makes it a zombie.
#[derive(Debug, Clone, Copy)]
enum Step {
    Claim(usize),
    Renew(usize),
    /// A temporary fault: the job is put back, or failed if that was the last attempt.
    Fault(usize),
    /// The worker stops on request.
    Release(usize),
    Succeed(usize),
    /// A fault that another attempt cannot help.
    Fail(usize),
    /// The relay publishes what is due.
    Publish,
    /// The broker is wiped, or a message is lost. Nothing in the database says so.
    Sweep,
    /// The clock advances by so many seconds.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..2_usize;
    prop_oneof![
        6 => worker.clone().prop_map(Step::Claim),
        2 => worker.clone().prop_map(Step::Renew),
        3 => worker.clone().prop_map(Step::Fault),
        2 => worker.clone().prop_map(Step::Release),
        1 => worker.clone().prop_map(Step::Succeed),
        1 => worker.prop_map(Step::Fail),
        2 => Just(Step::Publish),
        5 => Just(Step::Sweep),
        6 => prop_oneof![Just(1), Just(10), Just(31), Just(121), Just(721)].prop_map(Step::Pass),
    ]
}

/// Single steps, and whole attempts that fail. Without those, few walks would reach the last attempt.
fn walk() -> impl Strategy<Value = Vec<Step>> {
    let died = (0..2_usize).prop_map(|worker| vec![Step::Claim(worker), Step::Pass(31), Step::Sweep, Step::Pass(721)]);
    let faulty = (0..2_usize).prop_map(|worker| vec![Step::Claim(worker), Step::Fault(worker), Step::Pass(721)]);
    let chunk = prop_oneof![8 => step().prop_map(|step| vec![step]), 2 => died, 1 => faulty];
    vec(chunk, 1..CHUNKS).prop_map(|chunks| chunks.concat())
}

/// The job's row as far as it can change, and what belongs to it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    state: String,
    attempt: i32,
    epoch: i64,
    due: bool,
    expired: bool,
    /// The whole row, to see that a job that has ended never changes.
    text: String,
    /// `job.completed` events, `job.failed` events, usage rows, dead letters.
    effects: [i64; 4],
    doorbells: i64,
    doorbells_of_epoch: i64,
}

impl Row {
    fn is_over(&self) -> bool {
        self.state == "succeeded" || self.state == "failed"
    }

    fn is_held_by(&self, claim: &Claim) -> bool {
        self.state == "running" && self.epoch == claim.epoch
    }
}

#[test]
fn whatever_happens_in_any_order_a_jobs_invariants_hold() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::without_broker());
    let result = TestRunner::new(property(CASES, file!())).run(&walk(), |steps| {
        runtime.block_on(async {
            // What the last case left must not be swept or rung for in this one.
            for table in ["outbox", "events", "usage", "dead_letters", "images", "jobs"] {
                let statement = AssertSqlSafe(format!("DELETE FROM {table}"));
                sqlx::query(statement).execute(&world.pool).await.unwrap();
            }
            let job = world.submit_pair("likeness_check", photos::blank(), photos::blank()).await;
            let mut walk = Walk::begin(&world, job).await;
            for step in steps {
                walk.take(step).await?;
            }
            Ok(())
        })
    });
    drop(world);
    result.unwrap_or_else(|error| panic!("{error}"));
}

struct Walk<'a> {
    world: &'a World,
    job: JobId,
    claims: [Option<Claim>; 2],
    row: Row,
}

impl<'a> Walk<'a> {
    async fn begin(world: &'a World, job: JobId) -> Self {
        Self { world, job, claims: [None, None], row: read(world, job).await }
    }

    async fn take(&mut self, step: Step) -> TestCaseResult {
        let before = self.row.clone();
        let happened = self.act(step, &before).await?;
        self.row = read(self.world, self.job).await;
        let after = &self.row;
        prop_assert!(after.epoch >= before.epoch, "{step:?}: the epoch went back");
        prop_assert!((0..=MAX_ATTEMPTS).contains(&after.attempt), "{step:?}: attempt {}", after.attempt);
        if before.is_over() {
            prop_assert_eq!(&before.text, &after.text, "{:?} changed a job that is over", step);
        }
        if !happened {
            prop_assert_eq!((&before.state, before.attempt, before.epoch), (&after.state, after.attempt, after.epoch));
        }
        let effects = match after.state.as_str() {
            "succeeded" => [1, 0, 1, 0],
            "failed" => [0, 1, 0, 1],
            _ => [0; 4],
        };
        prop_assert_eq!(after.effects, effects, "after {:?}", step);
        if after.state == "queued" {
            prop_assert_eq!(after.doorbells_of_epoch, 1, "after {:?} nobody rings for a queued job", step);
        }
        if after.is_over() {
            prop_assert_eq!(after.doorbells, 0, "after {:?} somebody rings for a job that is over", step);
        }
        Ok(())
    }

    /// Takes the step and checks whether it was allowed to change the job. Returns whether it did.
    async fn act(&mut self, step: Step, before: &Row) -> Result<bool, TestCaseError> {
        let store = self.world.store();
        match step {
            Step::Claim(worker) => {
                let is_free = before.state == "queued" && before.due;
                let next = store.find_due_job(self.job).await.unwrap().map(|due| due.attempt);
                prop_assert_eq!(next, is_free.then_some(before.attempt + 1));
                let claim = store.claim_job(self.job).await.unwrap();
                prop_assert_eq!(claim.is_some(), is_free);
                if let Some(claim) = &claim {
                    prop_assert_eq!((claim.epoch, claim.attempt), (before.epoch + 1, before.attempt + 1));
                    self.claims[worker] = Some(claim.clone());
                }
                Ok(claim.is_some())
            }
            Step::Renew(worker)
            | Step::Fault(worker)
            | Step::Release(worker)
            | Step::Succeed(worker)
            | Step::Fail(worker) => {
                let Some(claim) = &self.claims[worker] else { return Ok(false) };
                let held = before.is_held_by(claim);
                let change = match step {
                    Step::Renew(_) => store.renew_lease(claim).await,
                    Step::Release(_) => store.release_job(claim, Duration::ZERO).await,
                    Step::Succeed(_) => store.finish_succeeded(claim, &success(outcome(claim))).await,
                    Step::Fault(_) => match backoff::after_attempt(claim.attempt, 0.5) {
                        Some(wait) => store.retry_job(claim, wait).await,
                        None => store.finish_failed(claim, &failure()).await,
                    },
                    _ => store.finish_failed(claim, &failure()).await,
                };
                prop_assert_eq!(change.unwrap() == Change::Done, held, "{:?} by epoch {}", step, claim.epoch);
                Ok(held)
            }
            Step::Publish => {
                let due = store.claim_doorbells(WorkQueue::Bulk, 16).await.unwrap();
                store.mark_published(&due.iter().map(|doorbell| doorbell.id).collect::<Vec<_>>()).await.unwrap();
                Ok(false)
            }
            Step::Sweep => {
                let swept = store.sweep(PATIENCE).await.unwrap();
                let dead = before.state == "running" && before.expired;
                let last = before.attempt == MAX_ATTEMPTS;
                prop_assert_eq!((swept.revived, swept.failed), (u64::from(dead && !last), u64::from(dead && last)));
                Ok(dead)
            }
            Step::Pass(seconds) => {
                self.world.pass(Duration::from_secs(seconds)).await;
                Ok(false)
            }
        }
    }
}

async fn read(world: &World, job: JobId) -> Row {
    let statement =
        "SELECT state, attempt, epoch, run_after <= now(), coalesce(lease_until < now(), false), jobs::text,
                            (SELECT count(*) FROM outbox WHERE job_id = jobs.id AND kind = 'doorbell'),
                            (SELECT count(*) FROM outbox WHERE job_id = jobs.id AND kind = 'doorbell'
                                                           AND epoch = jobs.epoch),
                            (SELECT count(*) FROM events WHERE job_id = jobs.id AND type = 'job.completed'),
                            (SELECT count(*) FROM events WHERE job_id = jobs.id AND type = 'job.failed'),
                            (SELECT count(*) FROM usage WHERE job_id = jobs.id),
                            (SELECT count(*) FROM dead_letters WHERE job_id = jobs.id)
                     FROM jobs WHERE id = $1";
    let row = sqlx::query(statement).bind(job.0).fetch_one(&world.pool).await.unwrap();
    Row {
        state: row.get(0),
        attempt: row.get(1),
        epoch: row.get(2),
        due: row.get(3),
        expired: row.get(4),
        text: row.get(5),
        doorbells: row.get(6),
        doorbells_of_epoch: row.get(7),
        effects: std::array::from_fn(|i| row.get(8 + i)),
    }
}
