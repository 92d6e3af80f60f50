//! The layout of a JPEG file, read from its markers before any pixel is decoded: the size, the scans, and whether the
//! end is there. JPEG decoders fill a missing end with grey and report success; half a face would then pass as a face.

use crate::fault::ImageFault;
use visavis_domain::image::ImageFormat;

/// Progressive JPEGs for display have about a dozen scans, at most a few dozen. A scan of a few bytes can make the
/// decoder visit the whole picture, so a small file with thousands of scans would occupy a thread for minutes.
const MAX_SCANS: usize = 100;

// ITU-T T.81, table B.1.
const TEM: u8 = 0x01;
const SOF0: u8 = 0xC0;
const SOF1: u8 = 0xC1;
const DHT: u8 = 0xC4;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;
const SOI: u8 = 0xD8;
pub const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DRI: u8 = 0xDD;
const APP0: u8 = 0xE0;
const APP15: u8 = 0xEF;
const COM: u8 = 0xFE;

/// The first segment begins after SOI.
const START: usize = 2;

/// What the markers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegLayout {
    /// Width and height, in pixels.
    pub size: (u32, u32),
    /// Offset of the frame header's height (two bytes, big endian), which its width follows.
    pub size_at: usize,
    /// Offset of the first scan's coded data.
    pub scan_at: usize,
    /// Whether every decoder finds the same segments: they follow each other without a gap, all are of well-known
    /// kinds, and one scan with all components lasts until the end of the image.
    pub is_plain: bool,
}

impl JpegLayout {
    /// Reads the markers up to the end of the image.
    ///
    /// # Errors
    /// When the markers are out of order, no frame header precedes the first scan, no end-of-image marker follows it,
    /// or there are too many scans.
    pub fn read(bytes: &[u8]) -> Result<Self, ImageFault> {
        let truncated = ImageFault::Truncated(ImageFormat::Jpeg);
        let invalid = ImageFault::Invalid(ImageFormat::Jpeg);
        let (mut frame, mut is_plain) = (None, true);
        let mut at = START;
        let components_in_scan = loop {
            let segment = next_segment(bytes, at).ok_or_else(|| truncated.clone())?;
            at = segment.end;
            is_plain &= segment.is_adjacent && is_well_known(&segment);
            if segment.marker == EOI {
                return Err(invalid);
            }
            if is_frame_header(segment.marker) {
                let &[_, h1, h0, w1, w0, components, ..] = segment.body else { return Err(invalid) };
                let size = (u32::from(u16::from_be_bytes([w1, w0])), u32::from(u16::from_be_bytes([h1, h0])));
                frame = Some((size, segment.end - segment.body.len() + 1, components));
            }
            if segment.marker == SOS {
                break segment.body.first().copied();
            }
        };
        let (size, size_at, components) = frame.ok_or_else(|| invalid.clone())?;
        is_plain &= components_in_scan == Some(components) && ends_after_scan(bytes, at);
        match later_scans(bytes, at) {
            None => Err(truncated),
            Some(more) if more >= MAX_SCANS => Err(invalid),
            Some(_) => Ok(Self { size, size_at, scan_at: at, is_plain }),
        }
    }
}

/// A marker with its data.
struct Segment<'a> {
    marker: u8,
    /// The data after the length field.
    body: &'a [u8],
    /// Offset of the first byte after the segment.
    end: usize,
    /// Whether only fill bytes (0xFF) precede the marker.
    is_adjacent: bool,
}

/// The next segment from `at` on, or the end-of-image marker. Markers without data are skipped. `None` when the bytes
/// end first.
fn next_segment(bytes: &[u8], at: usize) -> Option<Segment<'_>> {
    let mut from = at;
    loop {
        let (marker, after) = next_marker(bytes, from)?;
        match marker {
            TEM | SOI | RST0..=RST7 => from = after,
            _ => {
                let is_adjacent = bytes[at..after - 1].iter().all(|byte| *byte == 0xFF);
                if marker == EOI {
                    return Some(Segment { marker, body: &[], end: after, is_adjacent });
                }
                let body = body(bytes, after)?;
                return Some(Segment { marker, body, end: after + 2 + body.len(), is_adjacent });
            }
        }
    }
}

/// The next marker from `at` on, and the offset after it. Other bytes are skipped, as decoders do.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(at..)?;
    let found = rest.windows(2).position(|pair| pair[0] == 0xFF && pair[1] != 0xFF && pair[1] != 0)?;
    Some((rest[found + 1], at + found + 2))
}

/// The body of the segment whose length field is at `at`.
fn body(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    bytes.get(at + 2..at + length.max(2))
}

/// SOF0 to SOF15 without DHT, JPG and DAC, whose codes lie among them.
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// Whether every decoder reads this segment, or skips it, to its very end.
fn is_well_known(segment: &Segment<'_>) -> bool {
    match segment.marker {
        // zune-jpeg reads five bytes of a body that has four.
        APP0 => segment.body.len() != 4,
        SOF0 | SOF1 | DHT | SOS | DQT | DRI | COM | APP0..=APP15 => true,
        _ => false,
    }
}

/// Whether the scan at `at` is followed by EOI, and contains no markers except for restarts.
fn ends_after_scan(bytes: &[u8], mut at: usize) -> bool {
    while let Some((marker, after)) = next_marker(bytes, at) {
        match marker {
            RST0..=RST7 => at = after,
            _ => return marker == EOI,
        }
    }
    false
}

/// How many scans follow the one that begins at `at`, up to EOI; `None` without EOI. Whole segments between scans are
/// skipped, because a thumbnail inside one has its own EOI.
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

    const FRAME: [u8; 13] = [0xFF, SOF0, 0, 11, 8, 0, 20, 0, 30, 1, 1, 0x11, 0];
    /// The header of a scan with one component, and a few coded bytes.
    const SCAN: [u8; 10] = [0xFF, SOS, 0, 3, 1, 1, 2, 0xFF, RST0, 3];
    const END: [u8; 2] = [0xFF, EOI];

    fn jpeg(parts: &[&[u8]]) -> Vec<u8> {
        [&[0xFF, SOI], parts.concat().as_slice()].concat()
    }

    fn read(parts: &[&[u8]]) -> Result<JpegLayout, ImageFault> {
        JpegLayout::read(&jpeg(parts))
    }

    #[test]
    fn the_frame_header_gives_the_size_and_its_place() {
        let file = jpeg(&[&FRAME, &SCAN, &END]);
        let layout = JpegLayout::read(&file).unwrap();
        assert_eq!(layout, JpegLayout { size: (30, 20), size_at: 7, scan_at: 20, is_plain: true });
        assert_eq!((&file[layout.size_at..][..4], &file[layout.scan_at..][..2]), (&[0, 20, 0, 30][..], &[1, 2][..]));
    }

    #[test]
    fn a_file_is_plain_only_where_every_decoder_finds_the_same_segments() {
        let is_plain = |parts: &[&[u8]]| read(parts).unwrap().is_plain;
        let jfif = [0xFF, APP0, 0, 7, b'J', b'F', b'I', b'F', 0];
        assert!(is_plain(&[&jfif, &FRAME, &[0xFF, 0xFF], &SCAN, &END]), "fill bytes are allowed");
        for (odd, parts) in [
            ("a stray byte", &[&FRAME[..], &[0], &SCAN, &END][..]),
            ("a restart before the scan", &[&FRAME, &[0xFF, RST0], &SCAN, &END]),
            ("an unknown segment", &[&[0xFF, 0xF0, 0, 2], &FRAME, &SCAN, &END]),
            ("an APP0 with four bytes", &[&[0xFF, APP0, 0, 6, 1, 2, 3, 4], &FRAME, &SCAN, &END]),
            ("a progressive frame", &[&[0xFF, 0xC2], &FRAME[2..], &SCAN, &END]),
            ("a scan of fewer components", &[&FRAME, &[0xFF, SOS, 0, 3, 0], &END]),
            ("two scans", &[&FRAME, &SCAN, &SCAN, &END]),
            ("a table after the scan", &[&FRAME, &SCAN, &[0xFF, DRI, 0, 4, 0, 1], &END]),
            ("another image in the scan", &[&FRAME, &SCAN, &[0xFF, SOI], &END]),
        ] {
            assert!(!is_plain(parts), "{odd}");
        }
    }

    #[test]
    fn an_end_inside_a_thumbnail_is_not_the_end() {
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, SOI, 0xFF, EOI];
        assert_eq!(read(&[&thumbnail, &FRAME, &SCAN]), Err(ImageFault::Truncated(ImageFormat::Jpeg)));
    }

    #[test]
    fn a_scan_without_a_frame_is_invalid() {
        assert_eq!(read(&[&SCAN, &END]), Err(ImageFault::Invalid(ImageFormat::Jpeg)));
    }

    #[test]
    fn a_file_of_very_many_scans_is_refused() {
        let of = |scans: usize| read(&[&FRAME, &SCAN.repeat(scans), &END]);
        assert!(of(MAX_SCANS).is_ok());
        assert_eq!(of(MAX_SCANS + 1), Err(ImageFault::Invalid(ImageFormat::Jpeg)));
    }
}
