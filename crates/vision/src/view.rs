//! A picture that may be held in memory at a reduced size.

use super::geometry::{Point, Rect, Transform};
use super::picture::Picture;
use super::resample;

/// Pixels, and where they lie in their picture. All places and distances are in pixels of the full picture, at whatever
/// size it is held.
#[derive(Debug, Clone)]
pub struct View {
    held: Picture,
    /// Maps held pixels to those of the picture.
    to_full: Transform,
    width: usize,
    height: usize,
}

/// A picture that is held at its full size.
impl From<Picture> for View {
    fn from(picture: Picture) -> Self {
        let (width, height) = (picture.width(), picture.height());
        Self { held: picture, to_full: Transform::IDENTITY, width, height }
    }
}

impl View {
    /// A picture of `width` x `height` pixels. Each pixel of `held` shows a square of `reduction` pixels a side. The
    /// first square begins at `origin`, which may lie a few pixels outside of the picture.
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

    /// The held pixels.
    #[must_use]
    pub fn held(&self) -> &Picture {
        &self.held
    }

    /// Pixels of the full picture along the side of a held pixel; 1 when it is held at its full size.
    #[must_use]
    pub fn reduction(&self) -> f64 {
        self.to_full.scale()
    }

    /// Where the edges of the held pixels lie.
    #[must_use]
    pub fn frame(&self) -> Rect {
        self.place(0, 0, self.held.width(), self.held.height())
    }

    /// The same picture, held with at most `side` pixels on the longer side.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
    pub fn shrunk(&self, side: usize) -> Self {
        let (width, height) = (self.held.width(), self.held.height());
        let longer = width.max(height);
        if longer <= side {
            return self.clone();
        }
        let held = resample::resize(&self.held, (width * side / longer).max(1), (height * side / longer).max(1));
        let (x, y) = (width as f64 / held.width() as f64, height as f64 / held.height() as f64);
        let to_held = Transform([[x, 0.0, (x - 1.0) / 2.0], [0.0, y, (y - 1.0) / 2.0]]);
        Self { held, to_full: self.to_full.after(&to_held), ..*self }
    }

    /// The held pixels of `part`, and where they lie; `None` if there are none.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides of pictures; negative ones become 0"
    )]
    pub fn part(&self, part: &Rect) -> Option<(Picture, Rect)> {
        let to_held = self.to_full.inverse()?;
        // A pixel's edge lies half a pixel before its centre.
        let edge = |x: f64, y: f64| {
            let p = to_held.apply(Point::new(x - 0.5, y - 0.5));
            ((p.x + 0.5).round() as usize, (p.y + 0.5).round() as usize)
        };
        let ((left, top), (right, bottom)) = (edge(part.left, part.top), edge(part.right, part.bottom));
        let (right, bottom) = (right.min(self.held.width()), bottom.min(self.held.height()));
        let (width, height) = (right.checked_sub(left)?, bottom.checked_sub(top)?);
        Some((self.held.part(left, top, width, height)?, self.place(left, top, right, bottom)))
    }

    /// Where the held pixels from `left` and `top` up to `right` and `bottom` lie.
    #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
    fn place(&self, left: usize, top: usize, right: usize, bottom: usize) -> Rect {
        let edge = |x: usize, y: usize| self.to_full.apply(Point::new(x as f64 - 0.5, y as f64 - 0.5));
        let (from, to) = (edge(left, top), edge(right, bottom));
        Rect { left: from.x + 0.5, top: from.y + 0.5, right: to.x + 0.5, bottom: to.y + 0.5 }
    }

    /// The `long_side` with which `decode_reduced` decodes the file to the same pixels again.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a side of a picture")]
    #[expect(clippy::cast_precision_loss, reason = "a side of a picture")]
    pub fn decoded_side(&self) -> u32 {
        (self.width.max(self.height) as f64 / self.reduction()) as u32
    }

    /// Where a box of the picture lies in the held pixels.
    #[must_use]
    pub fn in_held(&self, of_picture: &Rect) -> Rect {
        let to_held = self.to_full.inverse().unwrap_or(Transform::IDENTITY);
        let (from, to) = (
            to_held.apply(Point::new(of_picture.left, of_picture.top)),
            to_held.apply(Point::new(of_picture.right, of_picture.bottom)),
        );
        Rect { left: from.x, top: from.y, right: to.x, bottom: to.y }
    }

    /// As [`resample::warp`], with `to_target` applied to the full picture.
    #[must_use]
    pub fn warp(&self, to_target: &Transform, side: usize) -> Picture {
        resample::warp(&self.held, &to_target.after(&self.to_full), side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::CHANNELS;

    /// Brighter to the right and downwards, by one level a pixel.
    fn slope(width: usize, height: usize) -> Picture {
        let mut picture = Picture::black(width, height);
        for (i, value) in picture.pixels_mut().iter_mut().enumerate() {
            *value = u8::try_from(i / CHANNELS % width + i / CHANNELS / width).unwrap();
        }
        picture
    }

    #[test]
    fn a_warp_of_the_reduced_picture_equals_that_of_the_full_one() {
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
    fn a_part_is_cut_at_whole_pixels_and_at_the_edges() {
        let view = View::reduced(resample::shrink(&slope(96, 80), 24, 20), 4, Point::default(), (96, 80));
        assert_eq!(view.frame(), Rect { left: 0.0, top: 0.0, right: 96.0, bottom: 80.0 });
        let (pixels, place) = view.part(&Rect { left: -30.0, top: 9.0, right: 21.0, bottom: 200.0 }).unwrap();
        assert_eq!(place, Rect { left: 0.0, top: 8.0, right: 20.0, bottom: 80.0 });
        assert_eq!((pixels.width(), pixels.height()), (5, 18));
        assert_eq!(pixels.row(0), &view.held().row(2)[..5 * CHANNELS]);
        for nothing in [Rect { left: 100.0, right: 120.0, ..place }, Rect { bottom: 9.0, ..place }, Rect::default()] {
            assert!(view.part(&nothing).is_none(), "{nothing:?}");
        }
    }

    #[test]
    fn shrunk_pictures_lie_where_they_did() {
        let view = View::reduced(Picture::black(100, 51), 2, Point::new(-1.0, 0.0), (199, 102));
        let small = view.shrunk(25);
        assert_eq!((small.held().width(), small.held().height()), (25, 12));
        let (a, b) = (small.frame(), view.frame());
        for (a, b) in [(a.left, b.left), (a.top, b.top), (a.right, b.right), (a.bottom, b.bottom)] {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert_eq!(small.shrunk(25).held(), small.held());
    }

    #[test]
    fn held_pixels_may_begin_before_the_picture() {
        // Upside down, the incomplete cell of a picture of 7 pixels comes first.
        let view = View::reduced(Picture::black(2, 1), 4, Point::new(-1.0, 0.0), (7, 4));
        assert_eq!(view.to_full.apply(Point::default()), Point::new(0.5, 1.5));
        assert!((view.reduction() - 4.0).abs() < 1e-12);
    }
}
