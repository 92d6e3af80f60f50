//! Portraits on cards: the photo of a whole card has a small face, which may be grey or under a hologram.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use visavis::domain::evidence::{Mode, Threshold};
use visavis::domain::policy;
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::{Analysis, Pass};

use super::vision_support::{pack, photo, pipeline};

const PHOTOS: [&str; 4] = ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"];
/// Width and height of the photo of the card.
const SCENE: (u32, u32) = (1_600, 1_200);

#[derive(Clone, Copy)]
enum Print {
    Colour,
    Grey,
    Hologram,
}

#[derive(Clone, Copy)]
struct Card {
    /// Pixels across the card.
    width: u32,
    print: Print,
    portrait: bool,
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// The head and shoulders in the photo, at an aspect of four to five.
fn portrait(analysis: &Analysis, name: &str) -> RgbImage {
    let photo = image::load_from_memory(&photo(name)).unwrap().into_rgb8();
    let face = analysis.primary_face().unwrap();
    let (centre, side) = (face.bbox.centre(), face.bbox.width());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the photo")]
    let [left, top, width, height] =
        [centre.x - 0.9 * side, centre.y - 1.1 * side, 1.8 * side, 2.25 * side].map(|pixels| pixels.max(0.0) as u32);
    imageops::crop_imm(&photo, left, top, width, height).to_image()
}

/// The photo of a card on a table. The portrait is on the left; rows of dark strokes on the right look like text.
fn scene(portrait: &RgbImage, card: Card) -> RgbImage {
    let (width, height) = (card.width, card.width * 54 / 86);
    let corner = ((SCENE.0 - width) / 2, (SCENE.1 - height) / 2);
    let mut scene = RgbImage::from_fn(SCENE.0, SCENE.1, |x, y| {
        let (Some(x), Some(y)) = (x.checked_sub(corner.0), y.checked_sub(corner.1)) else { return Rgb([96, 84, 72]) };
        if x >= width || y >= height {
            return Rgb([96, 84, 72]);
        }
        let text =
            x > width * 2 / 5 && x < width * 9 / 10 && y > height / 5 && y % 24 < 10 && (x * 7 + y / 24 * 5) % 19 > 8;
        if text { Rgb([60, 52, 44]) } else { Rgb([205, 218, 225]) }
    });
    if card.portrait {
        let mut print = imageops::resize(portrait, width * 24 / 100, width * 30 / 100, FilterType::CatmullRom);
        if matches!(card.print, Print::Grey) {
            print = image::DynamicImage::from(imageops::grayscale(&print)).into_rgb8();
        }
        let place = (corner.0 + width * 6 / 100, corner.1 + height * 26 / 100);
        imageops::replace(&mut scene, &print, i64::from(place.0), i64::from(place.1));
    }
    if matches!(card.print, Print::Hologram) {
        for (x, y, pixel) in scene.enumerate_pixels_mut() {
            let (x, y) = (f64::from(x), f64::from(y));
            if (x.mul_add(0.8, 0.6 * y) / 7.0 + 2.0 * (y / 50.0).sin()).sin() > 0.82 {
                let foil = [150.0 + 90.0 * (x / 60.0).sin(), 160.0 + 80.0 * (y / 45.0).sin(), 170.0];
                for (value, foil) in pixel.0.iter_mut().zip(foil) {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two levels")]
                    let mixed = 0.55f64.mul_add(f64::from(*value), 0.45 * foil) as u8;
                    *value = mixed;
                }
            }
        }
    }
    scene
}

#[test]
fn a_portrait_on_a_card_matches_the_photo_that_it_was_made_from() {
    let (mut pipeline, pack) = (pipeline(), pack());
    for name in PHOTOS {
        let selfie = pipeline.analyse(&photo(name), Mode::Accurate, &mut Pass::default()).unwrap();
        let portrait = portrait(&selfie, name);
        for (print, what) in [(Print::Colour, "colour"), (Print::Grey, "grey"), (Print::Hologram, "hologram")] {
            for width in [900, 640] {
                let file = png(&scene(&portrait, Card { width, print, portrait: true }));
                let card = pipeline.analyse(&file, Mode::Accurate, &mut Pass::default()).unwrap();
                let template = card.template.as_ref().unwrap_or_else(|| panic!("{name}, {what}, {width}: no face"));
                let similarity = pack
                    .scorers()
                    .of(Mode::Accurate)
                    .compare(template, selfie.template.as_ref().unwrap())
                    .unwrap()
                    .similarity;
                assert!(
                    policy::is_same_person(similarity, Threshold::new(0.85).unwrap()),
                    "{name}, {what}, {width}: {similarity:?}"
                );
            }
        }
    }
}

#[test]
fn a_card_without_a_portrait_shows_no_face() {
    let nobody = RgbImage::new(4, 5);
    for print in [Print::Colour, Print::Hologram] {
        let file = png(&scene(&nobody, Card { width: 900, print, portrait: false }));
        let analysis = pipeline().analyse(&file, Mode::Fast, &mut Pass::default()).unwrap();
        assert!(analysis.faces.is_empty(), "{} faces", analysis.faces.len());
    }
}
