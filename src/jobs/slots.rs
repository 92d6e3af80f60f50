//! Who computes next: a few slots, the interactive queue first, the bulk queue never starved. A job in doubt runs
//! alone. Sandbox jobs have slots of their own. A job that waits for somebody else's server holds no slot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, oneshot};

use crate::domain::fair_limit::FairPermit;
use crate::domain::ids::TenantId;
use crate::domain::work_queue::WorkQueue;

/// After so many interactive jobs in a row one bulk job has its turn, if one waits.
const INTERACTIVE_IN_A_ROW: u32 = 4;
/// Sandbox jobs at once. They compute nothing and wait for nothing: a few are enough.
const SANDBOX: usize = 4;

/// The slots of a worker; clones share them.
#[derive(Clone)]
pub struct Slots {
    live: Pool,
    /// Apart, so that a sandbox job waits for no live job, and no live job waits for it.
    sandbox: Pool,
}

/// A fixed number of slots; clones share them.
#[derive(Clone)]
struct Pool {
    state: Arc<Mutex<PoolState>>,
    /// Jobs that run beside others hold it for reading, a job alone for writing.
    company: Arc<RwLock<()>>,
}

struct PoolState {
    free: usize,
    interactive: VecDeque<oneshot::Sender<Slot>>,
    others: VecDeque<oneshot::Sender<Slot>>,
    in_a_row: u32,
}

/// A slot in hand; dropping it passes it on.
struct Slot(Option<Pool>);

/// The right to run now, beside others or alone. Dropping it passes the slot on.
pub struct RunPermit {
    /// None while the job waits for something outside.
    place: Option<RunPlace>,
    slots: Slots,
    queue: WorkQueue,
    is_alone: bool,
    outside: Option<OutsideCall>,
}

struct RunPlace {
    _company: Company,
    _slot: Slot,
}

/// The right to call somebody else's server during a job.
pub struct OutsideCall {
    /// One of the calls that the server gets at once.
    pub permit: FairPermit<TenantId>,
    /// Acknowledges the job's doorbell before the job ends, so that the worker takes another.
    pub doorbell: Option<oneshot::Sender<()>>,
}

#[expect(dead_code, reason = "held, never read")]
enum Company {
    Together(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Slots {
    /// `count` slots for live jobs, and some for sandbox jobs.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { live: Pool::new(count), sandbox: Pool::new(SANDBOX) }
    }

    /// A slot beside other jobs.
    pub async fn together(&self, queue: WorkQueue) -> RunPermit {
        self.permit(queue, false).await
    }

    /// A slot while no other live job runs: waits for those that run, and keeps later ones waiting. Sandbox jobs never
    /// run alone: they compute nothing, so they cannot kill their worker, and alone one would hold up other test keys.
    pub async fn alone(&self, queue: WorkQueue) -> RunPermit {
        self.permit(queue, queue != WorkQueue::Sandbox).await
    }

    async fn permit(&self, queue: WorkQueue, is_alone: bool) -> RunPermit {
        let place = Some(self.place(queue, is_alone).await);
        RunPermit { place, slots: self.clone(), queue, is_alone, outside: None }
    }

    async fn place(&self, queue: WorkQueue, is_alone: bool) -> RunPlace {
        let pool = self.pool(queue);
        let slot = pool.acquire(queue).await;
        let company = Arc::clone(&pool.company);
        let company = if is_alone {
            Company::Alone(company.write_owned().await)
        } else {
            Company::Together(company.read_owned().await)
        };
        RunPlace { _company: company, _slot: slot }
    }

    fn pool(&self, queue: WorkQueue) -> &Pool {
        match queue {
            WorkQueue::Interactive | WorkQueue::Bulk => &self.live,
            WorkQueue::Sandbox => &self.sandbox,
        }
    }
}

impl RunPermit {
    /// Lets the job call somebody else's server, see [`RunPermit::aside`].
    pub fn allow_outside(&mut self, call: OutsideCall) {
        self.outside = Some(call);
    }

    /// Waits for somebody else's server. Meanwhile another job has the slot, and the worker takes another doorbell. The
    /// right to call lasts until there is a slot again, so that it bounds the jobs that wait for one, too.
    pub async fn aside<T>(&mut self, call: impl Future<Output = T>) -> T {
        self.place = None;
        if let Some(doorbell) = self.outside.as_mut().and_then(|outside| outside.doorbell.take()) {
            // Nobody listens if the session that brought the doorbell is over.
            let _ = doorbell.send(());
        }
        let answer = call.await;
        self.place = Some(self.slots.place(self.queue, self.is_alone).await);
        self.outside = None;
        answer
    }
}

impl Pool {
    fn new(count: usize) -> Self {
        let state = PoolState { free: count, interactive: VecDeque::new(), others: VecDeque::new(), in_a_row: 0 };
        Self { state: Arc::new(Mutex::new(state)), company: Arc::default() }
    }

    /// Waits for a slot. A caller that stops waiting loses its place and nothing else.
    async fn acquire(&self, queue: WorkQueue) -> Slot {
        let waiting = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Slot(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            match queue {
                WorkQueue::Interactive => state.interactive.push_back(sender),
                WorkQueue::Bulk | WorkQueue::Sandbox => state.others.push_back(sender),
            }
            receiver
        };
        // The sender is dropped only with the state, which `self` keeps alive.
        waiting.await.unwrap_or(Slot(None))
    }

    /// Hands a slot to the next caller that still waits.
    fn release(&self) {
        let mut slot = Slot(Some(self.clone()));
        loop {
            let waiter = {
                let mut state = self.lock();
                if let Some(waiter) = state.next() {
                    waiter
                } else {
                    state.free += 1;
                    slot.0 = None;
                    return;
                }
            };
            match waiter.send(slot) {
                Ok(()) => return,
                Err(returned) => slot = returned,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        self.interactive.retain(|waiter| !waiter.is_closed());
        self.others.retain(|waiter| !waiter.is_closed());
        let others_turn = self.interactive.is_empty() || self.in_a_row >= INTERACTIVE_IN_A_ROW;
        if others_turn && let Some(waiter) = self.others.pop_front() {
            self.in_a_row = 0;
            return Some(waiter);
        }
        let waiter = self.interactive.pop_front()?;
        // Counts only while another job is kept waiting.
        self.in_a_row = if self.others.is_empty() { 0 } else { self.in_a_row + 1 };
        Some(waiter)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fair_limit::FairLimit;
    use futures_util::FutureExt as _;
    use std::pin::Pin;
    use std::time::Instant;
    use uuid::Uuid;

    type Waiting = Pin<Box<dyn Future<Output = Slot>>>;

    fn wait(slots: &Slots, queue: WorkQueue) -> Waiting {
        let slots = slots.clone();
        let mut waiting: Waiting = Box::pin(async move { slots.live.acquire(queue).await });
        assert!(waiting.as_mut().now_or_never().is_none(), "no slot was free");
        waiting
    }

    /// Frees the slot in hand and says which of the waiting got it, in order.
    fn order(mut held: Slot, mut waiting: Vec<(&'static str, Waiting)>) -> Vec<&'static str> {
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held);
            let (index, slot) = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(index, (_, future))| future.as_mut().now_or_never().map(|slot| (index, slot)))
                .expect("the freed slot went to somebody");
            order.push(waiting.remove(index).0);
            held = slot;
        }
        order
    }

    #[test]
    fn the_interactive_queue_goes_first_and_the_bulk_queue_has_every_fifth_turn() {
        let slots = Slots::new(1);
        let held = slots.live.acquire(WorkQueue::Bulk).now_or_never().unwrap();
        let mut waiting = vec![("bulk", wait(&slots, WorkQueue::Bulk)), ("bulk", wait(&slots, WorkQueue::Bulk))];
        waiting.extend((0..6).map(|_| ("interactive", wait(&slots, WorkQueue::Interactive))));
        let i = "interactive";
        assert_eq!(order(held, waiting), [i, i, i, i, "bulk", i, i, "bulk"]);
    }

    #[test]
    fn who_gives_up_waiting_loses_no_slot() {
        let slots = Slots::new(1);
        let held = slots.live.acquire(WorkQueue::Bulk).now_or_never().unwrap();
        let impatient = wait(&slots, WorkQueue::Interactive);
        let patient = wait(&slots, WorkQueue::Bulk);
        drop(impatient);
        assert_eq!(order(held, vec![("patient", patient)]), ["patient"]);
        assert!(slots.live.acquire(WorkQueue::Bulk).now_or_never().is_some(), "the slot came back");
    }

    #[test]
    fn a_job_in_doubt_waits_for_the_others_and_then_keeps_them_waiting() {
        let slots = Slots::new(3);
        let neighbour = slots.together(WorkQueue::Bulk).now_or_never().unwrap();
        let mut doubtful = Box::pin(slots.alone(WorkQueue::Bulk));
        assert!(doubtful.as_mut().now_or_never().is_none(), "somebody runs");
        let mut next = Box::pin(slots.together(WorkQueue::Interactive));
        assert!(next.as_mut().now_or_never().is_none(), "it does not overtake");
        drop(neighbour);
        let alone = doubtful.now_or_never().unwrap();
        assert!(next.as_mut().now_or_never().is_none(), "nobody runs beside it");
        drop(alone);
        assert!(next.now_or_never().is_some());
    }

    #[test]
    fn a_slot_that_was_sent_but_never_taken_comes_back() {
        let slots = Slots::new(1);
        let held = slots.live.acquire(WorkQueue::Bulk).now_or_never().unwrap();
        let waiting = wait(&slots, WorkQueue::Bulk);
        drop(held);
        drop(waiting);
        assert!(slots.live.acquire(WorkQueue::Bulk).now_or_never().is_some());
    }

    #[test]
    fn a_job_that_waits_for_an_answer_from_outside_holds_no_slot_even_if_it_is_in_doubt() {
        for is_in_doubt in [false, true] {
            let slots = Slots::new(1);
            let limit = FairLimit::new(2);
            let permit = |organisation| limit.try_acquire(TenantId(Uuid::from_u128(organisation)), Instant::now()).ok();
            let mut job = slots.permit(WorkQueue::Bulk, is_in_doubt).now_or_never().unwrap();
            let (doorbell, mut acknowledged) = oneshot::channel();
            job.allow_outside(OutsideCall { permit: permit(1).unwrap(), doorbell: Some(doorbell) });
            let (answer, source) = oneshot::channel::<u8>();
            let mut asked = Box::pin(job.aside(source));
            assert!(asked.as_mut().now_or_never().is_none(), "the source has not answered");
            assert_eq!(acknowledged.try_recv(), Ok(()));
            let neighbour = slots.alone(WorkQueue::Interactive).now_or_never().unwrap();
            answer.send(7).unwrap();
            assert!(asked.as_mut().now_or_never().is_none(), "the slot is taken");
            assert!(permit(1).is_none(), "it still counts as a call");
            drop(neighbour);
            assert_eq!(asked.now_or_never(), Some(Ok(7)));
            assert!(permit(1).is_some());
            assert!(slots.together(WorkQueue::Bulk).now_or_never().is_none(), "it has its slot again");
        }
    }

    #[test]
    fn a_sandbox_job_waits_for_no_live_job_nor_a_live_job_for_it() {
        let slots = Slots::new(1);
        let live = slots.together(WorkQueue::Bulk).now_or_never().unwrap();
        let mut doubtful = Box::pin(slots.alone(WorkQueue::Interactive));
        assert!(doubtful.as_mut().now_or_never().is_none(), "the only live slot is taken");
        let _sandbox = slots.alone(WorkQueue::Sandbox).now_or_never().unwrap();
        assert!(slots.alone(WorkQueue::Sandbox).now_or_never().is_some(), "sandbox jobs in doubt run beside others");
        drop(live);
        assert!(doubtful.now_or_never().is_some(), "a sandbox job in doubt keeps no live job waiting");
    }
}
