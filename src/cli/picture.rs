//! Draws the picture of `visavis compare --picture`: both images, their faces, the aligned faces and the score.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "pixel places on a sheet of a thousand pixels"
)]

use ab_glyph::FontRef;
use anyhow::Context as _;
use image::{Rgb, RgbImage, imageops};
use imageproc::drawing::{draw_filled_rect_mut, draw_text_mut, text_size};
use imageproc::rect::Rect as Area;

use crate::domain::evidence::{Similarity, Threshold};
use crate::domain::policy;
use crate::vision::Analysis;
use crate::vision::geometry::{Point, Rect};
use crate::vision::picture::Picture;
use crate::vision::resample;

/// The content of the picture.
pub struct Sheet<'a> {
    /// The verdict in words.
    pub headline: String,
    /// A smaller line below the verdict. It may be empty.
    pub detail: String,
    /// Left and right.
    pub panels: [Panel<'a>; 2],
    /// `None` when an image shows no usable face.
    pub similarity: Option<Similarity>,
    /// The place of the mark on the bar.
    pub threshold: Threshold,
}

/// One image.
pub struct Panel<'a> {
    /// Name of the file.
    pub title: String,
    /// The size of the image and the number of its faces.
    pub caption: String,
    /// The upright picture.
    pub picture: &'a Picture,
    /// Its faces.
    pub analysis: &'a Analysis,
    /// The aligned face that an embedder saw.
    pub chip: Option<Picture>,
}

const PAPER: Rgb<u8> = Rgb([250, 249, 246]);
const INK: Rgb<u8> = Rgb([38, 50, 56]);
const FAINT: Rgb<u8> = Rgb([120, 132, 138]);
const MAT: Rgb<u8> = Rgb([239, 238, 233]);
const TRACK: Rgb<u8> = Rgb([226, 228, 226]);
const WHITE: Rgb<u8> = Rgb([255, 255, 255]);
const GREEN: Rgb<u8> = Rgb([46, 125, 91]);
const RUST: Rgb<u8> = Rgb([178, 84, 56]);

const WIDTH: u32 = 1160;
const MARGIN: i32 = 40;
const GAP: i32 = 32;
/// Largest width of a photo. Two photos, the gap and the margins add up to the width of the sheet.
const PHOTO_WIDTH: i32 = (WIDTH as i32 - 2 * MARGIN - GAP) / 2;
const PHOTO_HEIGHT: i32 = 460;
const PHOTO_TOP: i32 = 132;
/// Largest enlargement of a small photo. More would only show its pixels.
const ENLARGE: f64 = 2.0;
const CAPTION_HEIGHT: i32 = 84;
const CHIP: i32 = 150;
const BAR_HEIGHT: i32 = 18;

/// Draws the sheet.
///
/// # Errors
/// When the built-in font cannot be read.
pub fn draw(sheet: &Sheet<'_>) -> anyhow::Result<RgbImage> {
    let font = FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).context("cannot read the built-in font")?;
    let photos = sheet.panels.each_ref().map(fit);
    let photo_height = photos.iter().map(|p| p.height() as i32).max().unwrap_or(PHOTO_HEIGHT);
    let chips_top = PHOTO_TOP + photo_height + CAPTION_HEIGHT;
    let chips = sheet.panels.each_ref().map(chip);
    let any_chip = chips.iter().any(Option::is_some);
    let height = if any_chip { chips_top + CHIP + MARGIN } else { chips_top };
    let accent = match sheet.similarity {
        Some(s) if policy::is_same_person(s, sheet.threshold) => GREEN,
        Some(_) => RUST,
        None => FAINT,
    };
    let mut canvas = Canvas { image: RgbImage::from_pixel(WIDTH, height as u32, PAPER), font };
    canvas.text(MARGIN, 30, 42.0, accent, &sheet.headline);
    canvas.text(MARGIN, 86, 19.0, FAINT, &sheet.detail);
    for (i, ((panel, photo), chip)) in sheet.panels.iter().zip(&photos).zip(&chips).enumerate() {
        let left = MARGIN + i as i32 * (PHOTO_WIDTH + GAP);
        // A photo that is smaller than its place lies on a mat.
        let mat = Area::at(left, PHOTO_TOP).of_size(PHOTO_WIDTH as u32, photo_height as u32);
        draw_filled_rect_mut(&mut canvas.image, mat, MAT);
        let middle = |room: i32, size: u32| (room - size as i32) / 2;
        let at = (left + middle(PHOTO_WIDTH, photo.width()), PHOTO_TOP + middle(photo_height, photo.height()));
        imageops::replace(&mut canvas.image, photo, at.0.into(), at.1.into());
        canvas.faces(panel, photo, at, accent);
        let caption_top = PHOTO_TOP + photo_height + 12;
        canvas.text(left, caption_top, 21.0, INK, &canvas.shortened(&panel.title, 21.0, PHOTO_WIDTH));
        canvas.text(left, caption_top + 25, 17.0, FAINT, &panel.caption);
        if let Some(chip) = chip {
            let x = if i == 0 { MARGIN } else { WIDTH as i32 - MARGIN - CHIP };
            imageops::replace(&mut canvas.image, chip, x.into(), chips_top.into());
        }
    }
    if let Some(similarity) = sheet.similarity {
        canvas.bar(similarity, sheet.threshold, chips_top, accent);
    }
    Ok(canvas.image)
}

/// The photo at its size on the sheet.
fn fit(panel: &Panel<'_>) -> RgbImage {
    let scale = shown_scale(panel.picture);
    let side = |v: usize| ((v as f64 * scale).round() as usize).max(1);
    to_image(&resample::resize(panel.picture, side(panel.picture.width()), side(panel.picture.height())))
}

fn shown_scale(picture: &Picture) -> f64 {
    let across = f64::from(PHOTO_WIDTH) / picture.width() as f64;
    let down = f64::from(PHOTO_HEIGHT) / picture.height() as f64;
    across.min(down).min(ENLARGE)
}

fn chip(panel: &Panel<'_>) -> Option<RgbImage> {
    panel.chip.as_ref().map(|chip| to_image(&resample::resize(chip, CHIP as usize, CHIP as usize)))
}

fn to_image(picture: &Picture) -> RgbImage {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    RgbImage::from_raw(width, height, picture.pixels().to_vec()).unwrap_or_default()
}

struct Canvas<'a> {
    image: RgbImage,
    font: FontRef<'a>,
}

impl Canvas<'_> {
    fn text(&mut self, x: i32, y: i32, size: f32, colour: Rgb<u8>, text: &str) {
        draw_text_mut(&mut self.image, colour, x, y, size, &self.font, text);
    }

    fn centred(&mut self, x: i32, y: i32, size: f32, colour: Rgb<u8>, text: &str) {
        let width = text_size(size, &self.font, text).0 as i32;
        self.text(x - width / 2, y, size, colour, text);
    }

    /// `text`, or the beginning of it that fits `width` pixels, with three dots.
    fn shortened(&self, text: &str, size: f32, width: i32) -> String {
        let fits = |t: &str| text_size(size, &self.font, t).0 as i32 <= width;
        if fits(text) {
            return text.to_owned();
        }
        let mut kept = text.to_owned();
        while !kept.is_empty() && !fits(&format!("{kept}...")) {
            kept.pop();
        }
        format!("{kept}...")
    }

    /// Boxes of all faces and the mesh of the one that was compared.
    fn faces(&mut self, panel: &Panel<'_>, photo: &RgbImage, at: (i32, i32), accent: Rgb<u8>) {
        let scale = shown_scale(panel.picture);
        // Drawing is clipped to the photo.
        let frame = ClipArea {
            left: at.0,
            top: at.1,
            right: at.0 + photo.width() as i32,
            bottom: at.1 + photo.height() as i32,
        };
        let place = |x: f64, y: f64| {
            Point::new((x + 0.5) * scale - 0.5 + f64::from(at.0), (y + 0.5) * scale - 0.5 + f64::from(at.1))
        };
        for (i, face) in panel.analysis.faces.iter().enumerate() {
            let primary = panel.analysis.primary == Some(i);
            let (low, high) = (place(face.bbox.left, face.bbox.top), place(face.bbox.right, face.bbox.bottom));
            let outline = Rect { left: low.x, top: low.y, right: high.x, bottom: high.y };
            self.corners(&outline, if primary { accent } else { WHITE }, &frame);
            if !primary {
                continue;
            }
            for &[x, y, _] in &face.landmarks {
                self.dot(place(x, y), 1.0, WHITE, 0.55, &frame);
            }
            for p in face.five_points {
                self.dot(place(p.x, p.y), 4.5, WHITE, 0.9, &frame);
                self.dot(place(p.x, p.y), 3.0, accent, 1.0, &frame);
            }
        }
    }

    /// Only the corners of a box, so that the face stays visible.
    fn corners(&mut self, outline: &Rect, colour: Rgb<u8>, frame: &ClipArea) {
        let arm = (outline.width().min(outline.height()) * 0.22).max(6.0);
        for (thickness, colour, alpha) in [(5, WHITE, 0.5), (3, colour, 1.0)] {
            for (x, inward_x) in [(outline.left, 1.0), (outline.right, -1.0)] {
                for (y, inward_y) in [(outline.top, 1.0), (outline.bottom, -1.0)] {
                    self.block((x, x + inward_x * arm), (y, y), thickness, colour, alpha, frame);
                    self.block((x, x), (y, y + inward_y * arm), thickness, colour, alpha, frame);
                }
            }
        }
    }

    /// A line along an axis, `thickness` pixels wide.
    fn block(&mut self, x: (f64, f64), y: (f64, f64), thickness: i32, colour: Rgb<u8>, alpha: f32, frame: &ClipArea) {
        let half = thickness / 2;
        let low = |v: (f64, f64)| v.0.min(v.1).round() as i32 - half;
        let high = |v: (f64, f64)| v.0.max(v.1).round() as i32 + half;
        for py in low(y).max(frame.top)..=high(y).min(frame.bottom - 1) {
            for px in low(x).max(frame.left)..=high(x).min(frame.right - 1) {
                self.blend(px, py, colour, alpha);
            }
        }
    }

    /// A disc with a soft edge.
    fn dot(&mut self, centre: Point, radius: f64, colour: Rgb<u8>, alpha: f32, frame: &ClipArea) {
        let reach = radius + 1.0;
        let span = |v: f64| ((v - reach).floor() as i32, (v + reach).ceil() as i32);
        let (x, y) = (span(centre.x), span(centre.y));
        for py in y.0.max(frame.top)..=y.1.min(frame.bottom - 1) {
            for px in x.0.max(frame.left)..=x.1.min(frame.right - 1) {
                let distance = centre.distance(Point::new(f64::from(px), f64::from(py)));
                let cover = (radius + 0.5 - distance).clamp(0.0, 1.0) as f32;
                self.blend(px, py, colour, alpha * cover);
            }
        }
    }

    fn blend(&mut self, x: i32, y: i32, colour: Rgb<u8>, alpha: f32) {
        let Some(pixel) = self.image.get_pixel_mut_checked(x as u32, y as u32) else { return };
        for (value, target) in pixel.0.iter_mut().zip(colour.0) {
            *value = (f32::from(*value) + (f32::from(target) - f32::from(*value)) * alpha).round() as u8;
        }
    }

    /// The score from 0 to 1 between the two aligned faces, with a mark at the threshold.
    fn bar(&mut self, similarity: Similarity, threshold: Threshold, top: i32, accent: Rgb<u8>) {
        let left = MARGIN + CHIP + 56;
        let width = WIDTH as i32 - 2 * left;
        let y = top + CHIP / 2 + 6;
        let along = |share: f64| left + (f64::from(width) * share).round() as i32;
        let all = ClipArea { left: 0, top: 0, right: WIDTH as i32, bottom: self.image.height() as i32 };
        self.pill(left, y, width, TRACK, &all);
        self.pill(left, y, (along(similarity.get()) - left).max(BAR_HEIGHT), accent, &all);
        let mark = along(threshold.get());
        draw_filled_rect_mut(&mut self.image, Area::at(mark - 1, y - 8).of_size(3, BAR_HEIGHT as u32 + 16), INK);
        self.centred(mark, y + BAR_HEIGHT + 14, 17.0, INK, &format!("threshold {:.2}", threshold.get()));
        self.text(left, y + BAR_HEIGHT + 14, 17.0, FAINT, "0");
        // A mark near the end would overlap the number at the end.
        if along(1.0) - mark > width * 15 / 100 {
            self.text(along(1.0) - 8, y + BAR_HEIGHT + 14, 17.0, FAINT, "1");
        }
        self.text(left, y - 56, 34.0, accent, &format!("{:.2}", similarity.get()));
        let number = text_size(34.0, &self.font, "0.00").0 as i32;
        self.text(left + number + 12, y - 41, 17.0, FAINT, "similarity");
    }

    /// A bar with round ends.
    fn pill(&mut self, left: i32, top: i32, width: i32, colour: Rgb<u8>, frame: &ClipArea) {
        let radius = f64::from(BAR_HEIGHT) / 2.0;
        let (start, end) = (f64::from(left) + radius, f64::from(left + width) - radius);
        let middle = f64::from(top) + radius - 0.5;
        self.dot(Point::new(start - 0.5, middle), radius - 0.5, colour, 1.0, frame);
        self.dot(Point::new(end - 0.5, middle), radius - 0.5, colour, 1.0, frame);
        let inner = (end - start).round().max(0.0) as u32;
        if inner > 0 {
            draw_filled_rect_mut(
                &mut self.image,
                Area::at(start as i32, top).of_size(inner, BAR_HEIGHT as u32),
                colour,
            );
        }
    }
}

/// Where drawing is allowed, in pixels: from `left` and `top` up to but without `right` and `bottom`.
struct ClipArea {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}
