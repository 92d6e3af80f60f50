//! Photos that are spoilt in one way each.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, imageops};
use visavis::domain::evidence::Mode;
use visavis::domain::quality::{Quality, QualityLimits};
use visavis::domain::warning::Risk;
use visavis::vision::geometry::Point;
use visavis::vision::picture::Picture;
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::{Analysis, Face, Pass, Pipeline, quality};

pub fn analyse(pipeline: &mut Pipeline, picture: &RgbImage) -> Analysis {
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture.clone()).write_to(&mut file, ImageFormat::Png).unwrap();
    pipeline.analyse(&file.into_inner(), Mode::Fast, &mut Pass::default()).unwrap()
}

pub fn risks(quality: &Quality) -> Vec<Risk> {
    quality.defects(&QualityLimits::default()).iter().map(|defect| defect.risk).collect()
}

/// A photo with its face.
pub struct Shot {
    pub picture: RgbImage,
    pub face: Face,
    pub quality: Quality,
}

impl Shot {
    /// `None` without a face.
    pub fn of(pipeline: &mut Pipeline, file: &[u8]) -> Option<Self> {
        let picture = image::load_from_memory(file).unwrap().to_rgb8();
        let analysis = analyse(pipeline, &picture);
        let face = analysis.primary_face()?.clone();
        Some(Self { picture, face, quality: analysis.quality? })
    }

    pub fn inter_eye(&self) -> f64 {
        self.face.five_points[0].distance(self.face.five_points[1])
    }

    pub fn each(&self, value: impl Fn(f32) -> f32) -> RgbImage {
        let mut picture = self.picture.clone();
        for level in picture.iter_mut() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            {
                *level = value(f32::from(*level)).clamp(0.0, 255.0) as u8;
            }
        }
        picture
    }

    pub fn blurred(&self, inter_eyes: f64) -> RgbImage {
        #[expect(clippy::cast_possible_truncation, reason = "a few pixels")]
        imageops::blur(&self.picture, (inter_eyes * self.inter_eye()) as f32)
    }

    pub fn scaled_to(&self, inter_eye: f64) -> RgbImage {
        let side = |pixels: u32| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides of pictures")]
            {
                (f64::from(pixels) * inter_eye / self.inter_eye()) as u32
            }
        };
        let (width, height) = self.picture.dimensions();
        imageops::resize(&self.picture, side(width), side(height), imageops::FilterType::Triangle)
    }

    /// Paints the places for which `inside` is true. Places are in inter-eye distances from the middle of the eyes: to
    /// the subject's left, and down the face.
    pub fn painted(&self, colour: [u8; 3], inside: impl Fn(f64, f64) -> bool) -> RgbImage {
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

    /// The photo from below the brows on.
    pub fn beheaded(&self) -> RgbImage {
        let (width, height) = self.picture.dimensions();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the picture")]
        let top = (self.face.five_points[0].y - 0.4 * self.inter_eye()) as u32;
        imageops::crop_imm(&self.picture, 0, top, width, height - top).to_image()
    }

    /// Measures the same photo with the mesh moved.
    pub fn with_mesh(&self, place: impl Fn(usize, [f64; 3]) -> [f64; 3]) -> Quality {
        let (width, height) = (self.picture.width() as usize, self.picture.height() as usize);
        let picture = Picture::new(width, height, self.picture.as_raw().clone()).unwrap();
        let landmarks = self.face.landmarks.iter().enumerate().map(|(i, p)| place(i, *p)).collect();
        quality::measure(&picture.into(), &[Face { landmarks, ..self.face.clone() }], 0).unwrap()
    }

    /// Measures the same photo with the mesh turned in space around the tip of the nose.
    pub fn turned(&self, yaw: f64, pitch: f64) -> Quality {
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

pub fn glasses(u: f64, v: f64) -> bool {
    let lens = ((u.abs() - 0.5) / 0.42).powi(2) + ((v - 0.03) / 0.33).powi(2) < 1.0;
    lens || (u.abs() < 0.2 && (v + 0.05).abs() < 0.06)
}

pub fn mask(u: f64, v: f64) -> bool {
    v > 0.55 && v < 1.9 && u.abs() < 0.95 - (v - 1.2).max(0.0) * 0.6
}

/// A hand over the subject's left eye.
pub fn hand(u: f64, v: f64) -> bool {
    ((u - 0.5) / 0.5).powi(2) + ((v - 0.1) / 0.5).powi(2) < 1.0
}
