//! Waiting for another process: on a condition, and with a time limit.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Returns once `condition` holds. Panics with `what` if it does not hold within the time.
pub async fn eventually(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    obtain(what, within, async || condition().await.then_some(())).await;
}

/// Returns what `look` finds. Panics with `what` if it finds nothing within the time.
pub async fn obtain<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "not within {within:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}
