//! A verified network in memory. Every compute thread opens its own session on it.

use super::fault::RuntimeFault;
use super::model::{InputSpec, Model};
use super::session::{Interface, Runtime};

/// A network, with its inputs and outputs described.
pub struct Network<S> {
    /// Its sizes, thresholds and templates.
    pub spec: S,
    /// Its file.
    pub onnx: Onnx,
}

/// A network's file.
pub struct Onnx {
    /// Name in the manifest.
    pub name: String,
    /// Version in the manifest.
    pub version: String,
    /// The inputs and outputs that it must have.
    pub interface: Interface,
    /// The verified bytes.
    pub(super) bytes: Vec<u8>,
}

/// The inputs and outputs that the code expects of a network. They are checked when a session opens.
pub trait NetworkSpec {
    /// How a picture becomes its input.
    fn input(&self) -> &InputSpec;
    /// Names and shapes of the outputs that are read, without the batch dimension.
    fn outputs(&self) -> Vec<(String, Vec<usize>)>;
}

impl<S> Network<S> {
    /// Opens a session for the calling thread.
    ///
    /// # Errors
    /// As [`Onnx::open`].
    pub fn open(&self, runtime: &Runtime) -> Result<Box<dyn Model>, RuntimeFault> {
        self.onnx.open(runtime)
    }
}

impl Onnx {
    /// Opens a session for the calling thread.
    ///
    /// # Errors
    /// When the runtime refuses the network, or its inputs and outputs are not those that the code expects.
    pub fn open(&self, runtime: &Runtime) -> Result<Box<dyn Model>, RuntimeFault> {
        Ok(Box::new(runtime.open(&self.name, &self.bytes, &self.interface)?))
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}
