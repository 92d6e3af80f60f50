//! Making endpoints and their secrets: URLs are examined, secrets sealed and shown once.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Error;
use super::signature::Keys;
use crate::domain::ids::EndpointId;
use crate::domain::tenant::Account;
use crate::domain::webhook::EventType;
use crate::keys::{Keyring, WrappedKey};
use crate::net::{Guard, Refusal};
use crate::store::Store;
use crate::store::webhook_endpoints::{EndpointRotation, EndpointView, NewWebhookEndpoint, SealedSecret};

/// What makes endpoints; clones share it.
#[derive(Clone)]
pub struct Endpoints {
    store: Store,
    keyring: Arc<Keyring>,
    guard: Guard,
}

/// What an endpoint shall be.
pub struct Wanted<'a> {
    pub url: &'a str,
    pub description: &'a str,
    pub event_types: &'a [EventType],
    pub rate_limit: Option<i32>,
}

/// An endpoint, and the secret that is shown this once. Has no `Debug`.
pub struct Fresh {
    pub endpoint: EndpointView,
    /// `whsec_...`
    pub secret: String,
}

impl Endpoints {
    #[must_use]
    pub fn new(store: Store, keyring: Arc<Keyring>, guard: Guard) -> Self {
        Self { store, keyring, guard }
    }

    /// Whether we would call that URL. What its name resolves to tomorrow is looked at tomorrow.
    ///
    /// # Errors
    /// Why not, in words for the person who set it.
    pub fn check(&self, url: &str) -> Result<(), Refusal> {
        self.guard.check(url).map(drop)
    }

    /// Makes an endpoint at a URL that was checked; `None` when the account has as many as it may have.
    ///
    /// # Errors
    /// When the database fails, or no secret can be sealed.
    pub async fn create(&self, account: Account, wanted: &Wanted<'_>) -> Result<Option<Fresh>, Error> {
        let id = EndpointId::new();
        let (sealed, secret) = self.seal(id)?;
        let Wanted { url, description, event_types, rate_limit } = *wanted;
        let new = NewWebhookEndpoint { id, account, url, description, event_types, rate_limit };
        if !self.store.insert_endpoint(&new, &sealed).await? {
            return Ok(None);
        }
        Ok(self.store.find_endpoint(account, id).await?.map(|endpoint| Fresh { endpoint, secret }))
    }

    /// Gives an endpoint a new secret; the old one signs too for `grace`.
    ///
    /// # Errors
    /// The first when it did not take place; the second when the database fails, or no secret can be sealed.
    pub async fn rotate(
        &self,
        account: Account,
        id: EndpointId,
        grace: Duration,
    ) -> Result<Result<Fresh, EndpointRotation>, Error> {
        let (sealed, secret) = self.seal(id)?;
        match self.store.rotate_secret(account, &sealed, grace).await? {
            EndpointRotation::Done => {
                let found = self.store.find_endpoint(account, id).await?;
                Ok(found.map(|endpoint| Fresh { endpoint, secret }).ok_or(EndpointRotation::NoSuchEndpoint))
            }
            refused => Ok(Err(refused)),
        }
    }

    fn seal(&self, endpoint_id: EndpointId) -> Result<(SealedSecret, String), Error> {
        let keys = Keys::from_random(rand::random(), rand::random()).ok_or(Error::Malformed)?;
        let id = Uuid::now_v7();
        let (sealed, key) = self.keyring.seal(&place(endpoint_id, id), &keys.to_bytes())?;
        let secret = SealedSecret {
            id,
            endpoint_id,
            master_key_id: key.master_key_id,
            wrapped_key: key.wrapped,
            sealed,
            public_key: keys.public_key().to_vec(),
        };
        Ok((secret, keys.secret().reveal()))
    }
}

/// What a sealed secret holds.
pub(super) fn open(keyring: &Keyring, secret: SealedSecret) -> Result<Keys, Error> {
    let key = WrappedKey { master_key_id: secret.master_key_id, wrapped: secret.wrapped_key };
    let bytes = keyring.open(&place(secret.endpoint_id, secret.id), &key, secret.sealed)?;
    Keys::from_bytes(&bytes).ok_or(Error::Malformed)
}

/// Authenticated with the secret: one moved to another endpoint does not decrypt.
fn place(endpoint: EndpointId, secret: Uuid) -> String {
    format!("webhooks/{endpoint}/{secret}")
}
