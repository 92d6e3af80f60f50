//! Motion of a face through consecutive frames: whether it has depth, and which actions it makes, in their order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::action::Action;

/// How far a face stands out of its plane, measured between the two frames in which it looks furthest to either side. A
/// photo has no depth. However it is moved, tilted and brought closer, its points move by one homography, and the tip
/// of the nose keeps its place between brow and lip.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Parallax {
    /// How far the tip of the nose moves sideways across the line from brow to upper lip, in lengths of that line.
    pub nose_shift: f64,
    /// The residual of the best homography between both frames: root mean square over rigid points, in inter-eye
    /// distances.
    pub unexplained: f64,
    /// The shift of the nose relative to the foreshortening of the face. A bent sheet of paper foreshortens much and
    /// shifts little.
    pub protrusion: f64,
}

/// Measures of the face in one frame that do not depend on its place and size.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FrameMeasures {
    /// Distance of the tip of the nose from the line from brow to upper lip, in lengths of that line. Positive to the
    /// subject's left.
    pub aside: f64,
    /// How far down that line the tip of the nose stands, in lengths of that line.
    pub along: f64,
    /// Height of the gap between the lids in widths of the eye, as the mean of both eyes.
    pub eyes: f64,
    /// Gap between the lips, in distances from eyes to chin.
    pub mouth: f64,
}

/// Limits from which a motion counts as an action, and a face as one with depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MotionLimits {
    /// Sideways move of the nose from its usual place: at the first value the head is turned, below the second it is
    /// back.
    pub turned: [f64; 2],
    /// The same up and down.
    pub nodded: [f64; 2],
    /// Openness of the eyes relative to the open eyes: below the first value they are closed, above the second open
    /// again.
    pub closed: [f64; 2],
    /// Gap beyond that of the closed mouth: above the first value the mouth is open, below the second closed again.
    pub open: [f64; 2],
    /// Consecutive frames in which the eyes must be closed. A blink is shorter.
    pub closed_frames: usize,
    /// The least value of each measure of a face with depth.
    pub solid: Parallax,
    /// The least similarity, in [0, 1], of every frame's face to the compared one. Below it the actions may be another
    /// person's.
    pub alike: f64,
    /// The least number of frames for each action of a challenge.
    pub frames: usize,
}

/// See `docs/understand/challenges.md` for what they were chosen on.
impl Default for MotionLimits {
    fn default() -> Self {
        Self {
            turned: [0.07, 0.045],
            nodded: [0.04, 0.028],
            closed: [0.76, 0.86],
            open: [0.06, 0.04],
            closed_frames: 2,
            solid: Parallax { nose_shift: 0.18, unexplained: 0.24, protrusion: 0.1 },
            alike: 0.5,
            frames: 3,
        }
    }
}

impl Parallax {
    /// Whether the face has depth.
    #[must_use]
    pub fn is_solid(&self, limits: &MotionLimits) -> bool {
        let least = limits.solid;
        self.nose_shift >= least.nose_shift
            && self.unexplained >= least.unexplained
            && self.protrusion >= least.protrusion
    }
}

/// Whether the actions that were seen are those that were asked for, in their order. Actions that were not asked for
/// are ignored, because people nod while they open the mouth. An action seen twice in a row counts once: challenges
/// never ask for that.
#[must_use]
pub fn is_answer(seen: &[Action], asked: &[Action]) -> bool {
    let mut counted: Vec<Action> = seen.iter().filter(|action| asked.contains(action)).copied().collect();
    counted.dedup();
    counted == asked
}

/// The actions that consecutive frames show, in the order in which they begin. Frames without a face are `None`.
#[must_use]
pub fn actions(frames: &[Option<FrameMeasures>], limits: &MotionLimits) -> Vec<Action> {
    let seen: Vec<&FrameMeasures> = frames.iter().flatten().collect();
    let straight = quantile(seen.iter().map(|face| face.aside), 0.5);
    let level = quantile(seen.iter().map(|face| face.along), 0.5);
    let aside = |face: &FrameMeasures| face.aside - straight;
    let down = |face: &FrameMeasures| face.along - level;
    let frontal =
        || seen.iter().filter(|face| aside(face).abs() < limits.turned[1] && down(face).abs() < limits.nodded[1]);
    let wide = quantile(frontal().map(|face| face.eyes), 0.8);
    let shut = quantile(frontal().map(|face| face.mouth), 0.2);

    let mut found: Vec<(usize, Action)> = Vec::new();
    let mut look = |action, signal: &dyn Fn(&FrameMeasures) -> f64, [on, off]: [f64; 2], least: usize| {
        // Lids and lips can be measured from the front only. A head that turns, or whose mouth opens, may also tip a
        // little.
        let is_shown = |face: &FrameMeasures| match action {
            Action::TurnLeft | Action::TurnRight => true,
            Action::LookUp | Action::LookDown => {
                aside(face).abs() < limits.turned[1] && face.mouth - shut < 2.0 * limits.open[0]
            }
            Action::CloseEyes | Action::OpenMouth => {
                aside(face).abs() < limits.turned[1] && down(face).abs() < limits.nodded[0]
            }
        };
        let (mut begun, mut frames_long) = (None, 0);
        for (at, face) in frames.iter().enumerate() {
            let Some(face) = face.as_ref().filter(|face| is_shown(face)) else { continue };
            let value = signal(face);
            match begun {
                None if value >= on => (begun, frames_long) = (Some(at), 1),
                Some(_) if value >= off => frames_long += 1,
                Some(start) => {
                    if frames_long >= least {
                        found.push((start, action));
                    }
                    begun = None;
                }
                None => {}
            }
        }
        if let Some(start) = begun.filter(|_| frames_long >= least) {
            found.push((start, action));
        }
    };
    look(Action::TurnLeft, &|face| aside(face), limits.turned, 1);
    look(Action::TurnRight, &|face| -aside(face), limits.turned, 1);
    look(Action::LookUp, &|face| -down(face), limits.nodded, 1);
    look(Action::LookDown, &|face| down(face), limits.nodded, 1);
    look(
        Action::CloseEyes,
        &|face| -face.eyes / wide.max(f64::EPSILON),
        limits.closed.map(|ratio| -ratio),
        limits.closed_frames,
    );
    look(Action::OpenMouth, &|face| face.mouth - shut, limits.open, 1);
    found.sort_by_key(|entry| entry.0);
    found.into_iter().map(|entry| entry.1).collect()
}

/// The quantile of `values` at `share`, in [0, 1]. 0 when there are no values.
fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = (share * values.len().saturating_sub(1) as f64).round() as usize;
    values.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{CloseEyes, LookDown, LookUp, OpenMouth, TurnLeft, TurnRight};

    const STILL: FrameMeasures = FrameMeasures { aside: 0.01, along: 0.7, eyes: 0.3, mouth: 0.02 };

    fn seen(moves: &[FrameMeasures]) -> Vec<Action> {
        // The face is at rest before the first move and between two moves.
        let moves = moves.iter().flat_map(|face| [*face, *face, STILL, STILL]);
        let frames: Vec<_> = [STILL; 3].into_iter().chain(moves).map(Some).collect();
        actions(&frames, &MotionLimits::default())
    }

    #[test]
    fn each_action_is_seen_once_in_the_order_in_which_it_was_made() {
        let [left, right] = [0.13, -0.11].map(|aside| FrameMeasures { aside, ..STILL });
        let [up, down] = [0.6, 0.8].map(|along| FrameMeasures { along, ..STILL });
        let (eyes, mouth) = (FrameMeasures { eyes: 0.19, ..STILL }, FrameMeasures { mouth: 0.2, ..STILL });
        assert_eq!(seen(&[left, eyes, right, mouth]), [TurnLeft, CloseEyes, TurnRight, OpenMouth]);
        assert_eq!(seen(&[mouth, down, up, right]), [OpenMouth, LookDown, LookUp, TurnRight]);
        assert_eq!(seen(&[right, right, left]), [TurnRight, TurnRight, TurnLeft]);
        assert_eq!(seen(&[STILL, STILL]), []);
    }

    #[test]
    fn a_blink_a_word_and_a_glance_are_not_actions() {
        let blink = FrameMeasures { eyes: 0.15, ..STILL };
        let frames = [STILL, blink, STILL, STILL, blink, STILL].map(Some);
        assert_eq!(actions(&frames, &MotionLimits::default()), []);
        assert_eq!(
            seen(&[FrameMeasures { mouth: 0.07, ..STILL }, FrameMeasures { aside: 0.07, along: 0.73, ..STILL }]),
            []
        );
    }

    #[test]
    fn an_answer_has_each_action_in_its_order_and_no_other_order_passes() {
        let asked = [TurnLeft, OpenMouth, TurnRight];
        assert!(is_answer(&asked, &asked));
        assert!(is_answer(&[LookUp, TurnLeft, TurnLeft, CloseEyes, OpenMouth, LookDown, TurnRight], &asked));
        for seen in [
            &[] as &[Action],
            &[TurnLeft, TurnRight],
            &[TurnRight, OpenMouth, TurnLeft],
            &[TurnLeft, OpenMouth, TurnRight, TurnLeft],
            &[TurnRight, TurnLeft, OpenMouth, TurnRight],
            &[TurnLeft, OpenMouth, TurnLeft, OpenMouth, TurnRight],
        ] {
            assert!(!is_answer(seen, &asked), "{seen:?}");
        }
    }

    #[test]
    fn a_head_that_is_turned_tells_nothing_of_lids_and_lips_and_one_with_an_open_mouth_nothing_of_nods() {
        assert_eq!(seen(&[FrameMeasures { aside: 0.15, eyes: 0.1, mouth: 0.3, ..STILL }]), [TurnLeft]);
        assert_eq!(seen(&[FrameMeasures { along: 0.82, eyes: 0.1, ..STILL }]), [LookDown]);
        assert_eq!(seen(&[FrameMeasures { along: 0.82, mouth: 0.3, ..STILL }]), []);
    }

    #[test]
    fn an_action_that_trembles_about_its_limit_is_one() {
        let places = [0.01, 0.01, 0.11, 0.07, 0.11, 0.06, 0.12, 0.01, 0.01, 0.01, 0.01, 0.01];
        let frames = places.map(|aside| Some(FrameMeasures { aside, ..STILL }));
        assert_eq!(actions(&frames, &MotionLimits::default()), [TurnLeft]);
        let mut torn = frames.to_vec();
        torn[4] = None;
        assert_eq!(actions(&torn, &MotionLimits::default()), [TurnLeft]);
    }

    #[test]
    fn no_frames_show_nothing() {
        assert_eq!(actions(&[], &MotionLimits::default()), []);
        assert_eq!(actions(&[None, None], &MotionLimits::default()), []);
    }

    #[test]
    fn what_lacks_any_figure_is_not_solid() {
        let limits = MotionLimits::default();
        assert!(limits.solid.is_solid(&limits));
        for flat in [
            Parallax { nose_shift: 0.1, ..limits.solid },
            Parallax { unexplained: 0.1, ..limits.solid },
            Parallax { protrusion: 0.09, ..limits.solid },
        ] {
            assert!(!flat.is_solid(&limits));
        }
    }
}
