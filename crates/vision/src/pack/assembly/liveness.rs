//! Puts the liveness test together: that of one pack, or an optional pack's test fused with the default one's.

use super::{Assembly, PackSource, input, misplaced, network};
use crate::liveness::{Ensemble, LivenessPack, LivenessScorer, LivenessSpec};
use crate::network::Network;
use crate::pack::fault::PackFault;
use crate::pack::manifest::{self, LivenessSection, ModelTask};

/// By how much the sum of the weights may differ from 1, because they are written with a few decimals.
const SLACK: f64 = 1e-6;

impl Assembly {
    /// The liveness test, if a pack has one.
    pub(super) fn liveness(&self) -> Result<Option<LivenessPack>, PackFault> {
        let Some((source, part)) = self.part("liveness", |manifest| manifest.liveness.as_ref())? else {
            return Ok(None);
        };
        let mut scorer = scorer(source, part)?;
        let Some(fusion) = part.fusion else {
            return Ok(Some(LivenessPack::new(vec![self.ensemble(source, part, 1.0)?], scorer)));
        };
        let default = self.default.manifest.liveness.as_ref().filter(|section| section.fusion.is_none());
        let Some(default) = default else {
            return Err(
                source.inconsistent("liveness.fusion needs a liveness test of the default pack to be fused with")
            );
        };
        for (name, weight) in [("own", fusion.own), ("default", fusion.default)] {
            within(source, &format!("fusion.{name}"), weight, 0.01, 10.0)?;
        }
        // Both tests must see enough of the face's surroundings.
        scorer.least_context = scorer.least_context.max(self::scorer(&self.default, default)?.least_context);
        let ensembles =
            vec![self.ensemble(&self.default, default, fusion.default)?, self.ensemble(source, part, fusion.own)?];
        Ok(Some(LivenessPack::new(ensembles, scorer)))
    }

    fn ensemble(
        &self,
        source: &PackSource,
        part: &LivenessSection,
        weight: f64,
    ) -> Result<Ensemble<Network<LivenessSpec>>, PackFault> {
        let opened = part.models.iter().map(|entry| {
            within(source, &format!("the weight of {}", entry.model), entry.weight, SLACK, 1.0)?;
            Ok((self.liveness_network(source, &entry.model)?, entry.weight))
        });
        let networks = opened.collect::<Result<Vec<_>, _>>()?;
        if networks.is_empty() {
            return Err(source.inconsistent("liveness.models is empty"));
        }
        let sum: f64 = networks.iter().map(|(_, weight)| weight).sum();
        if (sum - 1.0).abs() > SLACK {
            return Err(
                source.inconsistent(&format!("the weights of liveness.models must add up to 1, not to {sum:.6}"))
            );
        }
        Ok(Ensemble { networks, weight })
    }

    fn liveness_network(&self, source: &PackSource, name: &str) -> Result<Network<LivenessSpec>, PackFault> {
        let (source, model) = self.model(source, name)?;
        let ModelTask::Liveness(params) = &model.task else { return Err(misplaced(source, model, "liveness")) };
        let &manifest::LivenessParams { scale, resize, classes, live } = params;
        within(source, &format!("scale of {name}"), scale, 1.0, 10.0)?;
        if classes < 2 || live >= classes {
            return Err(source.inconsistent(&format!("live of {name} is no class of {classes}, or there is only one")));
        }
        network(source, model, LivenessSpec { input: input(source, model)?, scale, resize, classes, live })
    }
}

fn scorer(source: &PackSource, part: &LivenessSection) -> Result<LivenessScorer, PackFault> {
    let &LivenessSection { shift, spoof_below, least_context, .. } = part;
    within(source, "liveness.shift", shift, -10.0, 10.0)?;
    // From 0.5 on, a face is a living person's.
    within(source, "liveness.spoof_below", spoof_below, 0.0, 0.5)?;
    within(source, "liveness.least_context", least_context, 1.0, 10.0)?;
    Ok(LivenessScorer { shift, spoof_below, least_context })
}

/// Refuses values out of range, including NaN.
fn within(source: &PackSource, what: &str, value: f64, low: f64, high: f64) -> Result<(), PackFault> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(source.inconsistent(&format!("{what} must be in [{low}, {high}], not {value}")))
    }
}
