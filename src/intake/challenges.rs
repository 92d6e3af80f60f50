//! Liveness challenges: issued as signed tokens, taken back once, and in time.

use uuid::Uuid;

use super::{Error, Intake};
use crate::domain::challenge::{Challenge, LIFETIME, draw};
use crate::domain::ids::JobId;
use crate::domain::job::{Params, SentChallenge, Submission};
use crate::domain::request::{RequestFault, WantedChallenge};
use crate::domain::tenant::Account;
use crate::media;
use crate::store::Tx;
use crate::store::challenges::Spent;

/// The type of the token: no other thing that we sign passes for a challenge.
const TYPE: &str = "liveness-challenge+jwt";

impl Intake {
    /// Draws a challenge and signs it.
    ///
    /// # Errors
    /// When a machine is at fault.
    pub async fn issue_challenge(
        &self,
        account: Account,
        wanted: &WantedChallenge,
    ) -> Result<(String, Challenge), Error> {
        let expires = self.store.now().await? + LIFETIME;
        let actions = draw(wanted.length, &wanted.actions, |n| rand::random_range(0..n));
        let challenge = Challenge { id: Uuid::new_v4(), account, actions, expires };
        let claims = serde_json::to_value(&challenge).map_err(|_| media::Error::Unsignable)?;
        Ok((self.media.signer()?.sign_token(TYPE, &claims)?, challenge))
    }

    /// The challenge that a submission answers; its actions become the job's.
    pub(super) fn read_challenge(
        &self,
        account: Account,
        submission: &mut Submission,
    ) -> Result<Option<Challenge>, Error> {
        let Some(sent) = &submission.challenge else { return Ok(None) };
        let claims = self.media.signer()?.read_token(TYPE, &sent.token).ok();
        let challenge: Option<Challenge> = claims.and_then(|it| serde_json::from_value(it).ok());
        let challenge = challenge.filter(|it| it.account == account).ok_or_else(|| {
            let hint =
                "is not a challenge that was issued to you: send the text that POST /v1/liveness/challenges gave you";
            refused("invalid_challenge", sent, hint)
        })?;
        if let Params::FaceMatch { challenge: actions, .. } = &mut submission.params {
            actions.clone_from(&challenge.actions);
        }
        Ok(Some(challenge))
    }
}

/// Takes it for the job, in the job's own commit.
pub(super) async fn spend(
    tx: &mut Tx,
    sent: Option<&SentChallenge>,
    challenge: Option<&Challenge>,
    job: JobId,
) -> Result<(), Error> {
    let Some((sent, challenge)) = sent.zip(challenge) else { return Ok(()) };
    match tx.spend_challenge(challenge, job).await? {
        Spent::Now => Ok(()),
        Spent::Before => Err(refused("challenge_used", sent, "was answered before: take a new one for each attempt")),
        Spent::Late => {
            let hint = format!("is over: an answer must come within {LIFETIME} seconds; take a new one");
            Err(refused("challenge_expired", sent, &hint))
        }
    }
}

fn refused(code: &'static str, sent: &SentChallenge, hint: &str) -> Error {
    Error::Refused(RequestFault { code, field: Some(sent.field.clone()), message: format!("{} {hint}", sent.field) })
}
