//! `face_match` with several frames or a video: compares the best frame with the reference.

use std::time::Instant;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::{
    AnalysedImage, Context, Finished, Inputs, JobError, analyse, compare, failed, liveness, probe_scene, rounded_ms,
};
use crate::domain::evidence::Mode;
use crate::domain::frames::FrameSummary;
use crate::domain::image::ImageRole;
use crate::domain::job::{JobParams, LiveCapture, VIDEO_FRAME};
use crate::domain::motion::{self, MotionLimits};
use crate::domain::outcome::{ImageFinding, ImageReport};
use crate::domain::policy::{self, Evidence};
use crate::video::{self, VideoFault};
use crate::vision::best_frame::{self, FrameParams};
use crate::vision::motion::{frame_measures, parallax};

/// One frame of the live capture.
struct LiveFrame {
    image: Bytes,
    /// Seconds from the start of the video.
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
        analyse(context, inputs.image(ImageRole::Reference), params.mode(), deadline),
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

    // All frames are analysed in fast mode, and then the best one in the mode of the request.
    let images = frames.iter().map(|frame| analyse(context, frame.image.clone(), Mode::Fast, deadline));
    let images = try_join_all(images).await?;
    let mut compute_ms = reference.compute_ms() + images.iter().map(AnalysedImage::compute_ms).sum::<f64>();
    let (seen, analyses): (Vec<_>, Vec<_>) = images.into_iter().map(|image| (image.seen, image.analysis)).unzip();
    let best = best_frame::best(&analyses);
    let alike = |a: &_, b: &_| context.engine.compare(a, b, Mode::Fast);
    let mut summary =
        best_frame::consistency(&analyses, best, &FrameParams::default(), alike).map_err(JobError::Retry)?;
    summary.actions = motion::actions(&frame_measures(&analyses), &MotionLimits::default());
    summary.parallax = parallax(&analyses);
    // Without a face in any frame, reviewers are shown the middle one.
    let shown = best.unwrap_or(frames.len() / 2);
    if target == LiveCapture::Video {
        summary.best = best.map(|_| VIDEO_FRAME);
        summary.best_at = best.and_then(|frame| frames[frame].at);
        evidence.images.push(ImageReport { role: ImageRole::Probe, position: VIDEO_FRAME, seen: seen[shown].clone() });
    } else {
        let report = |(position, seen)| ImageReport { role: ImageRole::Probe, position, seen };
        evidence.images.extend((0..).zip(seen).map(report));
    }
    evidence.frames = Some(summary);

    let mut scenes = None;
    if let Some(best) = best {
        let image = frames[best].image.clone();
        let probe = analyse(context, image.clone(), params.mode(), deadline).await?;
        compute_ms += probe.compute_ms();
        scenes = probe_scene(&reference, &probe);
        evidence.comparison = compare(context, &reference, &probe, params.mode())?;
        if policy::wants_liveness(params, evidence.comparison.as_ref()) {
            evidence.liveness = liveness(context, image, &probe, deadline).await?;
        }
    }
    evidence.compute_ms = rounded_ms(compute_ms);
    let frame = (target == LiveCapture::Video).then(|| frames[shown].image.clone());
    Ok(Finished { frame, probe: scenes, ..Finished::plain(policy::decide(params.clone(), evidence)) })
}

/// The frames of the live capture, in their order. The inner error is a fault of the video itself.
async fn frames(
    context: &Context,
    target: LiveCapture,
    inputs: &Inputs,
) -> Result<Result<Vec<LiveFrame>, VideoFault>, JobError> {
    if target != LiveCapture::Video {
        let frames = inputs.all(ImageRole::Probe).map(|image| LiveFrame { image: image.bytes.clone(), at: None });
        return Ok(Ok(frames.collect()));
    }
    match context.video.of(inputs.image(ImageRole::Probe)).await {
        Ok(frames) => {
            Ok(Ok(frames.into_iter().map(|frame| LiveFrame { image: frame.jpeg, at: Some(frame.at) }).collect()))
        }
        Err(video::Error::Video(fault)) => Ok(Err(fault)),
        Err(video::Error::Missing) => {
            Err(failed("video_unavailable", "no ffmpeg is installed beside the workers: send target_frames instead"))
        }
        Err(video::Error::Run(fault)) => Err(JobError::Video(fault)),
    }
}
