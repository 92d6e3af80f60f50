//! A picture in memory: upright, RGB, eight bits a channel.

use std::fmt;

/// Channels of a [`Picture`].
pub const CHANNELS: usize = 3;

/// Pixels in rows from the top, `width * height * 3` bytes, RGB 0-255. Neither side is zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Takes `pixels` as they are; `None` when a side is zero or their number is not `width * height * 3`.
    #[must_use]
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        let expected = width.checked_mul(height)?.checked_mul(CHANNELS)?;
        (expected > 0 && pixels.len() == expected).then_some(Self { width, height, pixels })
    }

    /// A black picture. A side of zero is taken as one.
    #[must_use]
    pub fn black(width: usize, height: usize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, pixels: vec![0; width * height * CHANNELS] }
    }

    /// Pixels across.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// All bytes, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All bytes, row by row, to write.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The bytes of row `y`.
    #[must_use]
    pub fn row(&self, y: usize) -> &[u8] {
        let stride = self.width * CHANNELS;
        &self.pixels[y * stride..(y + 1) * stride]
    }

    /// The bytes alone.
    #[must_use]
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

/// Says the size only: a picture's content belongs in no log.
impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}
