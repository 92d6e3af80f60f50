//! A liveness challenge asks the person in front of the camera for actions in a random order. A photo cannot answer it,
//! and neither can an earlier recording, unless it happens to show the same actions in the same order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::action::Action;
use super::frames::FrameSummary;
use super::motion::{MotionLimits, is_answer};
use super::tenant::Account;
use super::warning::Warning;

/// Whether a challenge can be made of these actions. It needs both turns, which show depth, and one of closing the eyes
/// and opening the mouth, which a mask cannot do.
#[must_use]
pub fn is_sufficient(actions: &[Action]) -> bool {
    let has = |wanted: Action| actions.contains(&wanted);
    has(Action::TurnLeft) && has(Action::TurnRight) && (has(Action::CloseEyes) || has(Action::OpenMouth))
}

/// How many actions a challenge may have.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 3..=6;
/// Four of the usual actions make 66 different challenges, five make 450 and six make 2,490. A recording of one
/// challenge matches a new one with a chance of 1 in that number.
pub const DEFAULT_LENGTH: usize = 4;
/// Seconds from its issue until a challenge expires: its answer must be submitted before.
pub const LIFETIME: i64 = 120;

/// A challenge as it was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Can be used once.
    pub id: Uuid,
    /// Who may submit the answer.
    pub account: Account,
    pub actions: Vec<Action>,
    /// Seconds of the Unix epoch, by the database's clock.
    pub expires: i64,
}

/// Draws `length` actions out of `from`, which must be sufficient. The result is sufficient, too, and has no action
/// twice in a row. `below(n)` gives an unpredictable number below `n`.
#[must_use]
pub fn draw(length: usize, from: &[Action], mut below: impl FnMut(usize) -> usize) -> Vec<Action> {
    // A draw that is not sufficient is discarded as a whole, so that all sufficient ones are equally likely.
    loop {
        let actions: Vec<Action> = (0..length).map(|_| from[below(from.len()) % from.len()]).collect();
        if is_sufficient(&actions) && actions.windows(2).all(|pair| pair[0] != pair[1]) {
            return actions;
        }
    }
}

/// How the frames answer a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChallengeAnswer {
    /// The actions that the challenge asked for, in their order.
    pub asked: Vec<Action>,
    /// Whether the frames show these actions, by one face with depth in one take.
    pub passed: bool,
}

impl ChallengeAnswer {
    #[must_use]
    pub fn of(asked: &[Action], frames: &FrameSummary) -> Self {
        let passed = is_solid(frames) && is_one_take(frames, asked.len()) && is_answer(&frames.actions, asked);
        Self { asked: asked.to_vec(), passed }
    }

    /// The warning about an answer that did not pass. `image` is the name of the frames in the request.
    #[must_use]
    pub fn warning(&self, frames: &FrameSummary, image: &str) -> Warning {
        let names = |actions: &[Action]| match actions {
            [] => "none".to_owned(),
            some => some.iter().map(|action| action.name()).collect::<Vec<_>>().join(","),
        };
        let word = |flag| if flag { "yes" } else { "no" };
        let (asked, seen) = (names(&self.asked), names(&frames.actions));
        let (depth, one_take) = (word(is_solid(frames)), word(is_one_take(frames, self.asked.len())));
        Warning::challenge_failed(format!("image={image} asked={asked} seen={seen} depth={depth} one_take={one_take}"))
    }
}

fn is_solid(frames: &FrameSummary) -> bool {
    frames.parallax.is_some_and(|parallax| parallax.is_solid(&MotionLimits::default()))
}

/// Whether the frames show one person without a break. A face may be lost for a moment in a turn. Any other gap could
/// hide a change of faces. Every face must be like the compared one, even where it is seen too badly to be called
/// another person's: otherwise a photo could be compared while somebody else makes the actions.
fn is_one_take(frames: &FrameSummary, actions: usize) -> bool {
    let limits = MotionLimits::default();
    let lost = usize::from(frames.without_face) + usize::from(frames.unreadable);
    let is_alike = frames.least_similarity.is_some_and(|similarity| similarity >= limits.alike);
    let looked_at = usize::from(frames.looked_at);
    is_alike
        && frames.cuts == 0
        && frames.other_person == 0
        && lost * 5 <= looked_at
        && looked_at >= limits.frames * actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::Parallax;
    use std::collections::HashMap;

    #[test]
    fn every_challenge_shows_depth_and_a_living_face_and_all_are_equally_likely() {
        // A linear congruential generator: the same draws each time.
        let mut state = 1_u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % n
        };
        for (length, from, different) in
            [(3, Action::ALL, 12), (4, Action::ALL, 156), (4, Action::USUAL, 66), (5, Action::USUAL, 450)]
        {
            let mut counts: HashMap<Vec<Action>, u32> = HashMap::new();
            for _ in 0..different * 100 {
                let actions = draw(length, from, &mut below);
                assert!(is_sufficient(&actions) && actions.iter().all(|action| from.contains(action)));
                assert!(actions.windows(2).all(|pair| pair[0] != pair[1]));
                *counts.entry(actions).or_default() += 1;
            }
            assert_eq!(counts.len(), different, "of length {length}");
            assert!(counts.values().all(|count| (50..=160).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn a_challenge_is_met_by_its_actions_in_one_take_of_a_solid_face_and_by_nothing_less() {
        let asked = [Action::TurnLeft, Action::OpenMouth, Action::TurnRight];
        let solid = MotionLimits::default().solid;
        let good = FrameSummary {
            looked_at: 20,
            without_face: 4,
            actions: asked.to_vec(),
            parallax: Some(solid),
            least_similarity: Some(0.5),
            ..FrameSummary::default()
        };
        assert!(ChallengeAnswer::of(&asked, &good).passed);
        let all = "turn_left,open_mouth,turn_right";
        let flat = Parallax { unexplained: solid.unexplained - 0.01, ..solid };
        let reversed = asked.iter().rev().copied().collect();
        let again = [asked.as_slice(), &[Action::TurnLeft]].concat();
        for (frames, seen, depth, one_take) in [
            (FrameSummary { actions: Vec::new(), ..good.clone() }, "none", "yes", "yes"),
            (FrameSummary { actions: reversed, ..good.clone() }, "turn_right,open_mouth,turn_left", "yes", "yes"),
            (
                FrameSummary { actions: again, ..good.clone() },
                "turn_left,open_mouth,turn_right,turn_left",
                "yes",
                "yes",
            ),
            (FrameSummary { parallax: Some(flat), ..good.clone() }, all, "no", "yes"),
            (FrameSummary { parallax: None, ..good.clone() }, all, "no", "yes"),
            (FrameSummary { cuts: 1, ..good.clone() }, all, "yes", "no"),
            (FrameSummary { other_person: 1, ..good.clone() }, all, "yes", "no"),
            (FrameSummary { without_face: 5, ..good.clone() }, all, "yes", "no"),
            (FrameSummary { unreadable: 1, ..good.clone() }, all, "yes", "no"),
            (FrameSummary { least_similarity: Some(0.49), ..good.clone() }, all, "yes", "no"),
            (FrameSummary { least_similarity: None, ..good.clone() }, all, "yes", "no"),
            (FrameSummary { looked_at: 8, without_face: 0, ..good.clone() }, all, "yes", "no"),
        ] {
            let answer = ChallengeAnswer::of(&asked, &frames);
            assert!(!answer.passed, "{frames:?}");
            assert_eq!(
                answer.warning(&frames, "target_video").additional_data,
                Some(format!("image=target_video asked={all} seen={seen} depth={depth} one_take={one_take}"))
            );
        }
    }
}
