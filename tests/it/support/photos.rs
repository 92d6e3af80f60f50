//! The pictures that tests send.

use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use image::{DynamicImage, ImageFormat};

/// A file of `tests/photos`.
pub fn photo(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/photos").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A photo from `tests/photos` whose sides have at most so many pixels, as a JPEG.
pub fn thumbnail(name: &str, side: u32) -> Vec<u8> {
    let photo = image::load_from_memory(&photo(name)).expect("a photo of ours is readable");
    encode(&photo.thumbnail(side, side).to_rgb8().into(), ImageFormat::Jpeg)
}

/// A small picture with a face, so that intake and analysis are quick.
pub fn small_face() -> &'static [u8] {
    static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| thumbnail("obama.jpg", 256));
    &SMALL
}

/// A tiny picture without a face: its job succeeds, without a comparison.
pub fn blank() -> &'static [u8] {
    static BLANK: LazyLock<Vec<u8>> = LazyLock::new(|| encode(&DynamicImage::new_rgb8(64, 64), ImageFormat::Png));
    &BLANK
}

/// A picture without a face, in this size and format.
pub fn plain(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    encode(&DynamicImage::new_rgb8(width, height), format)
}

/// A small file with bytes added to reach `length`; decoders stop before them.
pub fn padded(mut file: Vec<u8>, length: usize) -> Vec<u8> {
    file.resize(length, 0);
    file
}

pub fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).expect("a picture in memory can be written");
    file.into_inner()
}
