//! The videos that tests send, made by ffmpeg from photos and patterns.

use std::path::Path;
use std::process::Command;

use super::photos;

/// What `ffmpeg ARGUMENTS FILE` writes into a file with that ending.
pub fn made(arguments: &str, ending: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join(format!("video.{ending}"));
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y"]).args(arguments.split_ascii_whitespace()).arg(&file);
    let output = command.output().expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(&file).expect("the video was written")
}

/// A face, over which the camera wanders for `seconds`. For the first `blurred` seconds it is out of focus.
pub fn face(photo: &str, seconds: u32, blurred: u32, ending: &str) -> Vec<u8> {
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/photos").join(photo);
    let pan = "zoompan=z='1.1+0.05*sin(on/9)':d=1:x='iw/2-iw/zoom/2+9*sin(on/7)':y='ih/2-ih/zoom/2':s=720x900:fps=10";
    let focus = format!("boxblur=12:2:enable='lt(t,{blurred})'");
    let input = format!("-loop 1 -framerate 10 -i {} -t {seconds}", photo.display());
    let codec = if ending == "mp4" { "libx264 -preset ultrafast" } else { "libvpx -deadline realtime -b:v 3M" };
    made(&format!("{input} -vf scale=1080:1350,{pan},{focus} -pix_fmt yuv420p -c:v {codec}"), ending)
}

/// A pattern without a face.
pub fn pattern(size: &str, seconds: u32) -> Vec<u8> {
    let input = format!("-f lavfi -i testsrc=size={size}:rate=2:duration={seconds}");
    made(&format!("{input} -pix_fmt yuv420p -c:v libx264 -preset ultrafast"), "mp4")
}

/// The photo blurred, as a JPEG.
pub fn blurred(photo: &str) -> Vec<u8> {
    let picture = image::load_from_memory(&photos::thumbnail(photo, 480)).expect("a photo of ours is readable");
    photos::encode(&picture.fast_blur(6.0), image::ImageFormat::Jpeg)
}

/// An MP4 whose head says that its picture lies on its side.
pub fn turned(mut video: Vec<u8>) -> Vec<u8> {
    // ISO/IEC 14496-12, 8.3.2: the matrix of a track's header, as of a camera held upright.
    const UPRIGHT: [u32; 9] = [0, 0x0001_0000, 0, 0xFFFF_0000, 0, 0, 0, 0, 0x4000_0000];
    let name = video.windows(4).position(|window| window == b"tkhd").expect("an MP4 has tracks");
    let matrix = UPRIGHT.map(u32::to_be_bytes).concat();
    video[name + 44..][..matrix.len()].copy_from_slice(&matrix);
    video
}
