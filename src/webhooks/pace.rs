//! How fast an endpoint is called. The number of attempts at the same time grows with every success and halves with
//! every failure (AIMD, as in TCP); attempts a second stay below the owner's limit. No input or output; the time is
//! passed in.

use std::time::{Duration, Instant};

/// Attempts at the same time to a new endpoint.
pub(super) const FIRST: i32 = 2;
/// The most attempts at the same time to any endpoint. More would not speed up a healthy one and might overload a small
/// one.
const MOST: f64 = 64.0;

/// The pace of one endpoint.
pub(super) struct Pace {
    window: f64,
    in_flight: u32,
    rate: Option<u32>,
    /// With a rate limit: attempts that may begin now, at most those of one second.
    tokens: f64,
    filled_at: Instant,
    used_at: Instant,
}

impl Pace {
    pub(super) fn new(failing: bool, rate: Option<u32>, now: Instant) -> Self {
        let window = if failing { 1.0 } else { f64::from(FIRST) };
        Self { window, in_flight: 0, rate, tokens: tokens(rate), filled_at: now, used_at: now }
    }

    /// How many attempts may begin now.
    pub(super) fn room(&mut self, now: Instant) -> u32 {
        let of_window = whole(self.window).saturating_sub(self.in_flight);
        match self.rate {
            None => of_window,
            Some(rate) => {
                let since = now.saturating_duration_since(self.filled_at).as_secs_f64();
                self.tokens = (self.tokens + since * f64::from(rate)).min(f64::from(rate));
                self.filled_at = now;
                of_window.min(whole(self.tokens))
            }
        }
    }

    /// Notes that an attempt begins. `rate` is the current limit of attempts a second.
    pub(super) fn begin(&mut self, rate: Option<u32>, now: Instant) {
        if self.rate != rate {
            (self.rate, self.tokens) = (rate, tokens(rate));
        }
        self.tokens -= 1.0;
        self.in_flight += 1;
        self.used_at = now;
    }

    /// Notes that an attempt ended. `well`: it arrived quickly. A slow endpoint holds places that others could use.
    pub(super) fn end(&mut self, well: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.window = if well { (self.window + 1.0 / self.window).min(MOST) } else { (self.window / 2.0).max(1.0) };
    }

    /// Whether the endpoint was not called for `time`, so that its pace may be forgotten.
    pub(super) fn is_idle(&self, now: Instant, time: Duration) -> bool {
        self.in_flight == 0 && now.saturating_duration_since(self.used_at) > time
    }
}

fn tokens(rate: Option<u32>) -> f64 {
    rate.map_or(0.0, f64::from)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and some thousands")]
fn whole(number: f64) -> u32 {
    number.max(0.0).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_at_once_grow_with_success_and_halve_with_failure_down_to_one() {
        let now = Instant::now();
        let mut pace = Pace::new(false, None, now);
        assert_eq!(pace.room(now), 2);
        let once = |pace: &mut Pace, well| {
            pace.begin(None, now);
            pace.end(well);
        };
        for _ in 0..3000 {
            once(&mut pace, true);
        }
        assert_eq!(pace.room(now), 64, "and no further");
        for expected in [32, 16, 8, 4, 2, 1, 1] {
            once(&mut pace, false);
            assert_eq!(pace.room(now), expected);
        }
        assert_eq!(Pace::new(true, None, now).room(now), 1);
    }

    #[test]
    fn what_is_in_flight_takes_room() {
        let now = Instant::now();
        let mut pace = Pace::new(false, None, now);
        pace.begin(None, now);
        pace.begin(None, now);
        assert_eq!(pace.room(now), 0);
        pace.end(false);
        assert_eq!(pace.room(now), 0, "one is in flight, and the window is one");
    }

    #[test]
    fn no_more_begin_in_a_second_than_the_owner_allows() {
        let start = Instant::now();
        let mut pace = Pace::new(false, Some(3), start);
        let mut begun = 0;
        for tick in 0..1000 {
            let now = start + Duration::from_millis(10 * tick);
            while pace.room(now) > 0 {
                pace.begin(Some(3), now);
                pace.end(true);
                begun += 1;
            }
        }
        assert!((32..=33).contains(&begun), "ten seconds' worth and the first three: {begun}");
        pace.begin(None, start);
        assert!(pace.room(start) > 1, "the limit is lifted");
    }

    #[test]
    fn an_endpoint_is_forgotten_when_nobody_has_called_it_for_long() {
        let now = Instant::now();
        let mut pace = Pace::new(false, None, now);
        pace.begin(None, now);
        assert!(!pace.is_idle(now + Duration::from_secs(100), Duration::from_secs(60)), "in flight");
        pace.end(true);
        assert!(pace.is_idle(now + Duration::from_secs(100), Duration::from_secs(60)));
        assert!(!pace.is_idle(now + Duration::from_secs(30), Duration::from_secs(60)));
    }
}
