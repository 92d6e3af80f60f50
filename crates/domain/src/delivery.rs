//! When a failed webhook delivery is attempted again. The schedule is data.

use std::time::Duration;

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

const fn hours(hours: u64) -> Duration {
    minutes(60 * hours)
}

/// Waits between attempts. The last attempt comes about 76 hours after the first, which spans a long weekend.
pub const SCHEDULE: [Duration; 9] =
    [Duration::from_secs(5), minutes(5), minutes(30), hours(2), hours(5), hours(10), hours(14), hours(20), hours(24)];

/// The longest wait that a receiver may ask for. It equals the longest of the schedule.
pub const LONGEST_RETRY_AFTER: Duration = hours(24);

/// An endpoint is disabled after failing for this long.
pub const FAILING: Duration = hours(5 * 24);

/// How long finished deliveries are kept, whether they arrived or were given up.
pub const KEPT: Duration = hours(30 * 24);

/// The wait after attempt number `attempt` (1 for the first), or `None` when the schedule is over. `jitter` in [0, 1]
/// stretches the schedule's wait by up to a fifth, so that deliveries that failed together do not all return together.
/// A longer wait that the receiver asked for is honoured up to [`LONGEST_RETRY_AFTER`].
#[must_use]
pub fn after_attempt(attempt: i32, jitter: f64, retry_after: Option<Duration>) -> Option<Duration> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    let wait = SCHEDULE.get(index)?.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
    Some(retry_after.map_or(wait, |asked| wait.max(asked.min(LONGEST_RETRY_AFTER))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_have_nine_waits_between_them() {
        let waits: Vec<_> = (1..=10).map(|n| after_attempt(n, 0.0, None).map(|wait| wait.as_secs())).collect();
        let expected = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400].map(Some);
        assert_eq!(waits, [&expected[..], &[None]].concat());
        assert_eq!(after_attempt(0, 0.0, None), None);
    }

    #[test]
    fn jitter_stretches_by_a_fifth_at_most_and_never_shortens() {
        assert_eq!(after_attempt(1, 1.0, None), Some(Duration::from_secs(6)));
        assert_eq!(after_attempt(1, 7.0, None), Some(Duration::from_secs(6)));
        assert_eq!(after_attempt(1, -3.0, None), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_less_and_not_for_ever() {
        let after = |attempt, seconds| after_attempt(attempt, 0.0, Some(Duration::from_secs(seconds))).unwrap();
        assert_eq!(after(1, 60), Duration::from_secs(60));
        assert_eq!(after(2, 60), Duration::from_secs(300), "the schedule's wait is longer");
        assert_eq!(after(1, 10_000_000), LONGEST_RETRY_AFTER);
        assert_eq!(
            after_attempt(10, 0.0, Some(Duration::from_secs(1))),
            None,
            "no more attempts than the schedule has"
        );
    }
}
