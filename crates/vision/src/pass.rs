//! One pass of a picture through the stages: whether to go on, and how long each stage took.

use std::time::{Duration, Instant};

use super::fault::Error;

/// One pass of a picture through the stages. Every stage receives it.
pub struct Pass<'a> {
    checkpoint: &'a dyn Fn() -> Result<(), Error>,
    /// How long the stages took so far.
    pub timings: Timings,
}

impl<'a> Pass<'a> {
    /// A pass that asks `checkpoint` before each stage whether to go on.
    #[must_use]
    pub fn new(checkpoint: &'a dyn Fn() -> Result<(), Error>) -> Self {
        Self { checkpoint, timings: Timings::default() }
    }

    /// Asks whether to go on.
    ///
    /// # Errors
    /// The error with which the pass should end, such as [`Error::Deadline`].
    pub fn checkpoint(&self) -> Result<(), Error> {
        (self.checkpoint)()
    }
}

/// A pass that nothing ends early.
impl Default for Pass<'_> {
    fn default() -> Self {
        Self::new(&|| Ok(()))
    }
}

/// Time that each stage took on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Decoding the file.
    pub decode: Duration,
    /// All runs of the detectors.
    pub detect: Duration,
    /// All runs of the landmark network.
    pub landmarks: Duration,
    /// Cutting out the aligned faces.
    pub align: Duration,
    /// All runs of the embedders.
    pub embed: Duration,
    /// Measuring quality.
    pub quality: Duration,
}

impl Timings {
    /// The sum of all stages.
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
