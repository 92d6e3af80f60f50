//! The places where networks can compute.

use strum::{Display, IntoStaticStr, VariantArray};

/// An execution provider of ONNX Runtime, the preferred ones first. Each is a cargo feature of the same name, except
/// for the CPU, which always works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Provider {
    /// NVIDIA GPUs, by compiled engines.
    TensorRt,
    /// NVIDIA GPUs.
    Cuda,
    /// AMD GPUs.
    MiGraphX,
    /// Intel CPUs, GPUs and NPUs.
    OpenVino,
    /// The CPU.
    Cpu,
}

impl Provider {
    /// The name in settings, logs and cargo features.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}
