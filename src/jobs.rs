//! What a worker does with a claimed job. Both kinds look at two images the same way and differ in `domain::policy`
//! alone; a kind that looks in another way gets a file of its own here.
//!
//! No face, an unreadable image, a low score: those are outcomes. Errors are faults of machines.

use std::time::Instant;

use bytes::Bytes;

use crate::domain::evidence::Mode;
use crate::domain::job::Params;
use crate::domain::outcome::{Comparison, Outcome};
use crate::domain::policy::{self, Seen};
use crate::vision::{self, Analysis, Engine};

/// The two images of every kind, as they were sent.
pub struct Images {
    pub reference: Bytes,
    pub probe: Bytes,
}

/// Why a job gave no outcome: chosen where the fault arises.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Another attempt may do better.
    #[error(transparent)]
    Retry(vision::Error),
    /// This worker is stopping: the attempt does not count.
    #[error("the vision engine is closed")]
    Stopping,
}

/// Runs a job until `deadline`. The two images are analysed side by side where threads are free.
///
/// # Errors
/// When a machine is at fault.
pub async fn run(engine: &Engine, params: &Params, images: Images, deadline: Instant) -> Result<Outcome, JobError> {
    let mode = params.mode();
    let (reference, probe) =
        tokio::join!(engine.analyse(images.reference, mode, deadline), engine.analyse(images.probe, mode, deadline),);
    let (reference, reference_seen) = look(reference)?;
    let (probe, probe_seen) = look(probe)?;
    let both = reference.as_ref().zip(probe.as_ref());
    let comparison = match both.and_then(|(a, b)| a.template.as_ref().zip(b.template.as_ref())) {
        Some((a, b)) => Some(compare(engine, a, b, mode)?),
        None => None,
    };
    let compute_ms = [reference, probe].iter().flatten().map(|it| it.timings.total().as_secs_f64() * 1e3).sum::<f64>();
    // A microsecond is precise enough, and reads better.
    let compute_ms = (compute_ms * 1e3).round() / 1e3;
    Ok(policy::decide(params.clone(), &reference_seen, &probe_seen, comparison, compute_ms))
}

/// Sorts an analysis into what was seen and what went wrong.
fn look(analysis: Result<Analysis, vision::Error>) -> Result<(Option<Analysis>, Seen), JobError> {
    match analysis {
        Ok(analysis) => {
            let seen = Seen::Faces(analysis.faces.len());
            Ok((Some(analysis), seen))
        }
        Err(vision::Error::Image(fault)) => {
            Ok((None, Seen::Unreadable { code: fault.code(), reason: fault.to_string() }))
        }
        Err(vision::Error::Closed) => Err(JobError::Stopping),
        Err(fault @ (vision::Error::Runtime(_) | vision::Error::Deadline)) => Err(JobError::Retry(fault)),
    }
}

fn compare(
    engine: &Engine,
    reference: &vision::Template,
    probe: &vision::Template,
    mode: Mode,
) -> Result<Comparison, JobError> {
    let comparison = engine.compare(reference, probe, mode).map_err(JobError::Retry)?;
    Ok(Comparison {
        raw: comparison.raw,
        similarity: comparison.similarity,
        mode,
        model: comparison.model,
        calibration: comparison.calibration,
    })
}
