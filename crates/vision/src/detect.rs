//! Finds faces in a picture: letterbox, network, decoding, non-maximum suppression. Each variety of detector decodes
//! its outputs in a file of its own.

use super::fault::RuntimeFault;
use super::geometry::{Point, Rect};
use super::model::{InputSpec, Model, Outputs};
use super::network::NetworkSpec;
use super::picture::{CHANNELS, Picture};
use super::resample;
use blazeface::Grid;
use detection::{Detection, Selection, small};

pub mod blazeface;
pub mod detection;
pub mod yunet;

/// A detector and its operating point.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorSpec {
    /// How the network receives the letterboxed picture.
    pub input: InputSpec,
    /// How its outputs are read.
    pub decoding: Decoding,
    /// The lowest score of a detection, in [0, 1].
    pub score: f64,
    /// Boxes that overlap a better one by more than this (intersection over union) belong to the same face.
    pub overlap: f64,
}

/// The varieties of detectors.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(tag = "variety", rename_all = "lowercase")]
pub enum Decoding {
    /// Offsets from anchors.
    BlazeFace {
        /// The grids of anchors, in the order of the outputs' rows.
        anchors: Vec<Grid>,
    },
    /// Offsets from the cells of grids.
    YuNet {
        /// For each grid, the pixels of the input that a cell spans, a side.
        strides: Vec<usize>,
        /// Turns the network's tight boxes into boxes like [`Detection::bbox`]; see [`Rect::shifted`].
        #[serde(rename = "box")]
        shifts: [f64; 4],
    },
}

/// How the scores of a pack's detectors tell whether a picture lies on its side. All in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
pub struct Certainty {
    /// If the most prominent face scores this much, no other directions are searched.
    pub sure: f64,
    /// The lowest score of a face that lies on its side or upside down.
    pub turned: f64,
    /// By how much its score must exceed that of an upright face.
    pub lead: f64,
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
    /// The detections in `outputs` of `model`, in pixels of the network's square. Each face appears once.
    fn decode(&self, model: &str, outputs: &mut Outputs) -> Result<Vec<Detection>, RuntimeFault> {
        let selection = Selection { side: self.input.side, score: self.score, overlap: self.overlap };
        match &self.decoding {
            Decoding::BlazeFace { anchors } => blazeface::decode(selection, anchors, model, outputs),
            Decoding::YuNet { strides, shifts } => yunet::decode(selection, strides, *shifts, model, outputs),
        }
    }
}

/// One detection network.
pub struct Detector {
    model: Box<dyn Model>,
    spec: DetectorSpec,
}

impl Detector {
    /// `model` must have the outputs that `spec` names.
    #[must_use]
    pub fn new(model: Box<dyn Model>, spec: DetectorSpec) -> Self {
        Self { model, spec }
    }

    /// Pixels of the network's input for each pixel of a picture that fills `frame`.
    #[must_use]
    pub fn scale(&self, frame: &Rect) -> f64 {
        small(self.spec.input.side) / frame.width().max(frame.height())
    }

    /// The faces of `picture`, the best score first.
    ///
    /// # Errors
    /// When the network fails or its outputs have other shapes.
    pub fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>, RuntimeFault> {
        let (square, letterbox) = letterbox(picture, self.spec.input.side);
        let mut outputs = self.spec.input.run(self.model.as_mut(), &square)?;
        let found = self.spec.decode(self.model.name(), &mut outputs)?;
        Ok(found.iter().map(|detection| letterbox.undo(detection)).collect())
    }
}

/// Where [`letterbox`] put the picture: `square = picture * scale + (left, top)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    scale: f64,
    left: f64,
    top: f64,
}

/// `picture`, scaled to fit and centred in a black square of `side` pixels.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Colour;
    use ndarray::{ArrayD, ArrayView4};

    /// Returns the same tensors for every picture.
    struct Canned(Outputs);

    impl Model for Canned {
        fn name(&self) -> &'static str {
            "canned"
        }
        fn run(&mut self, _: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault> {
            Ok(self.0.clone())
        }
    }

    /// A `YuNet` of 64 pixels a side and one grid of 8 x 8 cells. Cell 10 (column 2, row 1) sees a face of 16 x 32
    /// pixels.
    fn detector() -> Detector {
        let input = InputSpec { side: 64, colour: Colour::Rgb, mean: [127.5; 3], std: [127.5; 3] };
        let decoding = Decoding::YuNet { strides: vec![8], shifts: [0.0; 4] };
        let spec = DetectorSpec { input, decoding, score: 0.6, overlap: 0.3 };
        let tensors = spec.outputs().into_iter().map(|(name, shape)| {
            let mut tensor = ArrayD::zeros([&[1], shape.as_slice()].concat());
            let values: &[f32] = match name.as_str() {
                "cls_8" | "obj_8" => &[1.0],
                "bbox_8" => &[0.5, 1.0, std::f32::consts::LN_2, 2.0 * std::f32::consts::LN_2],
                _ => &[0.0, 1.5, 1.0, 1.5],
            };
            for (at, value) in values.iter().enumerate() {
                tensor[[0, 10, at]] = *value;
            }
            (name, tensor)
        });
        let outputs = Outputs::new(tensors.collect());
        Detector::new(Box::new(Canned(outputs)), spec)
    }

    #[test]
    fn detections_come_back_in_pixels_of_the_picture() {
        // 128 x 64 fits at scale 0.5 with 16 rows of black above.
        let found = detector().detect(&Picture::black(128, 64)).unwrap();
        assert_eq!(found.len(), 1);
        let Rect { left, top, right, bottom } = found[0].bbox;
        for (found, expected) in [(left, 24.0), (right, 56.0), (top, -32.0), (bottom, 32.0)] {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
        assert_eq!(found[0].eyes, [Point::new(32.0, 8.0), Point::new(48.0, 8.0)]);
    }
}
