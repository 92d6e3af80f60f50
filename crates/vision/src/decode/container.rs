//! What a JPEG's markers say before it is decoded: its size, how many scans it has, and whether its end is there. JPEG decoders fill a missing
//! end with grey and report success, so that half a face would pass as a face.

use super::ImageFault;
use visavis_domain::image::ImageFormat;

/// A progressive JPEG that is meant to be looked at has a dozen scans, at most a few dozen. A scan of a few bytes can make
/// the decoder walk over the whole picture, so that a small file of thousands would hold a thread for minutes.
const MAX_SCANS: usize = 100;

// ITU-T T.81, table B.1.
const TEM: u8 = 0x01;
pub const RST0: u8 = 0xD0;
pub const RST7: u8 = 0xD7;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
pub const SOS: u8 = 0xDA;

/// Where the first segment begins: after SOI.
pub const START: usize = 2;

/// What the markers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegFrame {
    /// Width and height, in pixels.
    pub size: (u32, u32),
    /// Whether all components come in one scan.
    pub one_scan: bool,
}

/// Reads the markers up to the end of the image.
///
/// # Errors
/// When the markers are out of order, no frame header precedes the first scan, no end-of-image marker follows it, or there
/// are too many scans.
pub fn jpeg_frame(bytes: &[u8]) -> Result<JpegFrame, ImageFault> {
    let truncated = ImageFault::Truncated(ImageFormat::Jpeg);
    let invalid = ImageFault::Invalid(ImageFormat::Jpeg);
    let mut frame = None;
    let mut at = START;
    let in_scan = loop {
        let Segment { marker, body, end } = next_segment(bytes, at).ok_or_else(|| truncated.clone())?;
        at = end;
        if marker == EOI {
            return Err(invalid);
        }
        if is_frame_header(marker) {
            let &[_, h1, h0, w1, w0, components, ..] = body else { return Err(invalid) };
            let size = (u32::from(u16::from_be_bytes([w1, w0])), u32::from(u16::from_be_bytes([h1, h0])));
            frame = Some((size, components));
        }
        if marker == SOS {
            break body.first().copied();
        }
    };
    let (size, components) = frame.ok_or_else(|| invalid.clone())?;
    match later_scans(bytes, at) {
        None => Err(truncated),
        Some(more) if more >= MAX_SCANS => Err(invalid),
        Some(more) => Ok(JpegFrame { size, one_scan: more == 0 && in_scan == Some(components) }),
    }
}

/// A marker with what belongs to it.
pub struct Segment<'a> {
    pub marker: u8,
    /// Without its length field.
    pub body: &'a [u8],
    /// The place after it.
    pub end: usize,
}

/// The next segment from `at` on, or the end-of-image marker; markers that stand alone within the data are stepped over.
/// `None` when the bytes end before.
pub fn next_segment(bytes: &[u8], mut at: usize) -> Option<Segment<'_>> {
    loop {
        let (marker, after) = next_marker(bytes, at)?;
        match marker {
            TEM | SOI | RST0..=RST7 => at = after,
            EOI => return Some(Segment { marker, body: &[], end: after }),
            _ => {
                let body = body(bytes, after)?;
                return Some(Segment { marker, body, end: after + 2 + body.len() });
            }
        }
    }
}

/// The next marker from `at` on and the place after it; bytes that are no marker are skipped, as decoders do.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(at..)?;
    let found = rest.windows(2).position(|w| w[0] == 0xFF && w[1] != 0xFF && w[1] != 0)?;
    Some((rest[found + 1], at + found + 2))
}

/// The body of the segment whose length field is at `at`.
fn body(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    bytes.get(at + 2..at + length.max(2))
}

/// SOF0 to SOF15 without DHT, JPG and DAC, which lie among them.
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// How many scans follow the one that begins at `at`, up to EOI; `None` without EOI. Segments between scans are stepped
/// over: a thumbnail inside one has an EOI of its own.
fn later_scans(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut scans = 0;
    loop {
        let Segment { marker, end, .. } = next_segment(bytes, at)?;
        if marker == EOI {
            return Some(scans);
        }
        scans += usize::from(marker == SOS);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 12] = [0xFF, 0xC0, 0, 11, 8, 0, 20, 0, 30, 1, 1, 0x11];

    fn jpeg(parts: &[&[u8]]) -> Vec<u8> {
        [&[0xFF, SOI], parts.concat().as_slice()].concat()
    }

    #[test]
    fn the_frame_header_gives_the_size() {
        let scan = [0xFF, SOS, 0, 3, 0, 1, 2, 3, 0xFF, 0, 0xFF, RST0, 4, 0xFF, EOI];
        assert_eq!(jpeg_frame(&jpeg(&[&FRAME, &[0], &scan])), Ok(JpegFrame { size: (30, 20), one_scan: false }));
        let whole = [0xFF, SOS, 0, 3, 1, 1, 2, 3, 0xFF, EOI];
        assert_eq!(jpeg_frame(&jpeg(&[&FRAME, &[0], &whole])), Ok(JpegFrame { size: (30, 20), one_scan: true }));
        let twice = [&whole[..8], &whole].concat();
        assert_eq!(jpeg_frame(&jpeg(&[&FRAME, &[0], &twice])), Ok(JpegFrame { size: (30, 20), one_scan: false }));
    }

    #[test]
    fn an_end_inside_a_thumbnail_is_not_the_end() {
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, SOI, 0xFF, EOI];
        let scan = [0xFF, SOS, 0, 3, 0, 1, 2, 3];
        let cut = jpeg(&[&thumbnail, &FRAME, &[0], &scan]);
        assert_eq!(jpeg_frame(&cut), Err(ImageFault::Truncated(ImageFormat::Jpeg)));
    }

    #[test]
    fn a_scan_without_a_frame_is_invalid() {
        let scan = [0xFF, SOS, 0, 3, 0, 1, 0xFF, EOI];
        assert_eq!(jpeg_frame(&jpeg(&[&scan])), Err(ImageFault::Invalid(ImageFormat::Jpeg)));
    }

    #[test]
    fn a_file_of_very_many_scans_is_refused() {
        let scan = [0xFF, SOS, 0, 3, 0, 1];
        let of = |scans: usize| jpeg_frame(&jpeg(&[&FRAME, &[0], &scan.repeat(scans), &[0xFF, EOI]]));
        assert!(of(MAX_SCANS).is_ok());
        assert_eq!(of(MAX_SCANS + 1), Err(ImageFault::Invalid(ImageFormat::Jpeg)));
    }
}
