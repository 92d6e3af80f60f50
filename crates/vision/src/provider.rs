//! Where networks compute: the CPU, or what a cargo feature and the loaded ONNX Runtime bring besides.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use tracing::warn;

use super::model::RuntimeFault;
use super::pack::Pack;
use super::params::Params;
use super::pipeline::{Analyse as _, Pipeline};
use super::session::Runtime;

/// An execution provider of ONNX Runtime. All but the CPU's are cargo features of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The CPU; always there.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
    /// NVIDIA GPUs, by compiled engines.
    TensorRt,
    /// Intel CPUs, GPUs and NPUs.
    OpenVino,
    /// AMD GPUs.
    MiGraphX,
}

/// What the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderChoice {
    /// This one, or no start.
    Named(Provider),
    /// The first of [`Provider::BEST_FIRST`] that runs every network; a warning says what the others lack.
    Auto,
}

impl Provider {
    /// Every provider, the one to be preferred first; the CPU, which always works, last.
    pub const BEST_FIRST: [Self; 5] = [Self::TensorRt, Self::Cuda, Self::MiGraphX, Self::OpenVino, Self::Cpu];

    /// As settings, logs and cargo features spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
            Self::MiGraphX => "migraphx",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be auto, or one of {}", Provider::BEST_FIRST.map(Provider::name).join(", "))]
pub struct UnknownProvider;

impl FromStr for ProviderChoice {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        let text = text.to_ascii_lowercase();
        if text == "auto" {
            return Ok(Self::Auto);
        }
        Provider::BEST_FIRST.into_iter().find(|it| it.name() == text).map(Self::Named).ok_or(UnknownProvider)
    }
}

/// `runtime` on the provider of `choice`. One that is named is not tried here: whoever opens a network learns whether it
/// runs it.
///
/// # Errors
/// When the named provider is not in this binary or not in the runtime, or nothing runs the networks of `pack`.
pub fn choose(choice: ProviderChoice, runtime: &Runtime, pack: &Pack) -> Result<Runtime, RuntimeFault> {
    match choice {
        ProviderChoice::Named(provider) => runtime.clone().on(provider),
        ProviderChoice::Auto => best(runtime, pack),
    }
}

fn best(runtime: &Runtime, pack: &Pack) -> Result<Runtime, RuntimeFault> {
    let mut lacking = Vec::new();
    let accelerators = Provider::BEST_FIRST.into_iter().filter(|it| *it != Provider::Cpu);
    let found =
        accelerators.map(|it| tried(runtime, it, pack)).find_map(|it| it.map_err(|fault| lacking.push(fault)).ok());
    let chosen = found.map_or_else(|| runtime.clone().on(Provider::Cpu), Ok)?;
    if !lacking.is_empty() {
        let lacking = lacking.iter().map(with_causes).collect::<Vec<_>>().join("; ");
        warn!(provider = %chosen.provider(), "providers that cannot be used: {lacking}");
    }
    Ok(chosen)
}

/// The runtime on `provider`, which has run every network of `pack` once.
fn tried(runtime: &Runtime, provider: Provider, pack: &Pack) -> Result<Runtime, RuntimeFault> {
    let on_it = runtime.clone().on(provider)?;
    Pipeline::open(pack, &on_it, Params::default())?.warm_up()?;
    Ok(on_it)
}

fn with_causes(fault: &RuntimeFault) -> String {
    let causes = std::iter::successors(fault.source(), |it| (**it).source());
    causes.fold(fault.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_providers_name_or_auto() {
        assert_eq!("auto".parse(), Ok(ProviderChoice::Auto));
        for provider in Provider::BEST_FIRST {
            assert_eq!(provider.name().to_uppercase().parse(), Ok(ProviderChoice::Named(provider)));
        }
        let fault = "gpu".parse::<ProviderChoice>().unwrap_err();
        assert!(fault.to_string().starts_with("must be auto, or one of tensorrt, cuda, "), "{fault}");
    }
}
