//! Faces in a picture: letterbox, network, decoding, suppression of what overlaps. How a network's numbers are decoded is a
//! matter of its variety; each has a file of its own.

use super::geometry::{Point, Rect};
use super::model::{InputSpec, Model, Outputs, RuntimeFault};
use super::network::NetworkSpec;
use super::picture::{CHANNELS, Picture};
use super::resample;

pub mod blazeface;
pub mod yunet;

use blazeface::Grid;

/// Beyond this a logit's sigmoid is 0 or 1 anyway, and `exp` overflows.
const LOGIT_LIMIT: f64 = 80.0;

/// A detector and its operating point.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorSpec {
    /// How the letterboxed picture is fed.
    pub input: InputSpec,
    /// How its outputs are read.
    pub decoding: Decoding,
    /// Least score of a detection, in [0, 1].
    pub score: f64,
    /// Boxes that overlap a better one by more than this (intersection over union) are of the same face.
    pub overlap: f64,
}

/// The varieties of detectors.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(tag = "variety", rename_all = "lowercase")]
pub enum Decoding {
    /// Offsets from anchors.
    BlazeFace {
        /// In the order of the outputs' rows.
        anchors: Vec<Grid>,
    },
    /// Offsets from the cells of grids.
    YuNet {
        /// Pixels of the input that a cell of each grid spans, a side.
        strides: Vec<usize>,
        /// From the network's tight boxes to boxes as [`Detection::bbox`] has them; see [`Rect::shifted`].
        #[serde(rename = "box")]
        shifts: [f64; 4],
    },
}

/// What the scores of a pack's detectors mean for the question how a picture lies. All in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
pub struct Certainty {
    /// From here on the most prominent face need not be looked for in other directions.
    pub sure: f64,
    /// What a face needs which lies on a side or on its head.
    pub turned: f64,
    /// By how much it must exceed a face that stands.
    pub lead: f64,
}

/// A face that a detector found, in pixels of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// From forehead to chin, about; it may reach beyond the picture.
    pub bbox: Rect,
    /// The detector's certainty in [0, 1].
    pub score: f64,
    /// The subject's right eye, and left eye.
    pub eyes: [Point; 2],
}

impl Detection {
    /// With every point moved by `map`, a turn, shift or scaling that keeps right angles to the axes.
    #[must_use]
    pub fn mapped(&self, map: impl Fn(Point) -> Point) -> Self {
        let (a, b) =
            (map(Point::new(self.bbox.left, self.bbox.top)), map(Point::new(self.bbox.right, self.bbox.bottom)));
        let bbox = Rect { left: a.x.min(b.x), top: a.y.min(b.y), right: a.x.max(b.x), bottom: a.y.max(b.y) };
        Self { bbox, score: self.score, eyes: self.eyes.map(map) }
    }
}

impl NetworkSpec for DetectorSpec {
    fn input(&self) -> &InputSpec {
        &self.input
    }

    fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        match &self.decoding {
            Decoding::BlazeFace { anchors } => blazeface::outputs(anchors),
            Decoding::YuNet { strides, .. } => yunet::outputs(strides, self.input.side),
        }
    }
}

impl DetectorSpec {
    /// The detections in `outputs` of `model`, in pixels of the network's square; each face once.
    fn decode(&self, model: &str, outputs: &mut Outputs) -> Result<Vec<Detection>, RuntimeFault> {
        match &self.decoding {
            Decoding::BlazeFace { anchors } => blazeface::decode(self, anchors, model, outputs),
            Decoding::YuNet { strides, shifts } => yunet::decode(self, strides, *shifts, model, outputs),
        }
    }
}

/// One detection network.
pub struct Detector {
    model: Box<dyn Model>,
    spec: DetectorSpec,
}

impl Detector {
    /// `model`: the outputs that `spec` needs.
    #[must_use]
    pub fn new(model: Box<dyn Model>, spec: DetectorSpec) -> Self {
        Self { model, spec }
    }

    /// Pixels that it sees of a pixel of a picture that fills `frame`.
    #[must_use]
    pub fn scale(&self, frame: &Rect) -> f64 {
        small(self.spec.input.side) / frame.width().max(frame.height())
    }

    /// The faces of `picture`, the most certain first.
    ///
    /// # Errors
    /// When the network fails or its outputs have other shapes.
    pub fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>, RuntimeFault> {
        let (square, letterbox) = letterbox(picture, self.spec.input.side);
        let mut outputs = self.spec.input.run(self.model.as_mut(), &square)?;
        let found = self.spec.decode(self.model.name(), &mut outputs)?;
        Ok(found.iter().map(|it| letterbox.undo(it)).collect())
    }
}

/// The logistic function.
#[must_use]
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)).exp())
}

/// Where [`letterbox`] put the picture: `square = picture * scale + (left, top)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    scale: f64,
    left: f64,
    top: f64,
}

/// `picture` fitted into the middle of a black square.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a side scaled to at most the square's side"
)]
pub fn letterbox(picture: &Picture, side: usize) -> (Picture, Letterbox) {
    let scale = small(side) / small(picture.width().max(picture.height()));
    let inner = |v: usize| ((small(v) * scale + 0.5).floor() as usize).clamp(1, side);
    let (width, height) = (inner(picture.width()), inner(picture.height()));
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let resized = resample::resize(picture, width, height);
    let mut square = Picture::black(side, side);
    let rows = square.pixels_mut().chunks_exact_mut(side * CHANNELS).skip(top);
    for (row, source) in rows.zip(resized.pixels().chunks_exact(width * CHANNELS)) {
        row[left * CHANNELS..(left + width) * CHANNELS].copy_from_slice(source);
    }
    (square, Letterbox { scale, left: small(left), top: small(top) })
}

impl Letterbox {
    fn undo(&self, found: &Detection) -> Detection {
        found.mapped(|p| Point::new((p.x - self.left) / self.scale, (p.y - self.top) / self.scale))
    }
}

/// The best detection and all that overlap it by more than `overlap`, then the best of the rest, and so on.
pub(super) fn groups(mut found: Vec<Detection>, overlap: f64) -> impl Iterator<Item = (Detection, Vec<Detection>)> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    std::iter::from_fn(move || {
        let mut rest = std::mem::take(&mut found).into_iter();
        let best = rest.next()?;
        let (others, apart) = rest.partition(|it| it.bbox.iou(&best.bbox) > overlap);
        found = apart;
        Some((best, others))
    })
}

fn around(centre: Point, width: f64, height: f64) -> Rect {
    Rect {
        left: centre.x - width / 2.0,
        top: centre.y - height / 2.0,
        right: centre.x + width / 2.0,
        bottom: centre.y + height / 2.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "picture sides and indices of anchors and cells, far below 2^52")]
fn small(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Colour;
    use ndarray::{ArrayD, ArrayView4};

    /// Answers with the same tensors whatever it sees.
    struct Canned(Outputs);

    impl Model for Canned {
        fn name(&self) -> &'static str {
            "canned"
        }
        fn run(&mut self, _: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault> {
            Ok(self.0.clone())
        }
    }

    /// A detector that answers with `outputs` whatever it sees.
    pub(super) fn canned(spec: DetectorSpec, outputs: Vec<(String, ArrayD<f32>)>) -> Detector {
        Detector::new(Box::new(Canned(Outputs::new(outputs))), spec)
    }

    pub(super) fn input(side: usize) -> InputSpec {
        InputSpec { side, colour: Colour::Rgb, mean: [127.5; 3], std: [127.5; 3] }
    }

    fn at(x: f64, score: f64) -> Detection {
        Detection { bbox: around(Point::new(x, 50.0), 20.0, 20.0), score, eyes: [Point::default(); 2] }
    }

    #[test]
    fn a_group_is_the_best_and_what_overlaps_it() {
        let found = vec![at(50.0, 0.7), at(10.0, 0.8), at(12.0, 0.9), at(13.0, 0.6)];
        let groups: Vec<_> = groups(found, 0.3).map(|(best, others)| (best.score, others.len())).collect();
        assert_eq!(groups, [(0.9, 2), (0.7, 0)]);
    }
}
