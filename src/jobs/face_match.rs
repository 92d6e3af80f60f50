//! `face_match` of several frames or of a video: the best frame against the reference.

use std::time::Instant;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::{Context, Finished, Inputs, JobError, Looked, compare, failed, held_against, liveness, look, rounded_ms};
use crate::domain::evidence::Mode;
use crate::domain::frames::FrameSummary;
use crate::domain::image::ImageRole;
use crate::domain::job::{JobParams, LiveCapture, VIDEO_FRAME};
use crate::domain::motion::{self, MotionLimits};
use crate::domain::outcome::{ImageFinding, ImageReport};
use crate::domain::policy::{self, Evidence};
use crate::video::{self, VideoFault};
use crate::vision::best_frame::{self, FrameParams};
use crate::vision::motion::{glimpses, parallax};

/// One picture of the live side.
struct Frame {
    image: Bytes,
    /// Seconds from a video's beginning.
    at: Option<f64>,
}

pub(super) async fn run(
    context: &Context,
    params: &JobParams,
    target: LiveCapture,
    inputs: &Inputs,
    deadline: Instant,
) -> Result<Finished, JobError> {
    let (reference, frames) = tokio::join!(
        look(context, inputs.image(ImageRole::Reference), params.mode(), deadline),
        frames(context, target, inputs),
    );
    let (reference, frames) = (reference?, frames?);
    let mut evidence = Evidence { images: vec![reference.report(ImageRole::Reference, 0)], ..Evidence::default() };
    let frames = match frames {
        Ok(frames) => frames,
        Err(fault) => {
            let seen = ImageFinding::Unreadable { code: fault.code().to_owned(), reason: fault.to_string() };
            evidence.images.push(ImageReport { role: ImageRole::Probe, position: 0, seen });
            evidence.frames = Some(FrameSummary::default());
            return Ok(Finished::plain(policy::decide(params.clone(), evidence)));
        }
    };

    // All of them as fast as it goes; the best one then as the caller wants it.
    let looked = frames.iter().map(|it| look(context, it.image.clone(), Mode::Fast, deadline));
    let looked = try_join_all(looked).await?;
    let mut compute_ms = reference.compute_ms() + looked.iter().map(Looked::compute_ms).sum::<f64>();
    let (seen, analyses): (Vec<_>, Vec<_>) = looked.into_iter().map(|it| (it.seen, it.analysis)).unzip();
    let best = best_frame::best(&analyses);
    let alike = |a: &_, b: &_| context.engine.compare(a, b, Mode::Fast);
    let mut together =
        best_frame::consistency(&analyses, best, &FrameParams::default(), alike).map_err(JobError::Retry)?;
    together.actions = motion::actions(&glimpses(&analyses), &MotionLimits::default());
    together.parallax = parallax(&analyses);
    // Without a face, a reviewer is shown the middle of the video.
    let shown = best.unwrap_or(frames.len() / 2);
    if target == LiveCapture::Video {
        together.best = best.map(|_| VIDEO_FRAME);
        together.best_at = best.and_then(|it| frames[it].at);
        evidence.images.push(ImageReport { role: ImageRole::Probe, position: VIDEO_FRAME, seen: seen[shown].clone() });
    } else {
        let report = |(position, seen)| ImageReport { role: ImageRole::Probe, position, seen };
        evidence.images.extend((0..).zip(seen).map(report));
    }
    evidence.frames = Some(together);

    let mut held = None;
    if let Some(best) = best {
        let image = frames[best].image.clone();
        let probe = look(context, image.clone(), params.mode(), deadline).await?;
        compute_ms += probe.compute_ms();
        held = held_against(&reference, &probe);
        evidence.comparison = compare(context, &reference, &probe, params.mode())?;
        if policy::wants_liveness(params, evidence.comparison.as_ref()) {
            evidence.liveness = liveness(context, image, &probe, deadline).await?;
        }
    }
    evidence.compute_ms = rounded_ms(compute_ms);
    let frame = (target == LiveCapture::Video).then(|| frames[shown].image.clone());
    Ok(Finished { frame, probe: held, ..Finished::plain(policy::decide(params.clone(), evidence)) })
}

/// The pictures of the live side in their order; the inner error is the video's own fault.
async fn frames(
    context: &Context,
    target: LiveCapture,
    inputs: &Inputs,
) -> Result<Result<Vec<Frame>, VideoFault>, JobError> {
    if target != LiveCapture::Video {
        let frames = inputs.all(ImageRole::Probe).map(|it| Frame { image: it.bytes.clone(), at: None });
        return Ok(Ok(frames.collect()));
    }
    match context.video.of(inputs.image(ImageRole::Probe)).await {
        Ok(frames) => Ok(Ok(frames.into_iter().map(|it| Frame { image: it.jpeg, at: Some(it.at) }).collect())),
        Err(video::Error::Video(fault)) => Ok(Err(fault)),
        Err(video::Error::Missing) => {
            Err(failed("video_unavailable", "no ffmpeg is installed beside the workers: send target_frames instead"))
        }
        Err(video::Error::Run(fault)) => Err(JobError::Video(fault)),
    }
}
