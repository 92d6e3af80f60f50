//! Who computes next: a few slots, the interactive lane first, the bulk lane never starved. A job in doubt runs alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, oneshot};

use crate::domain::job::Lane;

/// After so many interactive jobs in a row one bulk job has its turn, if one waits.
const INTERACTIVE_IN_A_ROW: u32 = 4;

/// A fixed number of slots; clones share them.
#[derive(Clone)]
pub struct Slots {
    state: Arc<Mutex<State>>,
    /// Jobs together hold it for reading, a job alone for writing.
    room: Arc<RwLock<()>>,
}

struct State {
    free: usize,
    interactive: VecDeque<oneshot::Sender<Slot>>,
    bulk: VecDeque<oneshot::Sender<Slot>>,
    in_a_row: u32,
}

/// A slot in hand; dropping it passes it on.
pub struct Slot(Option<Slots>);

/// A slot, and the company that its holder may have. Dropping it passes both on.
pub struct Turn {
    _room: Room,
    _slot: Slot,
}

#[expect(dead_code, reason = "held, never read")]
enum Room {
    Together(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Slots {
    #[must_use]
    pub fn new(count: usize) -> Self {
        let state = State { free: count, interactive: VecDeque::new(), bulk: VecDeque::new(), in_a_row: 0 };
        Self { state: Arc::new(Mutex::new(state)), room: Arc::default() }
    }

    /// A slot beside others.
    pub async fn together(&self, lane: Lane) -> Turn {
        let slot = self.acquire(lane).await;
        Turn { _room: Room::Together(Arc::clone(&self.room).read_owned().await), _slot: slot }
    }

    /// A slot while all others are idle: waits for those that run, and keeps those that come waiting.
    pub async fn alone(&self, lane: Lane) -> Turn {
        let slot = self.acquire(lane).await;
        Turn { _room: Room::Alone(Arc::clone(&self.room).write_owned().await), _slot: slot }
    }

    /// Waits for a slot. Whoever gives up waiting loses its place and nothing else.
    async fn acquire(&self, lane: Lane) -> Slot {
        let waiting = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Slot(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            match lane {
                Lane::Interactive => state.interactive.push_back(sender),
                Lane::Bulk => state.bulk.push_back(sender),
            }
            receiver
        };
        // The sender is dropped only with the state, which `self` keeps alive.
        waiting.await.unwrap_or(Slot(None))
    }

    /// Hands a slot to whoever waits and still wants it.
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

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        self.interactive.retain(|waiter| !waiter.is_closed());
        self.bulk.retain(|waiter| !waiter.is_closed());
        let bulks_turn = self.interactive.is_empty() || self.in_a_row >= INTERACTIVE_IN_A_ROW;
        if bulks_turn && let Some(waiter) = self.bulk.pop_front() {
            self.in_a_row = 0;
            return Some(waiter);
        }
        let waiter = self.interactive.pop_front()?;
        // Counts only while a bulk job is kept waiting.
        self.in_a_row = if self.bulk.is_empty() { 0 } else { self.in_a_row + 1 };
        Some(waiter)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::pin::Pin;

    type Waiting = Pin<Box<dyn Future<Output = Slot>>>;

    fn wait(slots: &Slots, lane: Lane) -> Waiting {
        let slots = slots.clone();
        let mut waiting: Waiting = Box::pin(async move { slots.acquire(lane).await });
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
                .find_map(|(index, (_, it))| it.as_mut().now_or_never().map(|slot| (index, slot)))
                .expect("the freed slot went to somebody");
            order.push(waiting.remove(index).0);
            held = slot;
        }
        order
    }

    #[test]
    fn the_interactive_lane_goes_first_and_the_bulk_lane_has_every_fifth_turn() {
        let slots = Slots::new(1);
        let held = slots.acquire(Lane::Bulk).now_or_never().unwrap();
        let mut waiting = vec![("bulk", wait(&slots, Lane::Bulk)), ("bulk", wait(&slots, Lane::Bulk))];
        waiting.extend((0..6).map(|_| ("interactive", wait(&slots, Lane::Interactive))));
        let i = "interactive";
        assert_eq!(order(held, waiting), [i, i, i, i, "bulk", i, i, "bulk"]);
    }

    #[test]
    fn who_gives_up_waiting_loses_no_slot() {
        let slots = Slots::new(1);
        let held = slots.acquire(Lane::Bulk).now_or_never().unwrap();
        let impatient = wait(&slots, Lane::Interactive);
        let patient = wait(&slots, Lane::Bulk);
        drop(impatient);
        assert_eq!(order(held, vec![("patient", patient)]), ["patient"]);
        assert!(slots.acquire(Lane::Bulk).now_or_never().is_some(), "the slot came back");
    }

    #[test]
    fn a_job_in_doubt_waits_for_the_others_and_then_keeps_them_waiting() {
        let slots = Slots::new(3);
        let neighbour = slots.together(Lane::Bulk).now_or_never().unwrap();
        let mut doubtful = Box::pin(slots.alone(Lane::Bulk));
        assert!(doubtful.as_mut().now_or_never().is_none(), "somebody runs");
        let mut next = Box::pin(slots.together(Lane::Interactive));
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
        let held = slots.acquire(Lane::Bulk).now_or_never().unwrap();
        let waiting = wait(&slots, Lane::Bulk);
        drop(held);
        drop(waiting);
        assert!(slots.acquire(Lane::Bulk).now_or_never().is_some());
    }
}
