//! A picture in memory: upright, RGB, eight bits for each channel.

use std::fmt;

/// Channels of a [`Picture`].
pub const CHANNELS: usize = 3;

/// `width * height * 3` bytes: rows from the top, RGB, 0-255. Neither side is zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A picture of `pixels`; `None` when a side is zero, or their number is not `width * height * 3`.
    #[must_use]
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        let expected = width.checked_mul(height)?.checked_mul(CHANNELS)?;
        (expected > 0 && pixels.len() == expected).then_some(Self { width, height, pixels })
    }

    /// A black picture. A side of zero becomes one.
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

    /// All bytes, row by row, for writing.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The bytes of row `y`.
    #[must_use]
    pub fn row(&self, y: usize) -> &[u8] {
        let stride = self.width * CHANNELS;
        &self.pixels[y * stride..(y + 1) * stride]
    }

    /// The mirror image: left and right exchanged.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        let mut mirrored = self.clone();
        for row in mirrored.pixels.chunks_exact_mut(self.width * CHANNELS) {
            let (pixels, _) = row.as_chunks_mut::<CHANNELS>();
            pixels.reverse();
        }
        mirrored
    }

    /// The picture, turned clockwise by so many quarters.
    #[must_use]
    pub fn turned(&self, quarters: usize) -> Self {
        let (width, height) = (self.width, self.height);
        let size = if quarters.is_multiple_of(2) { (width, height) } else { (height, width) };
        let mut turned = Self::black(size.0, size.1);
        for (y, row) in turned.pixels.chunks_exact_mut(size.0 * CHANNELS).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(CHANNELS).enumerate() {
                let (x, y) = match quarters % 4 {
                    0 => (x, y),
                    1 => (y, height - 1 - x),
                    2 => (width - 1 - x, height - 1 - y),
                    _ => (width - 1 - y, x),
                };
                let at = (y * width + x) * CHANNELS;
                pixel.copy_from_slice(&self.pixels[at..at + CHANNELS]);
            }
        }
        turned
    }

    /// The part of `width` x `height` pixels from `left` and `top` on; `None` where it has no pixels or reaches beyond
    /// the picture.
    #[must_use]
    pub fn part(&self, left: usize, top: usize, width: usize, height: usize) -> Option<Self> {
        let columns = left * CHANNELS..left.checked_add(width)? * CHANNELS;
        let rows = self.pixels.chunks_exact(self.width * CHANNELS).skip(top).take(height);
        let pixels: Option<Vec<_>> = rows.map(|row| row.get(columns.clone())).collect();
        Self::new(width, height, pixels?.concat())
    }
}

/// Prints only the size, because a picture's content must not appear in logs.
impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three pixels, each of one value.
    fn picture() -> Picture {
        Picture::new(3, 2, [1, 2, 3, 4, 5, 6].iter().flat_map(|value| [*value; CHANNELS]).collect()).unwrap()
    }

    fn values(picture: &Picture) -> Vec<u8> {
        picture.pixels().chunks_exact(CHANNELS).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn mirroring_exchanges_left_and_right() {
        assert_eq!(values(&picture().mirrored()), [3, 2, 1, 6, 5, 4]);
        assert_eq!(picture().mirrored().mirrored(), picture());
    }

    #[test]
    fn four_quarter_turns_lead_back() {
        let quarter = picture().turned(1);
        assert_eq!((quarter.width(), quarter.height(), values(&quarter)), (2, 3, vec![4, 1, 5, 2, 6, 3]));
        assert_eq!(quarter.turned(1), picture().turned(2));
        assert_eq!(quarter.turned(3), picture());
        assert_eq!(picture().turned(3).turned(1), picture().turned(0));
    }
}
