//! Extracts frames from videos with a real ffmpeg.

use std::time::Duration;

use bytes::Bytes;
use visavis::video::{Error, Frame, Frames, VideoFault, VideoParams};

use crate::support::videos::{face, made, pattern, turned};

fn with(change: impl Fn(&mut VideoParams)) -> Frames {
    let mut params = VideoParams::default();
    change(&mut params);
    Frames::new(Some("/usr/bin/ffmpeg".into()), params)
}

async fn frames(video: Vec<u8>) -> Result<Vec<Frame>, Error> {
    with(|_| ()).of(Bytes::from(video)).await
}

fn fault<T>(frames: Result<T, Error>) -> VideoFault {
    match frames.err().unwrap() {
        Error::Video(fault) => fault,
        other => panic!("{other}"),
    }
}

fn size(frame: &Frame) -> (u32, u32) {
    let picture = image::load_from_memory(&frame.jpeg).unwrap();
    (picture.width(), picture.height())
}

#[tokio::test]
async fn every_kind_of_video_gives_evenly_spread_frames() {
    for (codec, ending) in [
        ("libx264 -preset ultrafast", "mp4"),
        ("libx265 -preset ultrafast -x265-params log-level=error", "mp4"),
        ("libvpx -deadline realtime", "webm"),
        ("libvpx-vp9 -deadline realtime -cpu-used 8", "webm"),
        // As a browser records it, without a length in the header.
        ("libvpx -deadline realtime -live 1 -f webm", "webm"),
    ] {
        let source = "-f lavfi -i testsrc=size=320x240:rate=10:duration=8 -pix_fmt yuv420p";
        let found = frames(made(&format!("{source} -c:v {codec}"), ending)).await.unwrap();
        assert_eq!(found.len(), 30, "{codec}");
        assert!(found[0].at.abs() < 1e-9 && found[29].at > 7.5, "{codec}: {}", found[29].at);
        assert!(found.windows(2).all(|pair| (0.1..0.5).contains(&(pair[1].at - pair[0].at))), "{codec}");
        assert_eq!(size(&found[0]), (320, 240), "{codec}");
    }
}

#[tokio::test]
async fn a_video_stands_upright_and_is_shrunk_to_what_a_report_shows() {
    let lying = made("-f lavfi -i testsrc=size=320x240:rate=5:duration=1 -pix_fmt yuv420p -c:v libx264", "mp4");
    assert_eq!(size(&frames(turned(lying)).await.unwrap()[0]), (240, 320));
    assert_eq!(size(&frames(pattern("3840x2160", 1)).await.unwrap()[0]), (1920, 1080));
    assert_eq!(size(&frames(pattern("1080x2340", 1)).await.unwrap()[0]), (886, 1920));
}

#[tokio::test]
async fn long_large_and_broken_videos_are_refused() {
    assert_eq!(frames(pattern("64x64", 60)).await.map(|frames| frames.len()).ok(), Some(30), "a minute is accepted");
    assert_eq!(fault(frames(pattern("64x64", 62)).await), VideoFault::TooLong(60.0));
    assert_eq!(fault(frames(pattern("4320x2400", 1)).await), VideoFault::TooManyPixels(9_000_000));
    let whole = face("obama.jpg", 1, 0, "mp4");
    for bytes in [
        [&whole[..40], &[7; 4000]].concat(),
        whole[..whole.len() / 2].to_vec(),
        b"\0\0\0\x18ftypisom#EXTM3U\nhttp://127.0.0.1:1/a.ts\n".to_vec(),
        [[0x1A, 0x45, 0xDF, 0xA3].as_slice(), &[0; 400]].concat(),
        // Only sound.
        made("-f lavfi -i sine=duration=1 -c:a aac", "mp4"),
    ] {
        assert_eq!(fault(frames(bytes).await), VideoFault::Invalid);
    }
    for bytes in [b"".to_vec(), b"#EXTM3U\nfile:///etc/passwd".to_vec(), vec![0xFF, 0xD8, 0xFF, 0xE0]] {
        assert_eq!(fault(frames(bytes).await), VideoFault::UnsupportedFormat);
    }
}

#[tokio::test]
async fn decoding_stops_when_a_video_takes_too_much_time_or_memory() {
    let video = Bytes::from(face("obama.jpg", 4, 0, "webm"));
    let hurried = with(|params| params.patience = Duration::from_millis(1));
    assert_eq!(fault(hurried.of(video.clone()).await), VideoFault::TooHeavy);
    let starved = with(|params| params.memory = 64 << 20);
    assert!(starved.of(video.clone()).await.is_err(), "64 MB do not suffice");
    assert!(matches!(Frames::new(None, VideoParams::default()).of(video).await, Err(Error::Missing)));
}
