//! Real photos that are spoilt in one way each get the warning for that defect and no other. Clean photos get none.

use image::imageops;
use visavis::domain::warning::Risk;

use super::support::spoilt::{Shot, analyse, glasses, hand, mask, risks};
use super::vision_support::{photo, pipeline};

const PHOTOS: [&str; 3] = ["obama2.jpg", "biden.jpg", "astronaut.png"];

#[test]
fn each_warning_is_given_for_its_own_defect_and_not_for_the_clean_photo() {
    let mut pipeline = pipeline();
    for name in PHOTOS {
        let shot = Shot::of(&mut pipeline, &photo(name)).unwrap();
        assert_eq!(risks(&shot.quality), [], "{name}: {:?}", shot.quality);
        #[expect(clippy::cast_possible_truncation, reason = "about 2")]
        let glare = (1.1 / shot.quality.brightness) as f32;
        let spoilt = [
            ("out of focus", Risk::Blurred, shot.blurred(0.08)),
            ("dark", Risk::PoorLighting, shot.each(|level| level * 0.15)),
            ("glaring", Risk::PoorLighting, shot.each(|level| level * glare)),
            ("hazy", Risk::PoorLighting, shot.each(|level| 128.0 + (level - 128.0) * 0.15)),
            ("far away", Risk::FaceTooSmall, shot.scaled_to(14.0)),
            ("dark glasses", Risk::FaceOccluded, shot.painted([28, 26, 25], glasses)),
            ("a blue mask", Risk::FaceOccluded, shot.painted([130, 170, 200], mask)),
            ("a white mask", Risk::FaceOccluded, shot.painted([225, 225, 225], mask)),
            ("a hand over an eye", Risk::FaceOccluded, shot.painted([190, 140, 115], hand)),
            ("cut by the edge", Risk::FaceAtEdge, shot.beheaded()),
        ];
        for (what, risk, picture) in spoilt {
            let quality = analyse(&mut pipeline, &picture).quality.unwrap_or_else(|| panic!("{name}, {what}: no face"));
            assert_eq!(risks(&quality), [risk], "{name}, {what}: {quality:?}");
        }
    }
}

#[test]
fn the_pose_of_a_turned_head_changes_by_as_many_degrees() {
    let mut pipeline = pipeline();
    for name in PHOTOS {
        let shot = Shot::of(&mut pipeline, &photo(name)).unwrap();
        for (yaw, pitch) in [(45.0, 0.0), (-45.0, 0.0), (0.0, 45.0), (0.0, -45.0)] {
            let turned = shot.turned(yaw, pitch);
            // The other angle is not checked, because a tilted head does not turn around its own axes.
            let (found, asked) = if pitch == 0.0 {
                (turned.yaw_deg - shot.quality.yaw_deg, yaw)
            } else {
                (turned.pitch_deg - shot.quality.pitch_deg, pitch)
            };
            assert!((found - asked).abs() < 6.0, "{name}: {found} for {asked}");
            assert!(risks(&turned).contains(&Risk::ExtremePose));
        }
    }
}

#[test]
fn roll_is_measured_in_the_picture() {
    let mut pipeline = pipeline();
    let shot = Shot::of(&mut pipeline, &photo("biden.jpg")).unwrap();
    let quarter = analyse(&mut pipeline, &imageops::rotate90(&shot.picture)).quality.unwrap();
    assert!((quarter.roll_deg - shot.quality.roll_deg - 90.0).abs() < 3.0, "{}", quarter.roll_deg);
    assert_eq!(risks(&quarter), []);
}

#[test]
fn closed_lids_and_an_open_mouth_of_the_mesh_are_measured() {
    const UPPER: [usize; 6] = [160, 159, 158, 387, 386, 385];
    const LOWER: [usize; 6] = [144, 145, 153, 373, 374, 380];
    let mut pipeline = pipeline();
    let shot = Shot::of(&mut pipeline, &photo("biden.jpg")).unwrap();
    let lids = |share: f64| {
        shot.with_mesh(|i, p| match UPPER.iter().position(|upper| *upper == i) {
            Some(at) => {
                let below = shot.face.landmarks[LOWER[at]];
                std::array::from_fn(|c| below[c] + (p[c] - below[c]) * share)
            }
            None => p,
        })
    };
    assert_eq!(risks(&lids(1.0)), []);
    assert_eq!(risks(&lids(0.1)), [Risk::EyesClosed]);
    let yawning = shot.with_mesh(|i, [x, y, z]| if i == 14 { [x, y + 0.6 * shot.inter_eye(), z] } else { [x, y, z] });
    assert_eq!(risks(&yawning), [Risk::MouthOpen]);
}

#[test]
fn a_second_face_lowers_the_dominance() {
    let mut pipeline = pipeline();
    let alone = analyse(&mut pipeline, &image::load_from_memory(&photo("biden.jpg")).unwrap().to_rgb8());
    let two = analyse(&mut pipeline, &image::load_from_memory(&photo("two-faces.png")).unwrap().to_rgb8());
    assert!((alone.quality.unwrap().dominance - 1.0).abs() < 1e-12);
    assert!((0.5..0.9).contains(&two.quality.unwrap().dominance));
}
