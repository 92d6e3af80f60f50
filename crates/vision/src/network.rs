//! A verified network in memory, from which every compute thread opens its own session.

use super::model::{InputSpec, Model, RuntimeFault};
use super::session::{Interface, Runtime};

/// A network and how it is fed and read.
pub struct Network<S> {
    /// Sizes, thresholds, templates.
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
    /// What it must take and give.
    pub interface: Interface,
    /// As read and verified.
    pub(super) bytes: Vec<u8>,
}

/// What the code needs of a network: checked against the file when its session opens.
pub trait NetworkSpec {
    /// How its input is made.
    fn input(&self) -> &InputSpec;
    /// Names and shapes, the batch dimension left out, of the outputs that are read.
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
    /// When the runtime refuses the network, or its inputs and outputs are not those that are needed.
    pub fn open(&self, runtime: &Runtime) -> Result<Box<dyn Model>, RuntimeFault> {
        Ok(Box::new(runtime.open(&self.name, &self.bytes, &self.interface)?))
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}
