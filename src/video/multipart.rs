//! Reads the stream of JPEG files that ffmpeg's `mpjpeg` muxer writes. A header before each file states its length.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Most bytes of a header.
const MAX_HEAD: usize = 4 << 10;
/// Most bytes of a JPEG: more than nine megapixels of noise need.
const MAX_PART: usize = 32 << 20;

/// The parts of a stream, one after the other.
pub(super) struct Multipart<'a, R> {
    stream: &'a mut R,
    buffer: BytesMut,
}

impl<'a, R: AsyncRead + Unpin> Multipart<'a, R> {
    pub(super) fn new(stream: &'a mut R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next JPEG; `None` at the end of the stream, even if it ends inside a JPEG.
    ///
    /// # Errors
    /// When the stream cannot be read, or has another form.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break self.buffer.split_to(end + 4);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(malformed());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        let length = content_length(&head).filter(|length| *length <= MAX_PART).ok_or_else(malformed)?;
        while self.buffer.len() < length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let lines = std::str::from_utf8(head).ok()?.lines();
    let named = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = named.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

fn malformed() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "the frames do not come as expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parts(mut stream: &[u8]) -> std::io::Result<Vec<Bytes>> {
        let mut parts = Multipart::new(&mut stream);
        let mut found = Vec::new();
        while let Some(part) = parts.next().await? {
            found.push(part);
        }
        Ok(found)
    }

    #[tokio::test]
    async fn parts_are_read_whole_whatever_bytes_they_contain() {
        let stream = b"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 6\r\n\r\n\r\n\r\n--\r\n\
                       --ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 2\r\n\r\nab\r\n--ffmpeg\r\n";
        assert_eq!(parts(stream).await.unwrap(), [b"\r\n\r\n--".as_slice(), b"ab"]);
    }

    #[tokio::test]
    async fn an_incomplete_part_is_left_out_and_another_form_is_refused() {
        assert_eq!(parts(b"").await.unwrap(), Vec::<Bytes>::new());
        assert_eq!(parts(b"--f\r\nContent-length: 9\r\n\r\nabc").await.unwrap(), Vec::<Bytes>::new());
        for stream in ["--f\r\nContent-type: x\r\n\r\nabc", "--f\r\nContent-length: 99999999999\r\n\r\nabc"] {
            assert!(parts(stream.as_bytes()).await.is_err());
        }
        assert!(parts(&[b'x'; MAX_HEAD + 1]).await.is_err());
    }
}
