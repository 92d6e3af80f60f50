//! A picture of which perhaps fewer pixels are held than its file has.

use super::geometry::{Point, Transform};
use super::picture::Picture;
use super::resample;

/// Pixels, and where they lie in the picture that they are of. All that is said of places and distances is said in pixels
/// of that picture, whatever was held of it.
#[derive(Debug, Clone)]
pub struct View {
    held: Picture,
    /// From pixels that are held to those of the picture.
    to_full: Transform,
    width: usize,
    height: usize,
}

/// All of it.
impl From<Picture> for View {
    fn from(picture: Picture) -> Self {
        let (width, height) = (picture.width(), picture.height());
        Self { held: picture, to_full: Transform::IDENTITY, width, height }
    }
}

impl View {
    /// `held`, each of whose pixels shows a square of `reduction` pixels a side of a picture of `width` x `height`; the
    /// first one that at `origin`, which may lie a part of its side before the picture.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a handful of pixels")]
    pub fn reduced(held: Picture, reduction: usize, origin: Point, (width, height): (usize, usize)) -> Self {
        let scale = reduction as f64;
        // Pixel centres lie on whole numbers.
        let middle = (scale - 1.0) / 2.0;
        let to_full = Transform([[scale, 0.0, origin.x + middle], [0.0, scale, origin.y + middle]]);
        Self { held, to_full, width, height }
    }

    /// Pixels across the whole picture.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down the whole picture.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// What is held.
    #[must_use]
    pub fn held(&self) -> &Picture {
        &self.held
    }

    /// Pixels of the whole picture along a side of one that is held; 1 when all are.
    #[must_use]
    pub fn reduction(&self) -> f64 {
        self.to_full.scale()
    }

    /// As [`resample::warp`], of the whole picture.
    #[must_use]
    pub fn warp(&self, to_target: &Transform, side: usize) -> Picture {
        resample::warp(&self.held, &to_target.after(&self.to_full), side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::picture::CHANNELS;

    /// Brighter to the right and downwards, by one level a pixel.
    fn slope(width: usize, height: usize) -> Picture {
        let mut picture = Picture::black(width, height);
        for (i, value) in picture.pixels_mut().iter_mut().enumerate() {
            *value = u8::try_from(i / CHANNELS % width + i / CHANNELS / width).unwrap();
        }
        picture
    }

    #[test]
    fn a_place_of_the_whole_picture_is_found_in_what_is_held_of_it() {
        let full = slope(96, 80);
        let held = resample::shrink(&full, 24, 20);
        let (full, reduced) = (View::from(full), View::reduced(held, 4, Point::default(), (96, 80)));
        assert_eq!((reduced.width(), reduced.height()), (96, 80));
        let map = Transform::about(Point::new(50.0, 40.0), 0.3, 0.4, Point::new(8.0, 8.0));
        let (a, b) = (full.warp(&map, 16), reduced.warp(&map, 16));
        let off = a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(off <= 1, "off by {off} levels");
    }

    #[test]
    fn what_is_held_may_begin_before_the_picture() {
        // Turned upside down, a picture of 7 pixels has its incomplete cell first.
        let view = View::reduced(Picture::black(2, 1), 4, Point::new(-1.0, 0.0), (7, 4));
        assert_eq!(view.to_full.apply(Point::default()), Point::new(0.5, 1.5));
        assert!((view.reduction() - 4.0).abs() < 1e-12);
    }
}
