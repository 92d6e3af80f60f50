//! Real photos, each spoilt in one way: the warning of that defect is given and no other, and none for the clean photo.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, imageops};
use visavis::domain::evidence::Mode;
use visavis::domain::quality::{Limits, Quality};
use visavis::domain::warning::Risk;
use visavis::vision::geometry::Point;
use visavis::vision::picture::Picture;
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::{Analysis, Face, Pipeline, quality};

use super::vision_support::{photo, pipeline};

const PHOTOS: [&str; 3] = ["obama2.jpg", "biden.jpg", "astronaut.png"];

fn analyse(pipeline: &mut Pipeline, picture: &RgbImage) -> Analysis {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture.clone()).write_to(&mut file, ImageFormat::Png).unwrap();
    pipeline.analyse(&file.into_inner(), Mode::Fast, &|| Ok(())).unwrap()
}

fn risks(quality: &Quality) -> Vec<Risk> {
    quality.defects(&Limits::default()).iter().map(|it| it.risk).collect()
}

/// A photo with its face.
struct Shot {
    picture: RgbImage,
    face: Face,
    quality: Quality,
}

impl Shot {
    fn of(pipeline: &mut Pipeline, name: &str) -> Self {
        let picture = image::load_from_memory(&photo(name)).unwrap().to_rgb8();
        let analysis = analyse(pipeline, &picture);
        let face = analysis.primary_face().unwrap().clone();
        Self { picture, face, quality: analysis.quality.unwrap() }
    }

    fn inter_eye(&self) -> f64 {
        self.face.five_points[0].distance(self.face.five_points[1])
    }

    fn each(&self, value: impl Fn(f32) -> f32) -> RgbImage {
        let mut picture = self.picture.clone();
        for it in picture.iter_mut() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            {
                *it = value(f32::from(*it)).clamp(0.0, 255.0) as u8;
            }
        }
        picture
    }

    fn blurred(&self, inter_eyes: f64) -> RgbImage {
        #[expect(clippy::cast_possible_truncation, reason = "a few pixels")]
        imageops::blur(&self.picture, (inter_eyes * self.inter_eye()) as f32)
    }

    fn scaled_to(&self, inter_eye: f64) -> RgbImage {
        let side = |it: u32| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides of pictures")]
            {
                (f64::from(it) * inter_eye / self.inter_eye()) as u32
            }
        };
        let (width, height) = self.picture.dimensions();
        imageops::resize(&self.picture, side(width), side(height), imageops::FilterType::Triangle)
    }

    /// Paints where `inside` says so of a place in inter-eye distances from the middle of the eyes: to the subject's left,
    /// and down the face.
    fn painted(&self, colour: [u8; 3], inside: impl Fn(f64, f64) -> bool) -> RgbImage {
        let [right, left, ..] = self.face.five_points;
        let middle = Point::mean(&[right, left]);
        let d = self.inter_eye();
        let (cos, sin) = ((left.x - right.x) / d, (left.y - right.y) / d);
        let mut picture = self.picture.clone();
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let (x, y) = (f64::from(x) - middle.x, f64::from(y) - middle.y);
            if inside((x * cos + y * sin) / d, (y * cos - x * sin) / d) {
                *pixel = Rgb(colour);
            }
        }
        picture
    }

    /// From below the brows on.
    fn beheaded(&self) -> RgbImage {
        let (width, height) = self.picture.dimensions();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the picture")]
        let top = (self.face.five_points[0].y - 0.4 * self.inter_eye()) as u32;
        imageops::crop_imm(&self.picture, 0, top, width, height - top).to_image()
    }

    /// Measures the same photo with the mesh moved.
    fn with_mesh(&self, place: impl Fn(usize, [f64; 3]) -> [f64; 3]) -> Quality {
        let (width, height) = (self.picture.width() as usize, self.picture.height() as usize);
        let picture = Picture::new(width, height, self.picture.as_raw().clone()).unwrap();
        let landmarks = self.face.landmarks.iter().enumerate().map(|(i, p)| place(i, *p)).collect();
        quality::measure(&picture.into(), &[Face { landmarks, ..self.face.clone() }], 0).unwrap()
    }

    /// The mesh turned in space about its nose tip.
    fn turned(&self, yaw: f64, pitch: f64) -> Quality {
        let centre = self.face.landmarks[1];
        let ((ys, yc), (ps, pc)) = (yaw.to_radians().sin_cos(), pitch.to_radians().sin_cos());
        self.with_mesh(|_, p| {
            let [x, y, z] = std::array::from_fn(|i| p[i] - centre[i]);
            let (x, z) = (x * yc - z * ys, x * ys + z * yc);
            let (y, z) = (y * pc + z * ps, z * pc - y * ps);
            [x + centre[0], y + centre[1], z + centre[2]]
        })
    }
}

fn glasses(u: f64, v: f64) -> bool {
    let lens = ((u.abs() - 0.5) / 0.42).powi(2) + ((v - 0.03) / 0.33).powi(2) < 1.0;
    lens || (u.abs() < 0.2 && (v + 0.05).abs() < 0.06)
}

fn mask(u: f64, v: f64) -> bool {
    v > 0.55 && v < 1.9 && u.abs() < 0.95 - (v - 1.2).max(0.0) * 0.6
}

fn hand(u: f64, v: f64) -> bool {
    ((u - 0.5) / 0.5).powi(2) + ((v - 0.1) / 0.5).powi(2) < 1.0
}

#[test]
fn each_warning_is_given_for_its_own_defect_and_not_for_the_clean_photo() {
    let mut pipeline = pipeline();
    for name in PHOTOS {
        let shot = Shot::of(&mut pipeline, name);
        assert_eq!(risks(&shot.quality), [], "{name}: {:?}", shot.quality);
        #[expect(clippy::cast_possible_truncation, reason = "about 2")]
        let glare = (1.1 / shot.quality.brightness) as f32;
        let spoilt = [
            ("out of focus", Risk::Blurred, shot.blurred(0.08)),
            ("dark", Risk::PoorLighting, shot.each(|it| it * 0.15)),
            ("glaring", Risk::PoorLighting, shot.each(|it| it * glare)),
            ("hazy", Risk::PoorLighting, shot.each(|it| 128.0 + (it - 128.0) * 0.15)),
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
fn a_head_that_is_turned_away_is_told_by_as_many_degrees() {
    let mut pipeline = pipeline();
    for name in PHOTOS {
        let shot = Shot::of(&mut pipeline, name);
        for (yaw, pitch) in [(45.0, 0.0), (-45.0, 0.0), (0.0, 45.0), (0.0, -45.0)] {
            let turned = shot.turned(yaw, pitch);
            // Of the other angle nothing is said: a head that is tilted already turns about other axes than its own.
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
fn roll_is_that_of_the_picture() {
    let mut pipeline = pipeline();
    let shot = Shot::of(&mut pipeline, "biden.jpg");
    let quarter = analyse(&mut pipeline, &imageops::rotate90(&shot.picture)).quality.unwrap();
    assert!((quarter.roll_deg - shot.quality.roll_deg - 90.0).abs() < 3.0, "{}", quarter.roll_deg);
    assert_eq!(risks(&quarter), []);
}

#[test]
fn closed_lids_and_an_open_mouth_of_the_mesh_are_told() {
    const UPPER: [usize; 6] = [160, 159, 158, 387, 386, 385];
    const LOWER: [usize; 6] = [144, 145, 153, 373, 374, 380];
    let mut pipeline = pipeline();
    let shot = Shot::of(&mut pipeline, "biden.jpg");
    let lids = |share: f64| {
        shot.with_mesh(|i, p| match UPPER.iter().position(|it| *it == i) {
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
