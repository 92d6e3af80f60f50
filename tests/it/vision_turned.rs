//! Photos from cameras that do not record how they were held. The face is found and compared in every orientation.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use visavis::domain::evidence::{Mode, Threshold};
use visavis::domain::policy;
use visavis::vision::Pass;
use visavis::vision::geometry::Point;
use visavis::vision::pipeline::Analyse as _;

use super::vision_support::{pack, photo, pipeline};

const PHOTOS: [&str; 4] = ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"];

/// The photo, upright and turned by 90, 180 and 270 degrees clockwise. The files do not say so.
fn turns(name: &str) -> [DynamicImage; 4] {
    let upright = image::load_from_memory(&photo(name)).unwrap();
    [upright.clone(), upright.rotate90(), upright.rotate180(), upright.rotate270()]
}

fn png(picture: &DynamicImage) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Where a point of the picture lies after a turn clockwise.
fn turned(point: Point, quarters: usize, (width, height): (f64, f64)) -> Point {
    match quarters {
        0 => point,
        1 => Point::new(height - point.y, point.x),
        2 => Point::new(width - point.x, height - point.y),
        _ => Point::new(point.y, width - point.x),
    }
}

#[test]
fn a_face_is_found_and_recognised_in_every_orientation_of_the_photo() {
    let mut pipeline = pipeline();
    for name in PHOTOS {
        let analyses =
            turns(name).map(|photo| pipeline.analyse(&png(&photo), Mode::Accurate, &mut Pass::default()).unwrap());
        let upright = &analyses[0];
        #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
        let sides = (upright.width as f64, upright.height as f64);
        let face = upright.primary_face().unwrap();
        let inter_eye = face.five_points[0].distance(face.five_points[1]);
        for (quarters, analysis) in analyses.iter().enumerate().skip(1) {
            let found = analysis.primary_face().unwrap_or_else(|| panic!("{name} turned by {quarters}: no face"));
            for (there, here) in found.five_points.iter().zip(face.five_points) {
                let off = there.distance(turned(here, quarters, sides)) / inter_eye;
                assert!(off < 0.15, "{name} turned by {quarters}: {off:.2} inter-eye distances off");
            }
            let (a, b) = (analysis.template.as_ref().unwrap(), upright.template.as_ref().unwrap());
            let similarity = pack().scorers().of(Mode::Accurate).compare(a, b).unwrap().similarity;
            assert!(
                policy::is_same_person(similarity, Threshold::new(0.9).unwrap()),
                "{name} turned by {quarters}: {similarity:?}"
            );
        }
    }
}

#[test]
fn a_picture_without_a_face_shows_none_in_any_orientation() {
    let mut pipeline = pipeline();
    for (quarters, picture) in turns("no-face.png").iter().take(3).enumerate() {
        let analysis = pipeline.analyse(&png(picture), Mode::Fast, &mut Pass::default()).unwrap();
        assert!(analysis.faces.is_empty(), "turned by {quarters}");
    }
}
