//! `id_match`: a selfie against the portrait from the source of the ID type.

use std::time::Instant;

use super::slots::RunPermit;
use super::{Context, Finished, Inputs, JobError, ProbeScene, analyse, compare, rounded_ms};
use crate::domain::identity::{IdNumber, IdType};
use crate::domain::image::ImageRole;
use crate::domain::job::{Failure, JobParams};
use crate::domain::policy::{self, Evidence};
use crate::identity::{FoundIdentity, SourceError, Transient};

pub(super) async fn run(
    context: &Context,
    params: &JobParams,
    inputs: &Inputs,
    permit: &mut RunPermit,
    deadline: Instant,
) -> Result<Finished, JobError> {
    let (JobParams::IdMatch { id_type, mode, .. }, Some(number)) = (params, &inputs.id_number) else {
        let (code, detail) = ("image_erased", "the ID number was erased before the job ran");
        return Err(JobError::Fail(Failure { code: code.to_owned(), detail: detail.to_owned() }));
    };
    let decided = |evidence| Finished::plain(policy::decide(params.clone(), evidence));

    // The selfie comes first: without a face in it the source must not be asked about a person.
    let selfie = analyse(context, inputs.image(ImageRole::Probe), *mode, deadline).await?;
    let mut evidence = Evidence {
        images: vec![selfie.report(ImageRole::Probe, 0)],
        compute_ms: rounded_ms(selfie.compute_ms()),
        ..Evidence::default()
    };
    if selfie.template().is_none() {
        return Ok(decided(evidence));
    }
    let Some(FoundIdentity { record, portrait }) = find(context, *id_type, number, permit, deadline).await? else {
        evidence.id_not_found = true;
        return Ok(decided(evidence));
    };
    let portrait = analyse(context, portrait, *mode, deadline).await?;
    evidence.images.insert(0, portrait.report(ImageRole::Reference, 0));
    evidence.compute_ms = rounded_ms(selfie.compute_ms() + portrait.compute_ms());
    evidence.comparison = compare(context, &portrait, &selfie, *mode)?;
    // Without a comparison the person's record is not passed on.
    let identity = evidence.comparison.is_some().then_some(record);
    let probe = selfie.scene().map(|scene| ProbeScene { scene, reference: None });
    Ok(Finished { identity, probe, ..decided(evidence) })
}

async fn find(
    context: &Context,
    id_type: IdType,
    number: &IdNumber,
    permit: &mut RunPermit,
    deadline: Instant,
) -> Result<Option<FoundIdentity>, JobError> {
    let ask = tokio::time::timeout_at(deadline.into(), context.sources.find(id_type, number));
    let asked = if context.sources.limit(id_type).is_some() { permit.aside(ask).await } else { ask.await };
    asked.unwrap_or(Err(SourceError::Transient(Transient::Deadline))).map_err(|fault| match fault {
        SourceError::Transient(fault) => JobError::SourceDown(fault),
        SourceError::Permanent(fault) => JobError::SourceFault(fault),
    })
}
