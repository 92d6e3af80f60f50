//! Turns a face into a vector: the five points are aligned with the embedder's template, and the network embeds the
//! chip.

use super::fault::RuntimeFault;
use super::geometry::{Point, Transform};
use super::model::{InputSpec, Model};
use super::network::NetworkSpec;
use super::picture::Picture;
use super::view::View;

/// The inputs and outputs of an embedder.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedderSpec {
    /// How the network receives the chip.
    pub input: InputSpec,
    /// Where the five points lie in the chip: the subject's right eye, left eye, nose, right and left corner of the
    /// mouth.
    pub template: [Point; 5],
    /// Numbers in the embedding.
    pub dimensions: usize,
}

impl NetworkSpec for EmbedderSpec {
    fn input(&self) -> &InputSpec {
        &self.input
    }

    fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        vec![("embedding".to_owned(), vec![self.dimensions])]
    }
}

impl EmbedderSpec {
    /// The chip: the face of `picture` with `five_points` moved onto the template; `None` when the points coincide.
    #[must_use]
    pub fn align(&self, picture: &View, five_points: &[Point; 5]) -> Option<Picture> {
        let to_chip = Transform::umeyama(five_points, &self.template)?;
        Some(picture.warp(&to_chip, self.input.side))
    }
}

/// One embedding network.
pub struct Embedder {
    model: Box<dyn Model>,
    spec: EmbedderSpec,
}

impl Embedder {
    /// `model` must have the output `embedding` [1, dimensions].
    #[must_use]
    pub fn new(model: Box<dyn Model>, spec: EmbedderSpec) -> Self {
        Self { model, spec }
    }

    /// Name of the model.
    #[must_use]
    pub fn name(&self) -> &str {
        self.model.name()
    }

    /// Its inputs and outputs.
    #[must_use]
    pub fn spec(&self) -> &EmbedderSpec {
        &self.spec
    }

    /// The raw embedding of an aligned chip. Its length has no meaning.
    ///
    /// # Errors
    /// When the network fails or its output has another shape.
    pub fn embed(&mut self, chip: &Picture) -> Result<Vec<f32>, RuntimeFault> {
        let mut outputs = self.spec.input.run(self.model.as_mut(), chip)?;
        outputs.take(self.model.name(), "embedding", self.spec.dimensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Colour;

    fn spec() -> EmbedderSpec {
        EmbedderSpec {
            input: InputSpec { side: 150, colour: Colour::Rgb, mean: [0.0; 3], std: [1.0; 3] },
            template: [(48.4, 47.0), (100.9, 47.0), (74.4, 81.5), (51.6, 104.0), (97.2, 104.0)]
                .map(|(x, y)| Point::new(x, y)),
            dimensions: 128,
        }
    }

    #[test]
    fn a_face_on_the_template_is_cut_out_unchanged() {
        let mut picture = Picture::black(150, 150);
        picture.pixels_mut().iter_mut().enumerate().for_each(|(i, v)| *v = u8::try_from(i % 251).unwrap());
        assert_eq!(spec().align(&picture.clone().into(), &spec().template), Some(picture));
    }

    #[test]
    fn points_that_coincide_give_no_chip() {
        assert_eq!(spec().align(&Picture::black(9, 9).into(), &[Point::new(4.0, 4.0); 5]), None);
    }
}
