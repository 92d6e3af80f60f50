//! Extracts still frames from a video with ffmpeg, which runs in a process of its own. This process never decodes a
//! stranger's video.
//!
//! The child process has limits on time, memory and written bytes. It has no environment. It has one file, an anonymous
//! file in memory that is its standard input. ffmpeg may use only the demuxer of the format that the bytes show, and a
//! few decoders. It opens no other file and no network connection. Nothing of the video is written to a disk.

use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::domain::image::VideoFormat;
use multipart::Multipart;

mod multipart;

/// Limits for videos, and for decoding them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoParams {
    /// Longest video, in seconds.
    pub max_length: f64,
    /// Most pixels of a stored frame.
    pub max_pixels: u32,
    /// Frames for each second that are extracted.
    pub rate: f64,
    /// Most frames that are kept, evenly spread over the video; at least two.
    pub max_frames: usize,
    /// Most pixels of the longer side of a kept frame.
    pub long_side: u32,
    /// Time limit for the whole extraction.
    pub patience: Duration,
    /// CPU seconds.
    pub cpu_seconds: u64,
    /// Bytes of address space.
    pub memory: u64,
}

/// The contract allows 60 s, and phones film in 4K. Five frames a second include one without blur between two blinks. A
/// report shows 1920 pixels. A minute of 4K takes about 20 s on one core and 600 MB.
impl Default for VideoParams {
    fn default() -> Self {
        Self {
            max_length: 60.0,
            max_pixels: 9_000_000,
            rate: 5.0,
            max_frames: 30,
            long_side: 1920,
            patience: Duration::from_secs(30),
            cpu_seconds: 50,
            memory: 1 << 30,
        }
    }
}

/// A frame of a video.
#[derive(Clone)]
pub struct Frame {
    /// Seconds since the beginning.
    pub at: f64,
    /// The upright frame as a JPEG of high quality.
    pub jpeg: Bytes,
}

/// What is wrong with a sent video, in words for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum VideoFault {
    #[error("the file is not an MP4 or WebM video")]
    UnsupportedFormat,
    #[error("the video is longer than {0} seconds; send a shorter one")]
    TooLong(f64),
    #[error("the video's frames have more than {:.1} megapixels; record it at a lower resolution", f64::from(*.0) / 1e6)]
    TooManyPixels(u32),
    #[error("decoding the video takes too long; send a shorter one, or one of a lower resolution")]
    TooHeavy,
    #[error(
        "the video is damaged, cut short, or of a kind that is not read; send it as the camera or the browser made it"
    )]
    Invalid,
}

impl VideoFault {
    /// The machine-readable code. It is stable across releases.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedFormat => "unsupported_video_format",
            Self::TooLong(_) => "video_too_long",
            Self::TooManyPixels(_) => "too_many_pixels",
            Self::TooHeavy => "video_too_heavy",
            Self::Invalid => "invalid_video",
        }
    }
}

/// Why no frames were extracted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sent bytes are at fault.
    #[error(transparent)]
    Video(#[from] VideoFault),
    #[error("no ffmpeg is installed here")]
    Missing,
    #[error("ffmpeg cannot be run: {0}")]
    Run(#[from] std::io::Error),
}

/// Extracts frames from videos. Clones share only settings.
#[derive(Debug, Clone)]
pub struct Frames {
    ffmpeg: Option<PathBuf>,
    params: VideoParams,
}

impl Frames {
    /// Uses the program at this path. Without one, every video is refused.
    #[must_use]
    pub fn new(ffmpeg: Option<PathBuf>, params: VideoParams) -> Self {
        Self { ffmpeg, params }
    }

    /// The frames of a video in their order; at least one.
    ///
    /// # Errors
    /// When the video is at fault, or ffmpeg cannot run.
    pub async fn of(&self, video: Bytes) -> Result<Vec<Frame>, Error> {
        let program = self.ffmpeg.as_ref().ok_or(Error::Missing)?;
        let format = VideoFormat::sniff(&video).ok_or(VideoFault::UnsupportedFormat)?;
        let input = tokio::task::spawn_blocking(move || in_memory(&video)).await.map_err(std::io::Error::other)??;
        let VideoParams { memory, cpu_seconds, .. } = self.params;
        let limits = [("as", memory), ("cpu", cpu_seconds), ("fsize", 0), ("core", 0), ("nofile", 32)];
        let mut command = Command::new("prlimit");
        command.args(limits.map(|(name, limit)| format!("--{name}={limit}")));
        command.arg("--").arg(program).args(self.arguments(format));
        command.env_clear().current_dir("/").kill_on_drop(true);
        let child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let read = tokio::time::timeout(self.params.patience, self.read(child)).await;
        read.unwrap_or(Err(VideoFault::TooHeavy.into()))
    }

    async fn read(&self, mut child: Child) -> Result<Vec<Frame>, Error> {
        let (Some(mut output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(std::io::Error::other("a pipe is missing").into());
        };
        let mut said = Vec::new();
        let (frames, ()) = tokio::try_join!(self.collect(&mut output), async {
            (&mut errors).take(MAX_SAID).read_to_end(&mut said).await?;
            // Read to the end. Otherwise a child with many messages would wait for ever.
            tokio::io::copy(&mut errors, &mut tokio::io::sink()).await?;
            Ok(())
        })?;
        let status = child.wait().await?;
        if !frames.is_empty() {
            return Ok(frames);
        }
        // ffmpeg's messages are never passed on, because they may quote the file.
        let said = String::from_utf8_lossy(&said);
        if said.contains("exceeds specified max pixel count") {
            Err(VideoFault::TooManyPixels(self.params.max_pixels).into())
        } else if status.code().is_none() {
            Err(VideoFault::TooHeavy.into())
        } else {
            Err(VideoFault::Invalid.into())
        }
    }

    /// Keeps every frame until there are too many, then every second frame, and so on.
    async fn collect(&self, output: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Vec<Frame>, Error> {
        let mut parts = Multipart::new(output);
        let (mut kept, mut stride, mut count) = (Vec::new(), 1, 0_u32);
        while let Some(jpeg) = parts.next().await? {
            let at = f64::from(count) / self.params.rate;
            if at > self.params.max_length {
                return Err(VideoFault::TooLong(self.params.max_length).into());
            }
            if count % stride == 0 {
                kept.push(Frame { at, jpeg });
            }
            count += 1;
            if kept.len() > 2 * self.params.max_frames {
                kept = kept.into_iter().step_by(2).collect();
                stride *= 2;
            }
        }
        Ok(evenly(kept, self.params.max_frames))
    }

    fn arguments(&self, format: VideoFormat) -> Vec<String> {
        let VideoParams { max_pixels, rate, long_side, max_length, .. } = self.params;
        let (demuxer, decoders) = match format {
            VideoFormat::Mp4 => ("mp4", "h264,hevc,mpeg4,av1,libdav1d,vp9"),
            VideoFormat::Webm => ("webm", "vp8,vp9,av1,libdav1d,h264"),
        };
        let scale = format!("min({long_side},iw)");
        let filter =
            format!("fps={rate},scale='{scale}':'{}':force_original_aspect_ratio=decrease", scale.replace("iw", "ih"));
        // One second more than allowed, to notice longer videos.
        let length = max_length + 1.0;
        let text = format!(
            "-nostdin -hide_banner -loglevel error -protocol_whitelist file -codec_whitelist {decoders} \
             -max_pixels {max_pixels} -threads 2 -f {demuxer} -t {length} -i file:/dev/stdin \
             -map 0:v:0 -an -sn -dn -vf {filter} -c:v mjpeg -q:v 2 -f mpjpeg pipe:1"
        );
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }
}

/// How many bytes of ffmpeg's messages are read.
const MAX_SAID: u64 = 8 << 10;

/// An anonymous file in memory that contains `bytes`, positioned at its beginning.
fn in_memory(bytes: &[u8]) -> std::io::Result<std::fs::File> {
    let mut file = std::fs::File::from(memfd_create("video", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// At most `count` of the frames, including the first and the last.
fn evenly(frames: Vec<Frame>, count: usize) -> Vec<Frame> {
    if frames.len() <= count {
        return frames;
    }
    let last = frames.len() - 1;
    (0..count).map(|i| frames[i * last / (count - 1).max(1)].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_frames_are_spread_evenly_with_the_first_and_the_last() {
        let frame = |i: u32| Frame { at: f64::from(i), jpeg: Bytes::new() };
        let times =
            |n, count| evenly((0..n).map(frame).collect(), count).iter().map(|frame| frame.at).collect::<Vec<_>>();
        assert_eq!(times(9, 5), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(times(3, 5), [0.0, 1.0, 2.0]);
        assert_eq!(times(4, 2), [0.0, 3.0]);
    }
}
