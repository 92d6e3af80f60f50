//! Measures which warnings spoilt photos get: `cargo bench --bench quality -- LIST.csv`. It measures no time.
//!
//! It prints the table of `docs/understand/quality.md`. The list has a column `image` with paths relative to it.
//! Without a list, the photos of `tests/photos` are used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "a program for developers"
)]

use std::path::{Path, PathBuf};

use image::{RgbImage, imageops};
use visavis::domain::warning::Risk;
use visavis::vision::{Pack, Params, Pipeline, Runtime};

#[path = "../tests/it/support"]
mod support {
    pub mod spoilt;
}

use support::spoilt::{Shot, analyse, glasses, hand, mask, risks};

/// From a list, only every so many photos are spoilt.
const EVERY: usize = 16;

const RISKS: [(Risk, &str); 9] = [
    (Risk::FaceTooSmall, "SMALL"),
    (Risk::Blurred, "BLURRED"),
    (Risk::PoorLighting, "LIGHTING"),
    (Risk::ExtremePose, "POSE"),
    (Risk::FaceOccluded, "OCCLUDED"),
    (Risk::EyesClosed, "EYES"),
    (Risk::MouthOpen, "MOUTH"),
    (Risk::FaceAtEdge, "EDGE"),
    (Risk::LowFaceQuality, "LOW"),
];

type Defect = (&'static str, fn(&Shot) -> RgbImage);

const DEFECTS: [Defect; 19] = [
    ("Gaussian blur, sigma 3 % of the inter-eye distance", |shot| shot.blurred(0.03)),
    ("sigma 6 %", |shot| shot.blurred(0.06)),
    ("sigma 10 %", |shot| shot.blurred(0.1)),
    ("luminance x 0.5", |shot| shot.each(|v| v * 0.5)),
    ("x 0.3", |shot| shot.each(|v| v * 0.3)),
    ("x 0.2", |shot| shot.each(|v| v * 0.2)),
    ("x 2, clipped", |shot| shot.each(|v| v * 2.0)),
    ("x 3, clipped", |shot| shot.each(|v| v * 3.0)),
    ("contrast x 0.3", |shot| shot.each(|v| 128.0 + (v - 128.0) * 0.3)),
    ("contrast x 0.15", |shot| shot.each(|v| 128.0 + (v - 128.0) * 0.15)),
    ("scaled to 21 px between the eyes", |shot| shot.scaled_to(21.0)),
    ("to 15 px", |shot| shot.scaled_to(15.0)),
    ("dark glasses painted on", |shot| shot.painted([28, 26, 25], glasses)),
    ("blue mask painted on", |shot| shot.painted([130, 170, 200], mask)),
    ("black mask", |shot| shot.painted([25, 25, 28], mask)),
    ("hand-sized patch over one eye", |shot| shot.painted([190, 140, 115], hand)),
    ("hand-sized patch over the mouth", |shot| shot.painted([190, 140, 115], hand_on_mouth)),
    ("cut to the detector's box", cut_to_box),
    ("cut above the eyes", Shot::beheaded),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = std::env::var_os("VISAVIS_ONNXRUNTIME").map(PathBuf::from);
    let library = library.unwrap_or_else(|| root.join(".local/lib/libonnxruntime.so"));
    let runtime = Runtime::load(&library).expect("ONNX Runtime is in place: ./dev setup");
    let pack = Pack::load(&root.join("models")).expect("the default pack is complete");
    let mut pipeline = Pipeline::open(&pack, &runtime, Params::default()).expect("the networks load");

    let (photos, every) = match std::env::args().skip(1).find(|argument| !argument.starts_with('-')) {
        Some(list) => (listed(Path::new(&list)), EVERY),
        None => (
            ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"]
                .map(|name| root.join("tests/photos").join(name))
                .to_vec(),
            1,
        ),
    };
    let heads: Vec<_> = RISKS.iter().map(|(_, head)| *head).collect();
    println!("| defect | none found | {} |\n|---|---{}|", heads.join(" | "), "|---".repeat(RISKS.len()));
    let mut clean = Row::default();
    let mut rows = DEFECTS.map(|(name, _)| (name, Row::default()));
    for (at, photo) in photos.iter().enumerate() {
        let file = std::fs::read(photo).unwrap_or_else(|fault| panic!("{}: {fault}", photo.display()));
        let shot = Shot::of(&mut pipeline, &file);
        clean.count(shot.as_ref().map(|shot| risks(&shot.quality)));
        let Some(shot) = shot.filter(|_| at.is_multiple_of(every)) else { continue };
        for ((_, row), (_, spoil)) in rows.iter_mut().zip(DEFECTS) {
            row.count(analyse(&mut pipeline, &spoil(&shot)).quality.map(|quality| risks(&quality)));
        }
    }
    clean.print(&format!("none ({})", photos.len()));
    for (name, row) in &rows {
        row.print(name);
    }
}

fn hand_on_mouth(u: f64, v: f64) -> bool {
    (u / 0.6).powi(2) + ((v - 1.05) / 0.45).powi(2) < 1.0
}

/// The photo cropped to the detector's box.
fn cut_to_box(shot: &Shot) -> RgbImage {
    let (width, height) = shot.picture.dimensions();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the picture")]
    let side = |at: f64, most: u32| at.clamp(0.0, f64::from(most)) as u32;
    let (left, top) = (side(shot.face.bbox.left, width), side(shot.face.bbox.top, height));
    let (right, bottom) = (side(shot.face.bbox.right, width), side(shot.face.bbox.bottom, height));
    imageops::crop_imm(&shot.picture, left, top, right - left, bottom - top).to_image()
}

fn listed(list: &Path) -> Vec<PathBuf> {
    let folder = list.parent().unwrap_or(Path::new("."));
    let mut rows = csv::Reader::from_path(list).expect("the list can be read");
    let column =
        rows.headers().unwrap().iter().position(|header| header == "image").expect("the list has a column image");
    rows.records().map(|row| folder.join(&row.expect("the list is CSV")[column])).collect()
}

/// For one defect, how many photos got which warning.
#[derive(Default)]
struct Row {
    photos: u32,
    lost: u32,
    warned: [u32; RISKS.len()],
}

impl Row {
    /// Counts one photo; `None` if no face was found.
    fn count(&mut self, risks: Option<Vec<Risk>>) {
        self.photos += 1;
        let Some(risks) = risks else {
            self.lost += 1;
            return;
        };
        for (count, (risk, _)) in self.warned.iter_mut().zip(RISKS) {
            *count += u32::from(risks.contains(&risk));
        }
    }

    /// Prints the share of photos without a found face, and the shares of warnings among the others, in per cent.
    fn print(&self, defect: &str) {
        let percent = |count: u32, of: u32| format!("{:.1}", 100.0 * f64::from(count) / f64::from(of.max(1)));
        let found = self.photos - self.lost;
        let warned: Vec<_> = self.warned.iter().map(|count| percent(*count, found)).collect();
        println!("| {defect} | {} | {} |", percent(self.lost, self.photos), warned.join(" | "));
    }
}
