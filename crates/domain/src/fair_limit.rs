//! A limit on what may be under way at once. No party takes more than its share of it. A party that is refused gets
//! the time after which it should ask again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The least time until a refused party should come again.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest. A limit that suddenly moves faster is noticed after this time.
const LONGEST: Duration = Duration::from_mins(5);
/// What one permit takes, until the first is given back.
const FIRST_GUESS: Duration = Duration::from_secs(1);
/// The weight of the last permit in the average of how long permits are held.
const WEIGHT: f64 = 0.125;

/// A limit that several parties share; clones share it.
#[derive(Clone)]
pub struct FairLimit<P: Eq + Hash> {
    state: Arc<Mutex<SharedCounts<P>>>,
    limit: usize,
    share: usize,
}

struct SharedCounts<P> {
    held: usize,
    parties: HashMap<P, Party>,
    /// How long a permit is held, on average.
    usual: Duration,
}

#[derive(Clone, Copy)]
struct Party {
    held: usize,
    /// When the next one that is refused should come again.
    next: Instant,
}

/// One thing under way. Dropping it ends it.
pub struct FairPermit<P: Eq + Hash> {
    limit: FairLimit<P>,
    party: Option<P>,
    since: Instant,
}

impl<P: Eq + Hash> FairLimit<P> {
    /// At most `limit` at once, of which one party holds at most half, rounded up.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::with_share(limit, limit.div_ceil(2))
    }

    /// At most `limit` at once, of which one party holds at most `share`. Both are at least 1.
    #[must_use]
    pub fn with_share(limit: usize, share: usize) -> Self {
        let state = SharedCounts { held: 0, parties: HashMap::new(), usual: FIRST_GUESS };
        Self { state: Arc::new(Mutex::new(state)), limit: limit.max(1), share: share.max(1) }
    }

    /// Begins something now, if the limit and the party's share allow it.
    ///
    /// # Errors
    /// How long to wait before asking again. Each refusal of a party waits a little longer than the one before: about
    /// when the permits of those before it will have been given back.
    pub fn try_acquire(&self, party: P, now: Instant) -> Result<FairPermit<P>, Duration>
    where
        P: Clone,
    {
        let mut state = self.lock();
        let free = state.held < self.limit;
        let spacing = state.usual / u32::try_from(self.share).unwrap_or(u32::MAX);
        let entry = state.parties.entry(party.clone()).or_insert(Party { held: 0, next: now });
        if free && entry.held < self.share {
            entry.held += 1;
            state.held += 1;
            drop(state);
            return Ok(FairPermit { limit: self.clone(), party: Some(party), since: now });
        }
        entry.next = (entry.next.max(now + SHORTEST) + spacing).min(now + LONGEST);
        let wait = entry.next - now;
        state.parties.retain(|_, place| place.held > 0 || place.next > now);
        Err(wait)
    }

    fn release(&self, party: &P, held_for: Duration) {
        let mut state = self.lock();
        state.held -= 1;
        state.usual = state.usual.mul_f64(1.0 - WEIGHT) + held_for.mul_f64(WEIGHT);
        if let Some(place) = state.parties.get_mut(party) {
            place.held -= 1;
            if place.held == 0 && place.next <= Instant::now() {
                state.parties.remove(party);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, SharedCounts<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Eq + Hash> Drop for FairPermit<P> {
    fn drop(&mut self) {
        if let Some(party) = self.party.take() {
            self.limit.release(&party, self.since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_party_gets_half_and_another_finds_room() {
        let (limit, now) = (FairLimit::new(5), Instant::now());
        let greedy: Vec<_> = (0..3).map(|_| limit.try_acquire("greedy", now).ok().unwrap()).collect();
        assert!(limit.try_acquire("greedy", now).is_err(), "more than half");
        let _others = ["a", "b"].map(|other| limit.try_acquire(other, now).ok().unwrap());
        assert!(limit.try_acquire("c", now).is_err(), "five are under way");
        drop(greedy);
        assert!(limit.try_acquire("c", now).is_ok());
    }

    #[test]
    fn a_limit_of_one_lets_one_through() {
        let (limit, now) = (FairLimit::new(1), Instant::now());
        let held = limit.try_acquire(1, now).ok().unwrap();
        assert!(limit.try_acquire(1, now).is_err() && limit.try_acquire(2, now).is_err());
        drop(held);
        assert!(limit.try_acquire(2, now).is_ok());
    }

    #[test]
    fn each_refusal_waits_longer_up_to_five_minutes_and_a_new_party_starts_afresh() {
        let (limit, now) = (FairLimit::new(2), Instant::now());
        let held = [limit.try_acquire("a", now).ok().unwrap(), limit.try_acquire("b", now).ok().unwrap()];
        let waits: Vec<_> = (0..1000).map(|_| limit.try_acquire("a", now).err().unwrap()).collect();
        assert!(waits.is_sorted() && waits[0] < waits[1], "{:?}", &waits[..3]);
        assert_eq!(waits[0], SHORTEST + FIRST_GUESS);
        assert_eq!(waits[999], LONGEST);
        assert_eq!(limit.try_acquire("b", now).err(), Some(SHORTEST + FIRST_GUESS));
        drop(held);
        assert!(limit.try_acquire("a", now).is_ok());
    }

    #[test]
    fn parties_that_hold_nothing_and_wait_for_nothing_are_forgotten() {
        let limit = FairLimit::new(1);
        let now = Instant::now();
        let held = limit.try_acquire(0, now).ok().unwrap();
        for party in 1..100 {
            assert!(limit.try_acquire(party, now).is_err());
        }
        drop(held);
        let held = limit.try_acquire(0, now).ok().unwrap();
        assert!(limit.try_acquire(0, now + LONGEST).is_err());
        assert_eq!(limit.lock().parties.len(), 1);
        drop(held);
    }
}
