//! Runs a claimed job: one file for each way of analysing its images. `domain::policy` decides the verdict.
//!
//! A missing face, an unreadable image and a low score are outcomes. Errors are faults of machines.

mod compare_with_liveness;
mod face_match;
mod id_match;
mod pair;
pub mod sandbox;
pub mod slots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::domain::evidence::{Liveness, Mode};
use crate::domain::identity::{IdNumber, IdentityRecord};
use crate::domain::image::ImageRole;
use crate::domain::job::{Failure, JobParams, LiveCapture};
use crate::domain::outcome::{Comparison, ImageFinding, ImageReport, Outcome};
use crate::identity::{self, Sources};
use crate::video;
use crate::vision::scene::Scene;
use crate::vision::{self, Analysis, Engine, Template};
use slots::RunPermit;

/// What all jobs share.
#[derive(Clone)]
pub struct Context {
    pub engine: Arc<Engine>,
    pub sources: Arc<Sources>,
    pub video: video::Frames,
}

/// The inputs of one job.
pub struct Inputs {
    /// Ordered by role and position.
    pub images: Vec<InputImage>,
    /// Present in `id_match` only.
    pub id_number: Option<IdNumber>,
}

/// An image as it was sent.
pub struct InputImage {
    pub role: ImageRole,
    pub position: u16,
    pub bytes: Bytes,
}

impl Inputs {
    /// The bytes of the first image of a role. Every job has the images of its kind: the worker checks that when it
    /// fetches them.
    fn image(&self, role: ImageRole) -> Bytes {
        self.all(role).next().map(|image| image.bytes.clone()).unwrap_or_default()
    }

    /// The images of a role, in their order.
    fn all(&self, role: ImageRole) -> impl Iterator<Item = &InputImage> {
        self.images.iter().filter(move |image| image.role == role)
    }
}

/// The result of a job.
pub struct Finished {
    pub outcome: Outcome,
    /// The source's record in an `id_match`. The worker encrypts it.
    pub identity: Option<IdentityRecord>,
    /// The compared frame of a video, as a JPEG. The worker stores it beside the video.
    pub frame: Option<Bytes>,
    /// The compared probe, for kinds that warn about a picture that is sent twice.
    pub probe: Option<ProbeScene>,
}

/// Coarse versions of the pictures that were compared.
pub struct ProbeScene {
    pub scene: Scene,
    /// The picture that it was compared with. None when an ID number names the person.
    pub reference: Option<Scene>,
}

impl Finished {
    fn plain(outcome: Outcome) -> Self {
        Self { outcome, identity: None, frame: None, probe: None }
    }
}

/// Why a job has no outcome. The variant is chosen where the fault arises.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Another attempt may do better.
    #[error(transparent)]
    Retry(vision::Error),
    /// The identity source did not answer: another attempt may do better.
    #[error("identity source: {0}")]
    SourceDown(#[source] identity::Transient),
    /// The identity source gave an answer that will not change with another attempt.
    #[error("identity source: {0}")]
    SourceFault(#[source] identity::Permanent),
    /// The program that decodes videos cannot be run: another attempt may do better.
    #[error("ffmpeg cannot be run: {0}")]
    Video(#[source] std::io::Error),
    /// No other attempt can do better.
    #[error("{}", .0.detail)]
    Fail(Failure),
    /// A test key asked for a delay: the job is put back for so long, and the attempt does not count.
    #[error("the sandbox was asked to wait")]
    Later(Duration),
    /// A test key asked for a transient fault.
    #[error("the sandbox was asked to fail this attempt")]
    Sandbox,
    /// This worker is stopping: the attempt does not count.
    #[error("the vision engine is closed")]
    Stopping,
}

/// Runs a job until `deadline`. `permit` is lent to other jobs while this one waits for somebody else's server.
///
/// # Errors
/// When a machine is at fault.
pub async fn run(
    context: &Context,
    params: &JobParams,
    inputs: &Inputs,
    permit: &mut RunPermit,
    deadline: Instant,
) -> Result<Finished, JobError> {
    match params {
        JobParams::LikenessCheck { .. } | JobParams::FaceMatch { target: LiveCapture::Image, .. } => {
            pair::run(context, params, inputs, deadline).await
        }
        JobParams::FaceMatch { target, .. } => face_match::run(context, params, *target, inputs, deadline).await,
        JobParams::IdMatch { .. } => id_match::run(context, params, inputs, permit, deadline).await,
        JobParams::CompareWithLiveness { .. } => compare_with_liveness::run(context, params, inputs, deadline).await,
    }
}

/// One image after its analysis.
struct AnalysedImage {
    analysis: Option<Analysis>,
    seen: ImageFinding,
}

impl AnalysedImage {
    fn template(&self) -> Option<&Template> {
        self.analysis.as_ref().and_then(|analysis| analysis.template.as_ref())
    }

    fn compute_ms(&self) -> f64 {
        self.analysis.as_ref().map_or(0.0, |analysis| analysis.timings.total().as_secs_f64() * 1e3)
    }

    /// The coarse picture, when it shows a face.
    fn scene(&self) -> Option<Scene> {
        self.analysis.as_ref().filter(|analysis| analysis.template.is_some()).map(|analysis| analysis.scene.clone())
    }

    fn report(&self, role: ImageRole, position: u16) -> ImageReport {
        ImageReport { role, position, seen: self.seen.clone() }
    }
}

/// Analyses an image. An unreadable image is a finding; all other faults are errors.
async fn analyse(context: &Context, image: Bytes, mode: Mode, deadline: Instant) -> Result<AnalysedImage, JobError> {
    match context.engine.analyse(image, mode, deadline).await {
        Ok(analysis) => {
            let pixels = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
            let seen = ImageFinding::Picture {
                width: pixels(analysis.width),
                height: pixels(analysis.height),
                faces: pixels(analysis.faces.len()),
                face: analysis
                    .primary_face()
                    .map(|face| [face.bbox.left, face.bbox.top, face.bbox.right, face.bbox.bottom]),
                quality: analysis.quality,
                provenance: analysis.provenance,
            };
            Ok(AnalysedImage { analysis: Some(analysis), seen })
        }
        Err(vision::Error::Image(fault)) => {
            let seen = ImageFinding::Unreadable { code: fault.code().to_owned(), reason: fault.to_string() };
            Ok(AnalysedImage { analysis: None, seen })
        }
        Err(vision::Error::Closed) => Err(JobError::Stopping),
        Err(fault @ (vision::Error::Runtime(_) | vision::Error::Deadline)) => Err(JobError::Retry(fault)),
    }
}

/// The coarse pictures of a probe and its reference, when both show a face.
fn probe_scene(reference: &AnalysedImage, probe: &AnalysedImage) -> Option<ProbeScene> {
    let (scene, reference) = probe.scene().zip(reference.scene())?;
    Some(ProbeScene { scene, reference: Some(reference) })
}

/// Compares two images. `None` when one of them has no usable face.
fn compare(
    context: &Context,
    a: &AnalysedImage,
    b: &AnalysedImage,
    mode: Mode,
) -> Result<Option<Comparison>, JobError> {
    let Some((a, b)) = a.template().zip(b.template()) else { return Ok(None) };
    let comparison = context.engine.compare(a, b, mode).map_err(JobError::Retry)?;
    Ok(Some(Comparison {
        raw: comparison.raw,
        similarity: comparison.similarity,
        mode,
        model: comparison.model,
        calibration: comparison.calibration,
    }))
}

/// Tests liveness in the probe's image. `None` when no model is installed, or no face was found.
async fn liveness(
    context: &Context,
    image: Bytes,
    probe: &AnalysedImage,
    deadline: Instant,
) -> Result<Option<Liveness>, JobError> {
    let face = probe.analysis.as_ref().and_then(Analysis::primary_face);
    let Some(face) = face.filter(|_| context.engine.liveness_model().is_some()) else { return Ok(None) };
    let tested = context.engine.liveness(image, face.clone(), deadline).await;
    tested.map_err(|fault| match fault {
        vision::Error::Closed => JobError::Stopping,
        vision::Error::Image(fault) => failed(fault.code(), &fault.to_string()),
        fault => JobError::Retry(fault),
    })
}

fn failed(code: &str, detail: &str) -> JobError {
    JobError::Fail(Failure { code: code.to_owned(), detail: detail.to_owned() })
}

/// Milliseconds, rounded to the microsecond.
fn rounded_ms(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}
