//! Points, boxes and transforms in the plane. Pixel centres have integer coordinates. y points down.

#![expect(clippy::many_single_char_names, reason = "the names of matrix entries")]

use serde::Serialize;

/// A place in a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Point {
    /// Distance to the right.
    pub x: f64,
    /// Distance down.
    pub y: f64,
}

impl Point {
    /// The point at (`x`, `y`).
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// The centre of `points`; NaN when there are none.
    #[must_use]
    pub fn mean(points: &[Self]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
        let n = points.len() as f64;
        let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.x, y + p.y));
        Self::new(x / n, y / n)
    }

    /// Euclidean distance in pixels.
    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// A box with sides parallel to the axes, in pixels. It may reach beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rect {
    /// x of the left side.
    pub left: f64,
    /// y of the upper side.
    pub top: f64,
    /// x of the right side.
    pub right: f64,
    /// y of the lower side.
    pub bottom: f64,
}

impl Rect {
    /// The box with left, top, right and bottom moved by these multiples of its width or height.
    #[must_use]
    pub fn shifted(&self, [left, top, right, bottom]: [f64; 4]) -> Self {
        let (width, height) = (self.width(), self.height());
        Self {
            left: self.left + left * width,
            top: self.top + top * height,
            right: self.right + right * width,
            bottom: self.bottom + bottom * height,
        }
    }

    /// Width, never negative.
    #[must_use]
    pub fn width(&self) -> f64 {
        (self.right - self.left).max(0.0)
    }

    /// Height, never negative.
    #[must_use]
    pub fn height(&self) -> f64 {
        (self.bottom - self.top).max(0.0)
    }

    /// Width times height.
    #[must_use]
    pub fn area(&self) -> f64 {
        self.width() * self.height()
    }

    /// The middle.
    #[must_use]
    pub fn centre(&self) -> Point {
        Point::new(f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom))
    }

    /// Whether `p` lies inside.
    #[must_use]
    pub fn contains(&self, p: Point) -> bool {
        (self.left..=self.right).contains(&p.x) && (self.top..=self.bottom).contains(&p.y)
    }

    /// How prominent the box is in a picture of `width` x `height`: its area inside the picture, times the share of its
    /// area that lies inside.
    #[must_use]
    pub fn prominence(&self, width: usize, height: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "picture sides")]
        let (width, height) = (width as f64, height as f64);
        let visible = self.common_area(&Self { left: 0.0, top: 0.0, right: width, bottom: height });
        if visible > 0.0 { visible * visible / self.area() } else { 0.0 }
    }

    /// Intersection over union, in [0, 1]; 0 for boxes without area.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f64 {
        let common = self.common_area(other);
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    fn common_area(&self, other: &Self) -> f64 {
        let common = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        common.area()
    }
}

/// An affine map of the plane: `x' = a x + b y + c`, `y' = d x + e y + f`, rows `[a, b, c]` and `[d, e, f]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform(pub [[f64; 3]; 2]);

impl Transform {
    /// Turns by `angle` (radians, clockwise on the screen) and scales around `from`, and moves `from` to `to`.
    #[must_use]
    pub fn about(from: Point, angle: f64, scale: f64, to: Point) -> Self {
        let (sin, cos) = (angle.sin() * scale, angle.cos() * scale);
        Self([[cos, -sin, to.x - cos * from.x + sin * from.y], [sin, cos, to.y - sin * from.x - cos * from.y]])
    }

    /// The similarity (turn, scale, shift, no mirroring) that brings `from` closest to `to` in the least-squares sense,
    /// in the closed form for the plane (S. Umeyama, "Least-squares estimation of transformation parameters between two
    /// point patterns", TPAMI 1991). `None` when the points of `from` coincide, or a number is not finite.
    #[must_use]
    pub fn umeyama<const N: usize>(from: &[Point; N], to: &[Point; N]) -> Option<Self> {
        let (from_mean, to_mean) = (Point::mean(from), Point::mean(to));
        let (mut dot, mut cross, mut spread) = (0.0, 0.0, 0.0);
        for (a, b) in from.iter().zip(to) {
            let (ax, ay) = (a.x - from_mean.x, a.y - from_mean.y);
            let (bx, by) = (b.x - to_mean.x, b.y - to_mean.y);
            dot += ax * bx + ay * by;
            cross += ax * by - ay * bx;
            spread += ax * ax + ay * ay;
        }
        let (cos, sin) = (dot / spread, cross / spread);
        let map = Self([
            [cos, -sin, to_mean.x - cos * from_mean.x + sin * from_mean.y],
            [sin, cos, to_mean.y - sin * from_mean.x - cos * from_mean.y],
        ]);
        let usable = map.determinant() > 0.0 && map.0.as_flattened().iter().all(|v| v.is_finite());
        usable.then_some(map)
    }

    /// Leaves every point unchanged.
    pub const IDENTITY: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);

    /// Applies `first`, then this.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        let ([[a, b, c], [d, e, f]], [[g, h, i], [j, k, l]]) = (self.0, first.0);
        Self([[a * g + b * j, a * h + b * k, a * i + b * l + c], [d * g + e * j, d * h + e * k, d * i + e * l + f]])
    }

    /// The image of `p`.
    #[must_use]
    pub fn apply(&self, p: Point) -> Point {
        let [[a, b, c], [d, e, f]] = self.0;
        Point::new(a * p.x + b * p.y + c, d * p.x + e * p.y + f)
    }

    /// The inverse map; `None` when the map collapses the plane onto a line.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        let [[a, b, c], [d, e, f]] = self.0;
        let det = self.determinant();
        if det == 0.0 || !det.is_finite() {
            return None;
        }
        let (ia, ib, id, ie) = (e / det, -b / det, -d / det, a / det);
        Some(Self([[ia, ib, -(ia * c + ib * f)], [id, ie, -(id * c + ie * f)]]))
    }

    /// The factor by which lengths grow, on average over directions.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.determinant().abs().sqrt()
    }

    fn determinant(&self) -> f64 {
        let [[a, b, _], [d, e, _]] = self.0;
        a * e - b * d
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FACE: [Point; 5] = [
        Point::new(48.4, 47.0),
        Point::new(100.9, 47.0),
        Point::new(74.4, 81.5),
        Point::new(51.6, 104.0),
        Point::new(97.2, 104.0),
    ];

    proptest! {
        #[test]
        fn umeyama_recovers_the_similarity_that_moved_the_points(
            angle in -3.1..3.1f64, scale in 0.05..20.0f64, x in -500.0..500.0f64, y in -500.0..500.0f64,
        ) {
            let map = Transform::about(Point::new(70.0, 70.0), angle, scale, Point::new(x, y));
            let moved = FACE.map(|p| map.apply(p));
            let found = Transform::umeyama(&FACE, &moved).unwrap();
            for p in FACE {
                prop_assert!(found.apply(p).distance(map.apply(p)) < 1e-8);
            }
            prop_assert!((found.scale() - scale).abs() < 1e-8);
        }

        #[test]
        fn the_inverse_leads_back(
            angle in -3.1..3.1f64, scale in 0.05..20.0f64, x in -500.0..500.0f64, y in -500.0..500.0f64,
        ) {
            let map = Transform::about(Point::new(3.0, -4.0), angle, scale, Point::new(x, y));
            let back = map.inverse().unwrap();
            for p in FACE {
                prop_assert!(back.apply(map.apply(p)).distance(p) < 1e-7);
            }
        }
    }

    #[test]
    fn points_that_coincide_have_no_similarity() {
        assert_eq!(Transform::umeyama(&[Point::new(1.0, 1.0); 5], &FACE), None);
        assert_eq!(Transform::umeyama(&[Point::new(f64::NAN, 1.0); 5], &FACE), None);
    }

    #[test]
    fn a_mirrored_face_is_not_mirrored_back() {
        let mirrored = FACE.map(|p| Point::new(150.0 - p.x, p.y));
        if let Some(map) = Transform::umeyama(&FACE, &mirrored) {
            assert!(map.determinant() > 0.0);
        }
    }

    #[test]
    fn a_face_cut_by_the_edge_is_less_prominent_than_a_smaller_whole_one() {
        let cut = Rect { left: -30.0, top: 20.0, right: 70.0, bottom: 120.0 };
        let whole = Rect { left: 80.0, top: 80.0, right: 165.0, bottom: 165.0 };
        assert!(cut.area() > whole.area());
        assert!(cut.prominence(250, 250) < whole.prominence(250, 250));
        assert!((whole.prominence(250, 250) - whole.area()).abs() < 1e-9);
        assert!(whole.prominence(50, 50).abs() < 1e-9);
    }

    #[test]
    fn iou_counts_the_common_area_once() {
        let a = Rect { left: 0.0, top: 0.0, right: 2.0, bottom: 2.0 };
        let b = Rect { left: 1.0, top: 0.0, right: 3.0, bottom: 2.0 };
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-12);
        assert!((a.iou(&a) - 1.0).abs() < 1e-12);
        assert!(a.iou(&Rect::default()).abs() < 1e-12);
    }
}
