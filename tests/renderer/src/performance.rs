//! The poses of somebody who answers a challenge, and of a photo that is moved to attack it.

#![expect(clippy::cast_precision_loss, reason = "33 random bits")]

use visavis_domain::action::Action;

use super::pose::Pose;

/// How somebody answers a challenge: how far each action goes, and how still the head is otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Degrees of a turn.
    pub turn: f64,
    /// Degrees of a nod up or down.
    pub nod: f64,
    /// The number of frames in which an action is held.
    pub hold: usize,
    /// How much the head trembles, in degrees and in hundredths of an inter-eye distance.
    pub tremor: f64,
}

/// The poses of a head that performs these actions one after the other.
#[must_use]
pub fn performed(actions: &[Action], manner: &Manner, seed: u64) -> Vec<Pose> {
    let mut noise = Noise(seed);
    let mut poses = vec![Pose::default(); 2];
    for action in actions {
        let done = match action {
            Action::TurnLeft => Pose { yaw: manner.turn, ..Pose::default() },
            Action::TurnRight => Pose { yaw: -manner.turn, ..Pose::default() },
            Action::LookUp => Pose { pitch: manner.nod, ..Pose::default() },
            Action::LookDown => Pose { pitch: -manner.nod, ..Pose::default() },
            Action::CloseEyes => Pose { closed: 1.0, ..Pose::default() },
            Action::OpenMouth => Pose { open: 1.0, ..Pose::default() },
        };
        let half = Pose {
            yaw: done.yaw / 2.0,
            pitch: done.pitch / 2.0,
            closed: done.closed / 2.0,
            open: done.open / 2.0,
            ..done
        };
        poses.push(half);
        poses.extend(std::iter::repeat_n(done, manner.hold));
        poses.extend([half, Pose::default()]);
    }
    for pose in &mut poses {
        let mut about = |scale: f64| scale * manner.tremor * noise.draw();
        pose.yaw += about(1.0);
        pose.pitch += about(1.0);
        pose.roll += about(1.0);
        pose.shift = [about(0.01), about(0.01)];
        pose.closer += about(0.02);
    }
    poses
}

/// Pseudo-random numbers in [-1, 1]. The seed decides them.
pub struct Noise(pub u64);

impl Noise {
    pub fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    }
}

/// What an attacker may do with a photo in front of a camera to answer a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    Moved,
    Tilted,
    Bent,
    Zoomed,
}

/// Somebody who follows the instructions carefully.
pub const MANNER: Manner = Manner { turn: 28.0, nod: 20.0, hold: 2, tremor: 2.0 };

impl Attack {
    pub const ALL: [Self; 4] = [Self::Moved, Self::Tilted, Self::Bent, Self::Zoomed];

    /// The poses of a sheet that is meant to look like these actions. `force` is in [0, 1].
    #[must_use]
    pub fn poses(self, actions: &[Action], force: f64, seed: u64) -> Vec<Pose> {
        let mut noise = Noise(seed);
        let mut poses = vec![Pose::default(); 2];
        for action in actions {
            let [across, down] = match action {
                Action::TurnLeft => [1.0, 0.0],
                Action::TurnRight => [-1.0, 0.0],
                Action::LookUp => [0.0, 1.0],
                Action::LookDown | Action::CloseEyes => [0.0, -1.0],
                Action::OpenMouth => [0.3, 0.5],
            };
            let (tilt, bend, rest) = (25.0 + 20.0 * force, 10.0 + 15.0 * force, Pose::default());
            let done = match self {
                Self::Moved => Pose { shift: [0.8 * across, -0.6 * down], roll: 15.0 * force * across, ..rest },
                Self::Tilted => Pose { yaw: tilt * across, pitch: tilt * down, ..rest },
                Self::Bent => Pose {
                    yaw: tilt * across,
                    pitch: tilt * down,
                    bend: if down == 0.0 { [bend, 0.0] } else { [0.0, bend] },
                    ..rest
                },
                Self::Zoomed => {
                    Pose { closer: (0.5 + 1.5 * force) * (across + down), shift: [0.3 * across, 0.0], ..rest }
                }
            };
            let half = Pose {
                yaw: done.yaw / 2.0,
                pitch: done.pitch / 2.0,
                roll: done.roll / 2.0,
                shift: done.shift.map(|shift| shift / 2.0),
                closer: done.closer / 2.0,
                bend: done.bend.map(|bend| bend / 2.0),
                ..rest
            };
            poses.extend([half, done, done, half, rest]);
        }
        for pose in &mut poses {
            pose.yaw += noise.draw();
            pose.pitch += noise.draw();
            pose.roll += noise.draw();
            pose.closer += 0.02 * noise.draw();
        }
        poses
    }
}
