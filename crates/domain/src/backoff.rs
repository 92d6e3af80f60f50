//! When a job runs again after a transient fault. The schedule is data.

use std::time::Duration;

/// Attempts before a job fails for good.
pub const MAX_ATTEMPTS: i32 = 5;

const SCHEDULE: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(2), Duration::from_mins(10)];

/// The wait after attempt number `attempt` (1 for the first), or `None` when the job has used all of them. `jitter` in
/// [0, 1] stretches the wait by up to a fifth, so that jobs that failed together do not all return together.
#[must_use]
pub fn after_attempt(attempt: i32, jitter: f64) -> Option<Duration> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    SCHEDULE.get(index).map(|wait| wait.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_attempts_have_four_waits_between_them() {
        let waits: Vec<_> = (1..=MAX_ATTEMPTS).map(|n| after_attempt(n, 0.0).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(5), Some(30), Some(120), Some(600), None]);
    }

    #[test]
    fn jitter_stretches_and_never_shortens() {
        assert_eq!(after_attempt(1, 1.0), Some(Duration::from_secs(6)));
        assert_eq!(after_attempt(1, -3.0), Some(Duration::from_secs(5)));
        assert_eq!(after_attempt(0, 0.5), None);
    }
}
