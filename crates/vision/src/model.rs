//! What the stages know of a neural network: a picture in, named tensors out. Tests put a fake here.

use ndarray::{ArrayD, ArrayView4};

use super::picture::{CHANNELS, Picture};
use super::provider::Provider;

/// Why the machinery below the stages failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeFault {
    /// The ONNX Runtime library could not be loaded or is not a version that serves.
    #[error("cannot load the ONNX Runtime from {path}")]
    Library {
        /// The file that was tried.
        path: String,
        /// What the loader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A library was asked for after another had been loaded; there is one a process.
    #[error("the ONNX Runtime was already loaded from {loaded}, so it cannot be loaded from {asked}")]
    SecondLibrary {
        /// The one in use.
        loaded: String,
        /// The one that was asked for.
        asked: String,
    },
    /// A provider that is no cargo feature of this binary.
    #[error(
        "this binary was built without the provider {provider}: build it with `cargo build --release --features {provider}`"
    )]
    NotBuilt {
        /// The one that was asked for.
        provider: Provider,
    },
    /// A provider that the ONNX Runtime does not have, or that lacks something of its own.
    #[error(
        "the ONNX Runtime at {path} does not give the provider {provider}: set VISAVIS_ONNXRUNTIME to one that does"
    )]
    Provider {
        /// The one that was asked for.
        provider: Provider,
        /// The library.
        path: String,
        /// What the runtime said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ONNX Runtime refused a model.
    #[error("the ONNX Runtime does not open model {model} on {provider}: {advice}")]
    Load {
        /// Name of the model in the manifest.
        model: String,
        /// Where it was to compute.
        provider: Provider,
        /// What to do.
        advice: &'static str,
        /// What the runtime said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ONNX Runtime failed to run a model.
    #[error("model {model} failed to {what}")]
    Model {
        /// Name of the model in the manifest.
        model: String,
        /// `run`, or what came before.
        what: &'static str,
        /// What the runtime said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A model's inputs or outputs are not those that the code feeds and reads.
    #[error("model {model} does not fit: {found}, but {expected} is needed")]
    Interface {
        /// Name of the model in the manifest.
        model: String,
        /// What the model has.
        found: String,
        /// What the code needs.
        expected: String,
    },
    /// A template lacks the vector that the mode compares.
    #[error("a template holds no vector of {model}; it was made in another mode or with another pack")]
    Template {
        /// Name of the model whose vector is missing.
        model: String,
    },
    /// A score came out as no number.
    #[error("the comparison gave a score that is no number")]
    Score,
    /// The stage panicked; the thread went on with fresh sessions.
    #[error("the vision code panicked: {0}")]
    Panicked(String),
    /// A compute thread could not be started.
    #[error("cannot start a compute thread")]
    Thread(#[source] std::io::Error),
}

/// A network with one image input of shape [1, 3, side, side].
pub trait Model {
    /// Name in the manifest, for errors.
    fn name(&self) -> &str;

    /// Runs `input`, f32 in channel, row, column order.
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
    /// Taken off each channel, in the network's order, of values 0-255.
    pub mean: [f32; CHANNELS],
    /// What each channel is then divided by.
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

    /// The channel planes of `picture`, in the network's order and range.
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

/// What a run returned: tensors by output name.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Vec<(String, ArrayD<f32>)>);

impl Outputs {
    /// Outputs in the model's order.
    #[must_use]
    pub fn new(tensors: Vec<(String, ArrayD<f32>)>) -> Self {
        Self(tensors)
    }

    /// The values of output `name` of `model`, row-major.
    ///
    /// # Errors
    /// When there is no such output or it does not hold `count` values.
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
