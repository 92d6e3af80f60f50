//! Messages that the broker gave up on. They are recorded in Postgres, where an operator can list and redrive them.

use tokio_util::sync::CancellationToken;
use tracing::error;
use uuid::Uuid;

use super::amqp::{TRIES, persist, reply_address, storable, take_in};
use super::{Error, Intake};
use crate::keys::WrappedKey;
use crate::lifecycle::Lifecycle;
use crate::queue::connection::Broker;
use crate::queue::consumer::{self, Incoming, Settle};
use crate::queue::{message, topology};
use crate::store::dead_letters::{DeadLetter, NewDeadLetter};
use crate::store::parked::WorkLoop;

const PREFETCH: u16 = 4;

/// What became of a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redriven {
    /// The submission was accepted, as if it had just arrived.
    TakenIn,
    /// The submission was refused, as if it had just arrived. A new dead letter says why.
    Refused,
    /// The job was still queued, and its doorbell rings again.
    Rung,
    /// The job is running or has ended. There is nothing to send again.
    NothingToDo,
    /// The body of a refused submission is not kept. Its producer must correct it and send it again.
    NoBody,
}

/// Records dead letters until the shutdown begins.
pub fn start(intake: &Intake, broker: &Broker, life: &Lifecycle) {
    let (intake, task_life) = (intake.clone(), life.clone());
    let handler = move |incoming| handle(intake.clone(), task_life.clone(), incoming);
    life.spawn(
        "dead letters",
        consumer::consume(broker.clone(), topology::DEAD_QUEUE, PREFETCH, life.clone(), handler),
    );
}

impl Intake {
    /// Sends a dead letter again.
    ///
    /// # Errors
    /// When a machine fails.
    pub async fn redrive(&self, letter: &DeadLetter) -> Result<Redriven, Error> {
        let redriven = match (&letter.body_key, letter.job_id) {
            (Some((master_key_id, wrapped)), _) => {
                let key = WrappedKey { master_key_id: master_key_id.clone(), wrapped: wrapped.clone() };
                let body = self.media.get_dead_letter(letter.id, &key).await?;
                let incoming = Incoming {
                    body,
                    user_id: letter.amqp_user.clone(),
                    // If the producer sent no id, the letter's own id makes a second redrive harmless.
                    message_id: Some(letter.message_id.clone().unwrap_or_else(|| letter.id.to_string())),
                    reply_to: letter.reply.as_ref().map(|reply| reply.reply_to.clone()),
                    correlation_id: letter.reply.as_ref().and_then(|reply| reply.correlation_id.clone()),
                    exchange: topology::SUBMISSIONS.to_owned(),
                    first_death: None,
                    lost: CancellationToken::new(),
                    early_ack: None,
                };
                if take_in(self, &incoming).await? { Redriven::TakenIn } else { Redriven::Refused }
            }
            (None, Some(job_id)) if self.store.ring_job(job_id).await? => Redriven::Rung,
            (None, Some(_)) => Redriven::NothingToDo,
            (None, None) => Redriven::NoBody,
        };
        if matches!(redriven, Redriven::TakenIn | Redriven::Refused | Redriven::Rung) {
            self.store.mark_redriven(letter.id).await?;
        }
        Ok(redriven)
    }
}

async fn handle(intake: Intake, life: Lifecycle, incoming: Incoming) -> Settle {
    // All attempts use one id: what an earlier attempt stored is overwritten, not doubled.
    let id = Uuid::now_v7();
    persist(&life, &incoming.lost, |failures| record_or_park(&intake, id, &incoming, failures)).await
}

async fn record_or_park(intake: &Intake, id: Uuid, incoming: &Incoming, failures: u32) -> Result<(), Error> {
    match record(intake, id, incoming).await {
        Err(error) if failures >= TRIES && error.is_of_request() => {
            let item = incoming.message_id.as_deref().map_or_else(|| id.to_string(), storable);
            Ok(intake.store.park(WorkLoop::DeadLetters, &item, None, &error.reason()).await?)
        }
        recorded => recorded,
    }
}

async fn record(intake: &Intake, id: Uuid, incoming: &Incoming) -> Result<(), Error> {
    let (queue, reason) = incoming.first_death.clone().unwrap_or_else(|| ("unknown".to_owned(), "unknown".to_owned()));
    error!(queue, reason, "the broker gave up on a message");
    let detail = format!("the broker gave up on it in {}", storable(&queue));
    let mut letter = NewDeadLetter { code: storable(&reason), detail, ..NewDeadLetter::default() };
    if queue == topology::SUBMISSIONS_QUEUE || queue == topology::UNROUTED_QUEUE {
        letter.kind = "undelivered_submission";
        letter.amqp_user = incoming.user_id.as_deref().map(storable);
        letter.message_id = incoming.message_id.as_deref().map(storable);
        letter.reply = reply_address(incoming);
        let key = intake.media.put_dead_letter(id, &incoming.body).await?;
        letter.body_key = Some((key.master_key_id, key.wrapped));
    } else {
        letter.kind = "undelivered_doorbell";
        let job_id = message::read_doorbell(&incoming.body);
        letter.job_id = match job_id {
            Some(job_id) if intake.store.job_exists(job_id).await? => Some(job_id),
            _ => None,
        };
    }
    let mut tx = intake.store.begin().await?;
    tx.insert_dead_letter(id, &letter).await?;
    Ok(tx.commit().await?)
}
