//! Motion on rendered frames: three-dimensional heads that perform actions, and photos that are moved in front of a
//! camera.

use visavis::domain::action::Action;
use visavis::domain::evidence::Mode;
use visavis::domain::motion::{MotionLimits, Parallax, actions, is_answer};
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::{Analysis, Pass, Pipeline, motion};

use super::support::renderer::{Attack, MANNER, Manner, Pose, Subject, jpeg, performed, resized};
use super::support::spoilt::Shot;
use super::vision_support::{photo, pipeline};

/// A photo with 80 pixels between the eyes, as a phone shows a face at arm's length.
fn shot(pipeline: &mut Pipeline, name: &str) -> Shot {
    let large = Shot::of(pipeline, &photo(name)).unwrap();
    resized(pipeline, &large, 80.0).unwrap()
}

fn seen(pipeline: &mut Pipeline, subject: &Subject<'_>, poses: &[Pose]) -> (Vec<Action>, Parallax) {
    let frame = |pose| pipeline.analyse(&jpeg(&subject.frame(pose)), Mode::Fast, &mut Pass::default()).ok();
    let frames: Vec<Option<Analysis>> = poses.iter().map(frame).collect();
    let found = actions(&motion::frame_measures(&frames), &MotionLimits::default());
    (found, motion::parallax(&frames).unwrap())
}

#[test]
fn a_head_that_turns_is_solid_and_its_actions_are_seen_in_their_order() {
    use Action::{LookDown, LookUp, OpenMouth, TurnLeft, TurnRight};
    let mut pipeline = pipeline();
    for (name, asked) in [
        ("obama.jpg", [TurnLeft, LookUp, OpenMouth, TurnRight]),
        ("obama2.jpg", [TurnRight, TurnLeft, LookUp, LookDown]),
        ("biden.jpg", [LookDown, TurnLeft, TurnRight, OpenMouth]),
        ("astronaut.png", [OpenMouth, TurnRight, TurnLeft, LookUp]),
    ] {
        let shot = shot(&mut pipeline, name);
        let head = Subject::head(&shot.picture, &shot.face);
        let (found, depth) = seen(&mut pipeline, &head, &performed(&asked, &MANNER, 1));
        assert!(is_answer(&found, &asked), "{name}: {found:?} for {asked:?}");
        assert!(depth.is_solid(&MotionLimits::default()), "{name}: {depth:?}");
        let still = performed(&[OpenMouth], &MANNER, 1);
        let (_, depth) = seen(&mut pipeline, &head, &still);
        assert!(!depth.is_solid(&MotionLimits::default()), "{name} shows no depth without a turn: {depth:?}");
    }
}

#[test]
fn closed_eyes_are_seen_and_a_blink_is_not() {
    let mut pipeline = pipeline();
    for name in ["obama.jpg", "astronaut.png"] {
        let shot = shot(&mut pipeline, name);
        let head = Subject::head(&shot.picture, &shot.face);
        for (hold, expected) in [(3, &[Action::CloseEyes][..]), (0, &[])] {
            let poses = performed(&[Action::CloseEyes], &Manner { hold, ..MANNER }, 1);
            assert_eq!(seen(&mut pipeline, &head, &poses).0, expected, "{name}, {hold} frames");
        }
    }
}

/// Moves, tilts and bends the photo and brings it closer. It would suffice that it does not pass for a face that
/// answers; it is not solid either.
fn attack_with_the_photo(name: &str) {
    let mut pipeline = pipeline();
    let asked = [Action::TurnLeft, Action::OpenMouth, Action::TurnRight];
    let shot = shot(&mut pipeline, name);
    let sheet = Subject::sheet(&shot.picture, &shot.face);
    for attack in Attack::ALL {
        for force in [0.1, 0.8] {
            let (found, depth) = seen(&mut pipeline, &sheet, &attack.poses(&asked, force, 1));
            assert!(!depth.is_solid(&MotionLimits::default()), "{name}, {attack:?} {force}: {depth:?}");
            assert!(!is_answer(&found, &asked), "{name}, {attack:?} {force}");
        }
    }
}

// One test a photo, because they take long and can run beside each other.

#[test]
fn the_moved_photo_of_obama_is_neither_solid_nor_an_answer() {
    attack_with_the_photo("obama.jpg");
}

#[test]
fn the_moved_official_photo_of_obama_is_neither_solid_nor_an_answer() {
    attack_with_the_photo("obama2.jpg");
}

#[test]
fn the_moved_photo_of_biden_is_neither_solid_nor_an_answer() {
    attack_with_the_photo("biden.jpg");
}

#[test]
fn the_moved_photo_of_an_astronaut_is_neither_solid_nor_an_answer() {
    attack_with_the_photo("astronaut.png");
}
