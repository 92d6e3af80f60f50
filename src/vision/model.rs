//! What the stages know of a neural network: a named tensor in, named tensors out. Tests put a fake here.

use ndarray::{ArrayD, ArrayView4};

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
    /// The ONNX Runtime refused a model, or failed to run it.
    #[error("model {model} failed to {what}")]
    Model {
        /// Name of the model in the manifest.
        model: String,
        /// `load` or `run`.
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
