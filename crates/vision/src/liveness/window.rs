//! The parts of a picture that liveness networks see: the tight box of a face, and windows around it.

use crate::face::Face;
use crate::geometry::Rect;
use crate::picture::Picture;

/// The box around which the networks were trained, computed from the mesh: from a little above the forehead to the
/// chin, and from cheek to cheek. It was fitted to a detector with tight boxes; see `packs/README.md`.
pub(super) fn tight_box(face: &Face) -> Rect {
    let (mut left, mut top, mut right, mut bottom) =
        (f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
    for [x, y, _] in &face.landmarks {
        (left, right) = (left.min(*x), right.max(*x));
        (top, bottom) = (top.min(*y), bottom.max(*y));
    }
    if left > right {
        return face.bbox;
    }
    Rect { left, top, right, bottom }.shifted(MESH_TO_BOX)
}

/// Shifts of left, top, right and bottom, as multiples of the sides of the mesh's box.
const MESH_TO_BOX: [f64; 4] = [0.008, -0.145, -0.015, 0.017];

/// Pixels of a picture, all four sides inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
    /// Side of the window as a multiple of the box's side. It is smaller than requested where the picture ends.
    pub scale: f64,
}

/// The face's box in whole pixels, rounded as in the networks' training: left, top, width, height.
#[expect(clippy::cast_precision_loss, reason = "sides of a picture")]
fn whole(tight: Rect, width: usize, height: usize) -> [f64; 4] {
    let (x2, y2) = (tight.right.min(width as f64), tight.bottom.min(height as f64));
    let (x, y) = (tight.left.max(0.0), tight.top.max(0.0));
    [x.trunc(), y.trunc(), (x2 - x).max(2.0).trunc(), (y2 - y).max(2.0).trunc()]
}

/// How much of the face's surroundings a picture shows: side of the largest possible window, as a multiple of the side
/// of the face's box. Parts of the box beyond the picture count, because half a face does not have twice the
/// surroundings.
#[expect(clippy::cast_precision_loss, reason = "sides of a picture")]
pub(super) fn context(tight: Rect, width: usize, height: usize) -> f64 {
    let whole = |side: f64| side.max(2.0).trunc();
    ((height as f64 - 1.0) / whole(tight.height())).min((width as f64 - 1.0) / whole(tight.width()))
}

impl Window {
    /// A window of `scale` boxes around the centre of `tight`. It is moved to lie within the picture, and shrunk where
    /// it does not fit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "pixels of a picture, clamped to its sides"
    )]
    pub fn around(tight: Rect, scale: f64, width: usize, height: usize) -> Self {
        let (w, h) = (width as f64, height as f64);
        let [x, y, bw, bh] = whole(tight, width, height);
        let scale = scale.min((h - 1.0) / bh).min((w - 1.0) / bw);
        let along = |start: f64, size: f64, limit: f64| {
            let (centre, half) = (start + size / 2.0, size * scale / 2.0);
            let (mut low, mut high) = (centre - half, centre + half);
            if low < 0.0 {
                high -= low;
                low = 0.0;
            }
            if high > limit - 1.0 {
                low -= high - limit + 1.0;
                high = limit - 1.0;
            }
            let last = (limit - 1.0).max(0.0);
            (low.trunc().clamp(0.0, last) as usize, high.trunc().clamp(0.0, last) as usize)
        };
        let ((left, right), (top, bottom)) = (along(x, bw, w), along(y, bh, h));
        Self { left, top, right, bottom, scale }
    }

    pub fn cut(&self, picture: &Picture) -> Picture {
        let (width, height) = (self.right - self.left + 1, self.bottom - self.top + 1);
        picture.part(self.left, self.top, width, height).unwrap_or_else(|| Picture::black(width, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(left: f64, top: f64, right: f64, bottom: f64) -> Rect {
        Rect { left, top, right, bottom }
    }

    #[test]
    fn the_window_grows_moves_inside_and_shrinks_where_the_picture_ends() {
        let free = Window::around(rect(100.0, 100.0, 140.0, 150.0), 2.0, 400, 400);
        assert_eq!((free.left, free.top, free.right, free.bottom), (80, 75, 160, 175));
        let moved = Window::around(rect(0.0, 0.0, 40.0, 50.0), 2.0, 400, 400);
        assert_eq!((moved.left, moved.top, moved.right, moved.bottom), (0, 0, 80, 100));
        let right = Window::around(rect(360.0, 350.0, 400.0, 400.0), 2.0, 400, 400);
        assert_eq!((right.left, right.top, right.right, right.bottom), (319, 299, 399, 399));
        let tight = Window::around(rect(76.55, 73.44, 163.55, 187.04), 2.7, 250, 250);
        assert!((tight.scale - 249.0 / 113.0).abs() < 1e-9, "as far as the height allows: {}", tight.scale);
    }

    #[test]
    fn the_context_depends_on_the_picture_and_not_on_what_a_network_sees() {
        let face = rect(100.0, 100.0, 140.0, 150.0);
        assert!((context(face, 400, 400) - 399.0 / 50.0).abs() < 1e-9);
        assert!((context(face, 121, 400) - 120.0 / 40.0).abs() < 1e-9, "a box counts in full");
        for scale in [1.2, 2.7] {
            assert!((Window::around(face, scale, 400, 400).scale - scale).abs() < 1e-9);
        }
    }
}
