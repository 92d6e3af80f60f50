//! The stages' view of a neural network: a picture goes in, named tensors come out. Tests use a fake.

use ndarray::{ArrayD, ArrayView4};

use super::fault::RuntimeFault;
use super::picture::{CHANNELS, Picture};

/// A network with one image input of shape [1, 3, side, side].
pub trait Model {
    /// Name in the manifest. Errors contain it.
    fn name(&self) -> &str;

    /// Runs the network on `input`: f32 in channel, row, column order.
    ///
    /// # Errors
    /// When the runtime fails, or an output is not f32.
    fn run(&mut self, input: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault>;
}

/// How a picture becomes a network's input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Pixels of the square input.
    pub side: usize,
    /// Order of the channels.
    pub colour: Colour,
    /// Subtracted from each channel's values (0-255), in the network's order of channels.
    pub mean: [f32; CHANNELS],
    /// Each channel is then divided by this.
    pub std: [f32; CHANNELS],
}

/// Order of colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl InputSpec {
    /// Runs `model` on `picture`, whose sides must be `side`.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run(&self, model: &mut dyn Model, picture: &Picture) -> Result<Outputs, RuntimeFault> {
        let planes = self.planes(picture);
        let shape = (1, CHANNELS, picture.height(), picture.width());
        let input = ArrayView4::from_shape(shape, &planes).map_err(|e| RuntimeFault::Model {
            model: model.name().to_owned(),
            what: "take its input",
            source: e.into(),
        })?;
        model.run(input)
    }

    /// The channel planes of `picture`, in the network's order of channels and range of values.
    #[must_use]
    pub fn planes(&self, picture: &Picture) -> Vec<f32> {
        let source = match self.colour {
            Colour::Rgb => [0, 1, 2],
            Colour::Bgr => [2, 1, 0],
        };
        let pixels = picture.pixels();
        let mut planes = Vec::with_capacity(pixels.len());
        for ((channel, mean), std) in source.into_iter().zip(self.mean).zip(self.std) {
            planes.extend(pixels.iter().skip(channel).step_by(CHANNELS).map(|&v| (f32::from(v) - mean) / std));
        }
        planes
    }
}

/// The result of a run: tensors by output name.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Vec<(String, ArrayD<f32>)>);

impl Outputs {
    /// Outputs in the model's order.
    #[must_use]
    pub fn new(tensors: Vec<(String, ArrayD<f32>)>) -> Self {
        Self(tensors)
    }

    /// Removes output `name` of `model` and returns its values, row-major.
    ///
    /// # Errors
    /// When there is no such output, or it does not hold `count` values.
    pub fn take(&mut self, model: &str, name: &str, count: usize) -> Result<Vec<f32>, RuntimeFault> {
        let fault = |found: String| RuntimeFault::Interface {
            model: model.to_owned(),
            found,
            expected: format!("an output \"{name}\" of {count} numbers"),
        };
        let at = self.0.iter().position(|(n, _)| n == name).ok_or_else(|| fault("no such output".to_owned()))?;
        let (_, tensor) = self.0.swap_remove(at);
        if tensor.len() != count {
            return Err(fault(format!("it has {} numbers", tensor.len())));
        }
        Ok(tensor.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_come_in_the_networks_order_and_range() {
        let chip = Picture::new(2, 1, vec![10, 20, 30, 11, 21, 31]).unwrap();
        let spec = InputSpec { side: 1, colour: Colour::Bgr, mean: [1.0, 2.0, 3.0], std: [1.0, 2.0, 1.0] };
        assert_eq!(spec.planes(&chip), [29.0, 30.0, 9.0, 9.5, 7.0, 8.0]);
        let spec = InputSpec { colour: Colour::Rgb, ..spec };
        assert_eq!(spec.planes(&chip), [9.0, 10.0, 9.0, 9.5, 27.0, 28.0]);
    }
}
