//! The map between two pictures of one plane, by the normalised direct linear transform (R. Hartley, "In defense of the
//! eight-point algorithm", TPAMI 1997).

#![expect(clippy::cast_precision_loss, clippy::many_single_char_names, reason = "a few hundred points; coordinates")]

use nalgebra::{Matrix3, SMatrix, SymmetricEigen, Vector3};

use super::geometry::Point;

/// Limit for the search for eigenvectors, which takes a few dozen steps.
const MOST_STEPS: usize = 1000;

/// A projective map of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Homography(Matrix3<f64>);

impl Homography {
    /// The map that brings each point of `from` closest to its partner in `to`, by algebraic distance. `None` when the
    /// points determine no map: there are fewer than four, they coincide, or they lie on a line.
    #[must_use]
    pub fn between(from: &[Point], to: &[Point]) -> Option<Self> {
        if from.len() < 4 || from.len() != to.len() {
            return None;
        }
        let (norm_from, norm_to) = (normaliser(from)?, normaliser(to)?);
        // The sum of the outer products of the equations' rows. Its eigenvector with the least eigenvalue is the
        // solution.
        let mut normal = SMatrix::<f64, 9, 9>::zeros();
        for (a, b) in from.iter().zip(to) {
            let (a, b) = (norm_from * homogeneous(*a), norm_to * homogeneous(*b));
            let (x, y, u, v) = (a.x, a.y, b.x, b.y);
            for row in [[x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, -u], [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, -v]]
            {
                let row = SMatrix::<f64, 9, 1>::from(row);
                normal += row * row.transpose();
            }
        }
        let eigen = SymmetricEigen::try_new(normal, f64::EPSILON, MOST_STEPS)?;
        let column = eigen.eigenvectors.column(eigen.eigenvalues.imin());
        let map = Matrix3::from_row_iterator(column.iter().copied());
        let map = norm_to.try_inverse()? * map * norm_from;
        map.iter().all(|value| value.is_finite()).then_some(Self(map))
    }

    /// The image of `p`. It is not finite for points that go to infinity.
    #[must_use]
    pub fn apply(&self, p: Point) -> Point {
        let to = self.0 * homogeneous(p);
        Point::new(to.x / to.z, to.y / to.z)
    }

    /// Root mean square of the distances between the mapped points of `from` and the points of `to`.
    #[must_use]
    pub fn residual(&self, from: &[Point], to: &[Point]) -> f64 {
        let sum: f64 = from.iter().zip(to).map(|(a, b)| self.apply(*a).distance(*b).powi(2)).sum();
        (sum / from.len() as f64).sqrt()
    }
}

fn homogeneous(p: Point) -> Vector3<f64> {
    Vector3::new(p.x, p.y, 1.0)
}

/// Moves the points' centre to the origin, and scales their mean distance from it to the square root of two.
fn normaliser(points: &[Point]) -> Option<Matrix3<f64>> {
    let centre = Point::mean(points);
    let distance = points.iter().map(|point| point.distance(centre)).sum::<f64>() / points.len() as f64;
    let scale = std::f64::consts::SQRT_2 / distance;
    scale.is_finite().then(|| Matrix3::new(scale, 0.0, -scale * centre.x, 0.0, scale, -scale * centre.y, 0.0, 0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<Point> {
        (0..25).map(|i| Point::new(f64::from(i % 5) * 40.0 + 300.0, f64::from(i / 5) * 30.0 + 100.0)).collect()
    }

    #[test]
    fn a_plane_seen_at_an_angle_leaves_no_residual() {
        let known = Homography(Matrix3::new(0.8, -0.1, 30.0, 0.05, 1.1, -12.0, 4e-4, -2e-4, 1.0));
        let to: Vec<Point> = grid().iter().map(|point| known.apply(*point)).collect();
        let found = Homography::between(&grid(), &to).unwrap();
        assert!(found.residual(&grid(), &to) < 1e-6);
        assert!(found.apply(Point::new(0.0, 0.0)).distance(Point::new(30.0, -12.0)) < 1e-4);
    }

    #[test]
    fn a_point_off_the_plane_leaves_a_residual() {
        let mut to = grid();
        to[12].x += 20.0;
        let residual = Homography::between(&grid(), &to).unwrap().residual(&grid(), &to);
        assert!((2.0..5.0).contains(&residual), "{residual}");
    }

    #[test]
    fn points_that_span_no_plane_have_no_map() {
        assert!(Homography::between(&grid()[..3], &grid()[..3]).is_none());
        let same = vec![Point::new(5.0, 5.0); 9];
        assert!(Homography::between(&same, &grid()[..9]).is_none());
        assert!(Homography::between(&grid(), &grid()[1..]).is_none());
    }
}
