//! A face to a vector: alignment of the five points on the embedder's template, the chip, the network.

use super::detect::view;
use super::geometry::{Point, Transform};
use super::model::{Model, RuntimeFault};
use super::picture::{CHANNELS, Picture};
use super::resample;

/// What an embedder wants to see, and what it returns.
#[derive(Debug, Clone, PartialEq)]
pub struct ChipSpec {
    /// Pixels of the network's square input.
    pub side: usize,
    /// Where the five points lie in it: right eye, left eye, nose, right and left corner of the mouth.
    pub template: [Point; 5],
    /// Order of the channels that the network wants.
    pub order: ChannelOrder,
    /// Taken off each channel, in the network's order, of values 0-255.
    pub mean: [f32; CHANNELS],
    /// Numbers in the embedding.
    pub dimensions: usize,
}

/// Order of colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// Points of the 112-pixel chip that `ArcFace` and much after it was trained on.
const ARCFACE: [Point; 5] = [
    Point::new(38.2946, 51.6963),
    Point::new(73.5318, 51.5014),
    Point::new(56.0252, 71.7366),
    Point::new(41.5493, 92.3655),
    Point::new(70.7299, 92.2041),
];
const ARCFACE_SIDE: f64 = 112.0;
/// The faceres network saw looser crops: the face at nine tenths.
const FACERES_ZOOM: f64 = 0.9;

impl ChipSpec {
    /// dlib's face recognition `ResNet` (2017). The template holds the mesh landmarks' median places in dlib's own chips
    /// over 398 faces, made symmetric; mean and scale are inside the graph.
    #[must_use]
    pub fn dlib() -> Self {
        Self {
            side: 150,
            template: [
                Point::new(48.4, 47.0),
                Point::new(100.9, 47.0),
                Point::new(74.4, 81.5),
                Point::new(51.6, 104.0),
                Point::new(97.2, 104.0),
            ],
            order: ChannelOrder::Rgb,
            mean: [0.0; CHANNELS],
            dimensions: 128,
        }
    }

    /// HSE's face network in the conversion of `@vladmandic/human`. The mean is ImageNet's, as VGG-Face used it.
    #[must_use]
    pub fn faceres() -> Self {
        let side = 224_u16;
        let (middle, scale) = (ARCFACE_SIDE / 2.0, f64::from(side) / ARCFACE_SIDE);
        let place = |v: f64| ((v - middle) * FACERES_ZOOM + middle) * scale;
        Self {
            side: usize::from(side),
            template: ARCFACE.map(|p| Point::new(place(p.x), place(p.y))),
            order: ChannelOrder::Bgr,
            mean: [103.939, 116.779, 123.68],
            dimensions: 1024,
        }
    }

    /// The face of `picture` at `five_points`, moved onto the template; `None` when the points coincide.
    #[must_use]
    pub fn align(&self, picture: &Picture, five_points: &[Point; 5]) -> Option<Picture> {
        let to_chip = Transform::umeyama(five_points, &self.template)?;
        Some(resample::warp(picture, &to_chip, self.side))
    }

    /// The network's input, [1, 3, side, side], from an aligned RGB chip.
    #[must_use]
    pub fn input(&self, chip: &Picture) -> Vec<f32> {
        let source = match self.order {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        let mut planes = Vec::with_capacity(chip.pixels().len());
        for (channel, mean) in source.into_iter().zip(self.mean) {
            planes.extend(chip.pixels().iter().skip(channel).step_by(CHANNELS).map(|&v| f32::from(v) - mean));
        }
        planes
    }
}

/// One embedding network.
pub struct Embedder {
    model: Box<dyn Model>,
    spec: ChipSpec,
}

impl Embedder {
    /// `model`: input [1, 3, side, side]; output `embedding` [1, dimensions].
    #[must_use]
    pub fn new(model: Box<dyn Model>, spec: ChipSpec) -> Self {
        Self { model, spec }
    }

    /// Name of the model.
    #[must_use]
    pub fn name(&self) -> &str {
        self.model.name()
    }

    /// What it wants to see.
    #[must_use]
    pub fn spec(&self) -> &ChipSpec {
        &self.spec
    }

    /// The raw embedding of an aligned chip; its length carries no meaning.
    ///
    /// # Errors
    /// When the network fails or its output has another shape.
    pub fn embed(&mut self, chip: &Picture) -> Result<Vec<f32>, RuntimeFault> {
        let input = self.spec.input(chip);
        let mut outputs = self.model.run(view(&input, self.spec.side))?;
        outputs.take(self.model.name(), "embedding", self.spec.dimensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_on_the_template_is_cut_out_unchanged() {
        let spec = ChipSpec::dlib();
        let mut picture = Picture::black(150, 150);
        picture.pixels_mut().iter_mut().enumerate().for_each(|(i, v)| *v = u8::try_from(i % 251).unwrap());
        let chip = spec.align(&picture, &spec.template).unwrap();
        assert_eq!(chip, picture);
    }

    #[test]
    fn bgr_networks_see_blue_first_and_the_mean_taken_off() {
        let chip = Picture::new(1, 1, vec![10, 20, 30]).unwrap();
        let spec = ChipSpec { side: 1, ..ChipSpec::faceres() };
        assert_eq!(spec.input(&chip), [30.0 - 103.939, 20.0 - 116.779, 10.0 - 123.68]);
        let spec = ChipSpec { side: 1, ..ChipSpec::dlib() };
        assert_eq!(spec.input(&chip), [10.0, 20.0, 30.0]);
    }

    #[test]
    fn faceres_sees_the_face_at_nine_tenths_of_the_arcface_frame() {
        let [right_eye, ..] = ChipSpec::faceres().template;
        assert!(
            right_eye
                .distance(Point::new(((38.2946 - 56.0) * 0.9 + 56.0) * 2.0, ((51.6963 - 56.0) * 0.9 + 56.0) * 2.0))
                < 1e-9
        );
    }
}
