//! How long the stages of an analysis took.

use std::time::{Duration, Instant};

/// Time that each stage took on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Bytes to picture.
    pub decode: Duration,
    /// All runs of the detectors.
    pub detect: Duration,
    /// All landmark runs.
    pub landmarks: Duration,
    /// Chips.
    pub align: Duration,
    /// Embedding networks.
    pub embed: Duration,
    /// Measures of quality.
    pub quality: Duration,
}

impl Timings {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.decode + self.detect + self.landmarks + self.align + self.embed + self.quality
    }
}

/// Does `work`, and adds the time it took to `spent`.
pub fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}
