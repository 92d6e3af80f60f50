//! Liveness challenges: issued as signed tokens, and accepted once, in time.

use uuid::Uuid;

use super::{Error, Intake};
use crate::domain::challenge::{Challenge, LIFETIME, draw};
use crate::domain::ids::JobId;
use crate::domain::job::{JobParams, SentChallenge, Submission};
use crate::domain::request::{RequestFault, WantedChallenge};
use crate::domain::tenant::Account;
use crate::keys::{self, Signer};
use crate::store::Tx;
use crate::store::challenges::Spent;

/// The token's type. Nothing else that we sign passes for a challenge.
const TYPE: &str = "liveness-challenge+jwt";

impl Intake {
    /// Draws a challenge and signs it.
    ///
    /// # Errors
    /// When a machine fails.
    pub async fn issue_challenge(
        &self,
        account: Account,
        wanted: &WantedChallenge,
    ) -> Result<(String, Challenge), Error> {
        let expires = self.store.now().await? + LIFETIME;
        let actions = draw(wanted.length, &wanted.actions, |n| rand::random_range(0..n));
        let challenge = Challenge { id: Uuid::new_v4(), account, actions, expires };
        let claims = serde_json::to_value(&challenge).map_err(|_| keys::Error::Unsignable)?;
        Ok((self.signer()?.sign_token(TYPE, &claims)?, challenge))
    }

    fn signer(&self) -> Result<Signer, keys::Error> {
        Signer::new(self.media.keyring())
    }

    /// Reads the challenge that a submission answers. Its actions become the job's.
    pub(super) fn read_challenge(
        &self,
        account: Account,
        submission: &mut Submission,
    ) -> Result<Option<Answered>, Error> {
        let Some(SentChallenge { field, token }) = submission.challenge.take() else { return Ok(None) };
        let claims = self.signer()?.read_token(TYPE, &token).ok();
        let challenge: Option<Challenge> = claims.and_then(|claims| serde_json::from_value(claims).ok());
        let Some(challenge) = challenge.filter(|challenge| challenge.account == account) else {
            let hint =
                "is not a challenge that was issued to you: send the text that POST /v1/liveness/challenges gave you";
            return Err(refused("invalid_challenge", &field, hint));
        };
        if let JobParams::FaceMatch { challenge: actions, .. } = &mut submission.params {
            actions.clone_from(&challenge.actions);
        }
        Ok(Some(Answered { field, challenge }))
    }
}

/// A genuine challenge, and the field of the request that held it.
pub(super) struct Answered {
    field: String,
    challenge: Challenge,
}

impl Answered {
    /// Uses the challenge for the job, in the job's own commit.
    pub(super) async fn spend(&self, tx: &mut Tx, job: JobId) -> Result<(), Error> {
        match tx.spend_challenge(&self.challenge, job).await? {
            Spent::Now => Ok(()),
            Spent::Before => {
                Err(refused("challenge_used", &self.field, "was answered before: take a new one for each attempt"))
            }
            Spent::Late => {
                let hint = format!("is over: an answer must come within {LIFETIME} seconds; take a new one");
                Err(refused("challenge_expired", &self.field, &hint))
            }
        }
    }
}

fn refused(code: &'static str, field: &str, hint: &str) -> Error {
    Error::Refused(RequestFault { code, field: Some(field.to_owned()), message: format!("{field} {hint}") })
}
