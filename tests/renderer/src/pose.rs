//! How the head or the sheet stands in front of the camera.

use super::canvas::Place;

/// How the head or the sheet stands, in degrees and inter-eye distances.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pose {
    /// Turn to the subject's left.
    pub yaw: f64,
    /// Turn upwards.
    pub pitch: f64,
    /// Turn clockwise on the screen.
    pub roll: f64,
    /// Shift to the right and down.
    pub shift: [f64; 2],
    /// Shift towards the camera.
    pub closer: f64,
    /// How far the eyes are closed, in [0, 1].
    pub closed: f64,
    /// How far the mouth is open, in [0, 1].
    pub open: f64,
    /// How far the sides of a sheet bend away from its middle, in degrees for each inter-eye distance: around the
    /// vertical axis, and around the horizontal one.
    pub bend: [f64; 2],
}

impl Pose {
    /// A point relative to the pivot, turned by this pose.
    #[must_use]
    pub fn turned(&self, [x, y, z]: Place) -> Place {
        // Depth points away from the camera. The nose of a head that turns to its left is on the right of the screen.
        let (sin, cos) = self.yaw.to_radians().sin_cos();
        let [x, z] = [x * cos - z * sin, x * sin + z * cos];
        let (sin, cos) = self.pitch.to_radians().sin_cos();
        let [y, z] = [y * cos + z * sin, z * cos - y * sin];
        let (sin, cos) = self.roll.to_radians().sin_cos();
        [x * cos - y * sin, x * sin + y * cos, z]
    }
}
