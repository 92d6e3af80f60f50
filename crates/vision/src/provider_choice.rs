//! Chooses the provider on which networks compute. Nothing falls back to another provider without a warning.

use std::error::Error;
use std::str::FromStr;

use strum::VariantArray as _;
use tracing::warn;

use super::fault::RuntimeFault;
use super::pack::Pack;
use super::params::Params;
use super::pipeline::{Analyse as _, Pipeline};
use super::provider::Provider;
use super::session::Runtime;

/// The provider that the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderChoice {
    /// This provider. Without it the process does not start.
    Named(Provider),
    /// The first provider that runs every network. A warning says why the others cannot be used.
    Auto,
}

/// The text does not name a provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be auto, or one of {}", names())]
pub struct UnknownProvider;

impl FromStr for ProviderChoice {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        let text = text.to_ascii_lowercase();
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let named = Provider::VARIANTS.iter().find(|provider| provider.name() == text);
        named.copied().map(Self::Named).ok_or(UnknownProvider)
    }
}

fn names() -> String {
    Provider::VARIANTS.iter().map(|provider| provider.name()).collect::<Vec<_>>().join(", ")
}

/// `runtime` on the provider of `choice`. A named provider is not tried here: opening the first network shows whether
/// it works.
///
/// # Errors
/// When this binary or the runtime lacks the named provider, or no provider runs the networks of `pack`.
pub fn choose(choice: ProviderChoice, runtime: &Runtime, pack: &Pack) -> Result<Runtime, RuntimeFault> {
    match choice {
        ProviderChoice::Named(provider) => runtime.clone().on(provider),
        ProviderChoice::Auto => best(runtime, pack),
    }
}

fn best(runtime: &Runtime, pack: &Pack) -> Result<Runtime, RuntimeFault> {
    let mut failed = Vec::new();
    let accelerators = Provider::VARIANTS.iter().filter(|provider| **provider != Provider::Cpu);
    let found = accelerators
        .map(|provider| tried(runtime, *provider, pack))
        .find_map(|outcome| outcome.map_err(|fault| failed.push(fault)).ok());
    let chosen = found.map_or_else(|| runtime.clone().on(Provider::Cpu), Ok)?;
    if !failed.is_empty() {
        let reasons = failed.iter().map(with_causes).collect::<Vec<_>>().join("; ");
        warn!(provider = %chosen.provider(), "providers that cannot be used: {reasons}");
    }
    Ok(chosen)
}

/// The runtime on `provider`, after every network of `pack` has run there once.
fn tried(runtime: &Runtime, provider: Provider, pack: &Pack) -> Result<Runtime, RuntimeFault> {
    let there = runtime.clone().on(provider)?;
    Pipeline::open(pack, &there, Params::default())?.warm_up()?;
    Ok(there)
}

fn with_causes(fault: &RuntimeFault) -> String {
    let causes = std::iter::successors(fault.source(), |cause| (**cause).source());
    causes.fold(fault.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_a_providers_name_or_auto() {
        assert_eq!("auto".parse(), Ok(ProviderChoice::Auto));
        for provider in Provider::VARIANTS {
            assert_eq!(provider.name().to_uppercase().parse(), Ok(ProviderChoice::Named(*provider)));
        }
        let fault = "gpu".parse::<ProviderChoice>().unwrap_err();
        assert_eq!(fault.to_string(), "must be auto, or one of tensorrt, cuda, migraphx, openvino, cpu");
    }
}
