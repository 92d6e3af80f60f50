//! Submissions over AMQP: each message makes one job at most, and always gets an answer.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Error, Intake, SubmissionContext};
use crate::domain::blob::BlobPlace;
use crate::domain::ids::TenantId;
use crate::domain::job::Lane;
use crate::domain::request::{Form, RequestFault};
use crate::domain::tenant::{Account, TenantSettings};
use crate::lifecycle::Lifecycle;
use crate::queue::connection::Broker;
use crate::queue::consumer::{self, Incoming, Settle};
use crate::queue::topology;
use crate::store::dead_letters::NewDeadLetter;
use crate::store::replies::ReplyAddress;

/// Submissions handled at once. Each may have 16 MiB.
const PREFETCH: u16 = 8;
/// An attempt that takes longer hangs on a dead connection.
const TRY: Duration = Duration::from_mins(1);
/// Tries of a message that fails by itself, before it is set aside.
pub(super) const TRIES: u32 = 2;

/// Takes submissions in until the shutdown begins. Submissions that no queue took, because the broker was wiped under a
/// producer, arrive in the queue of unrouted messages.
pub fn start(intake: &Intake, broker: &Broker, life: &Lifecycle) {
    for queue in [topology::SUBMISSIONS_QUEUE, topology::UNROUTED_QUEUE] {
        let (intake, task_life) = (intake.clone(), life.clone());
        let handler = move |incoming| handle(intake.clone(), task_life.clone(), incoming);
        life.spawn("intake", consumer::consume(broker.clone(), queue, PREFETCH, life.clone(), handler));
    }
}

async fn handle(intake: Intake, life: Lifecycle, incoming: Incoming) -> Settle {
    if incoming.exchange != topology::SUBMISSIONS {
        warn!(exchange = incoming.exchange, "an unrouted message of our own was dropped: the sweeper rings again");
        return Settle::Ack;
    }
    // All tries use one id: what an earlier try stored is overwritten, not doubled.
    let id = Uuid::now_v7();
    persist(&life, &incoming.lost, |failures| take_in_or_set_aside(&intake, id, &incoming, failures)).await
}

async fn take_in_or_set_aside(intake: &Intake, id: Uuid, incoming: &Incoming, failures: u32) -> Result<(), Error> {
    match take_in(intake, incoming).await {
        Err(error) if failures >= TRIES && !error.is_of_database() => set_aside(intake, id, incoming).await,
        taken => taken.map(drop),
    }
}

/// Tries until it succeeds. If a machine fails, the message is not given up: we wait, and take nothing new meanwhile.
/// `attempt` learns how many tries failed before it, not counting those that the database failed. A fault of the
/// message itself is tried again at once, so that the message keeps no place that others need.
pub(super) async fn persist<F>(life: &Lifecycle, lost: &CancellationToken, attempt: impl Fn(u32) -> F) -> Settle
where
    F: Future<Output = Result<(), Error>>,
{
    let (mut wait, mut failures) = (Duration::from_millis(200), 0);
    loop {
        match tokio::time::timeout(TRY, attempt(failures)).await {
            Ok(Ok(())) => return Settle::Ack,
            Ok(Err(error)) => {
                warn!(%error, failures, wait_ms = wait.as_millis(), "message not dealt with yet");
                if !error.is_of_database() {
                    failures += 1;
                }
                if error.is_of_request() && failures <= TRIES {
                    continue;
                }
            }
            Err(_) => warn!(wait_ms = wait.as_millis(), "message not dealt with yet: nobody answered"),
        }
        tokio::select! {
            // If the session is lost, the broker gives the message to the next session.
            () = lost.cancelled() => return Settle::Requeue,
            () = life.stopping().cancelled() => return Settle::Requeue,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(10)),
        }
    }
}

/// Records a submission that fails by itself as a dead letter, with its body, and answers its producer. The body goes
/// to the blob store before one more try: that shows whether the blob store works for others.
async fn set_aside(intake: &Intake, id: Uuid, incoming: &Incoming) -> Result<(), Error> {
    let key = intake.media.put_dead_letter(id, &incoming.body).await?;
    let error = match take_in(intake, incoming).await {
        Ok(_) => {
            // If this fails, the janitor finds the body later: it belongs to no letter.
            let _ = intake.media.delete_place(&BlobPlace::DeadLetter(id).to_string(), TRY).await;
            return Ok(());
        }
        Err(error) if error.is_of_database() => return Err(error),
        Err(error) => error,
    };
    let letter = NewDeadLetter {
        kind: "undelivered_submission",
        amqp_user: incoming.user_id.as_deref().map(storable),
        message_id: incoming.message_id.as_deref().map(storable),
        code: "not_processed".to_owned(),
        detail: error.reason(),
        reply: reply_address(incoming),
        body_key: Some((key.master_key_id, key.wrapped)),
        ..NewDeadLetter::default()
    };
    error!(letter = %id, reason = letter.detail, "a submission fails by itself and was set aside: see `visavis dead-letters`");
    let message = "the submission could not be processed: the operator has it and can submit it again, and so can you";
    intake.refuse(id, letter, &RequestFault { code: "not_processed", field: None, message: message.to_owned() }).await
}

/// Stores the submission as a job or as a refusal. Fails only if a machine does. `true` if it was accepted.
pub(super) async fn take_in(intake: &Intake, incoming: &Incoming) -> Result<bool, Error> {
    let reply = reply_address(incoming);
    let (tenant, fault) = match tenant(intake, incoming).await? {
        Err(fault) => (None, fault),
        Ok((tenant_id, settings)) => {
            let origin = SubmissionContext {
                account: Account::live(tenant_id),
                settings: &settings,
                form: Form::Native,
                // A producer that sends no message id gets a job for every delivery.
                idempotency_key: incoming.message_id.as_deref().filter(|id| !id.is_empty()),
                reply: reply.as_ref(),
                lane: Lane::Bulk,
            };
            match intake.submit(origin, incoming.body.clone()).await {
                Ok(accepted) => {
                    let (request_id, duplicate) = (accepted.summary.request_id.to_string(), accepted.duplicate);
                    info!(request_id, duplicate, kind = accepted.summary.kind, "submission accepted");
                    return Ok(true);
                }
                Err(
                    Error::Refused(fault)
                    | Error::Forbidden(fault)
                    | Error::InsufficientFunds(fault)
                    | Error::TooManyJobs(fault)
                    | Error::Conflict(fault),
                ) => (Some(tenant_id), fault),
                Err(fault) => return Err(fault),
            }
        }
    };
    let amqp_user = incoming.user_id.as_deref().map(storable);
    info!(amqp_user, code = fault.code, field = fault.field, "submission refused");
    let letter = NewDeadLetter {
        kind: "rejected_submission",
        tenant_id: tenant,
        amqp_user,
        message_id: incoming.message_id.as_deref().map(storable),
        code: fault.code.to_owned(),
        detail: fault.message.clone(),
        reply,
        ..NewDeadLetter::default()
    };
    intake.refuse(Uuid::now_v7(), letter, &fault).await?;
    Ok(false)
}

async fn tenant(
    intake: &Intake,
    incoming: &Incoming,
) -> Result<Result<(TenantId, TenantSettings), RequestFault>, Error> {
    let fault = |code, message: &str| RequestFault { code, field: None, message: message.to_owned() };
    let Some(user) = incoming.user_id.as_deref() else {
        let message = "the message property user_id is missing: set it to the user you connect as";
        return Ok(Err(fault("missing_user_id", message)));
    };
    let tenant = intake.store.find_tenant_by_amqp_user(&storable(user)).await?;
    let message = "no organisation has this broker user: ask your operator to register it";
    Ok(tenant.ok_or_else(|| fault("unknown_organisation", message)))
}

/// Where to send replies, if anywhere. We publish with rights that a producer does not have, so the address must belong
/// to the producer: a queue whose name begins with its user's name and a dot, or one that the broker named, which
/// nobody else can guess. It must not be a queue of ours, where a reply would become work, nor another producer's.
pub(super) fn reply_address(incoming: &Incoming) -> Option<ReplyAddress> {
    let reply_to = incoming.reply_to.as_deref().filter(|name| !name.is_empty())?;
    let users_own = incoming.user_id.as_deref().is_some_and(|user| {
        reply_to.strip_prefix(user).is_some_and(|rest| rest.starts_with('.')) && user != topology::OUR_NAME
    });
    let plain = reply_to.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
    if !plain || !(users_own || reply_to.starts_with("amq.gen-")) {
        warn!("a submission's reply_to is neither <user>.* nor amq.gen-*: it gets no answers");
        return None;
    }
    // Without a correlation id the message id serves, so that the producer can tell replies apart.
    let correlation_id = incoming.correlation_id.as_ref().or(incoming.message_id.as_ref());
    Some(ReplyAddress {
        reply_to: reply_to.to_owned(),
        correlation_id: correlation_id.cloned().filter(|id| !id.chars().any(char::is_control)),
    })
}

/// Removes control characters: Postgres cannot store U+0000, and a producer must not control an operator's terminal.
pub(super) fn storable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
