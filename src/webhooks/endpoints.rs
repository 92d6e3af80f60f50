//! Creates endpoints and their secrets. URLs are checked; secrets are encrypted and shown once.

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

/// Creates endpoints and rotates their secrets; clones share its parts.
#[derive(Clone)]
pub struct Endpoints {
    store: Store,
    keyring: Arc<Keyring>,
    guard: Guard,
}

/// The settings of a new endpoint.
pub struct EndpointSpec<'a> {
    pub url: &'a str,
    pub description: &'a str,
    pub event_types: &'a [EventType],
    pub rate_limit: Option<i32>,
}

/// An endpoint with its new secret, which is shown only once. It has no `Debug`.
pub struct EndpointAndSecret {
    pub endpoint: EndpointView,
    /// `whsec_...`
    pub secret: String,
}

impl Endpoints {
    #[must_use]
    pub fn new(store: Store, keyring: Arc<Keyring>, guard: Guard) -> Self {
        Self { store, keyring, guard }
    }

    /// Checks whether we would call that URL. The address behind its name is checked at every call.
    ///
    /// # Errors
    /// Why we would not call it, in words for the person who set it.
    pub fn check(&self, url: &str) -> Result<(), Refusal> {
        self.guard.check(url).map(drop)
    }

    /// Creates an endpoint for a URL that was checked. `None` if the account has as many as it may have.
    ///
    /// # Errors
    /// When the database fails, or the secret cannot be encrypted.
    pub async fn create(
        &self,
        account: Account,
        wanted: &EndpointSpec<'_>,
    ) -> Result<Option<EndpointAndSecret>, Error> {
        let id = EndpointId::new();
        let (sealed, secret) = self.seal(id)?;
        let EndpointSpec { url, description, event_types, rate_limit } = *wanted;
        let new = NewWebhookEndpoint { id, account, url, description, event_types, rate_limit };
        if !self.store.insert_endpoint(&new, &sealed).await? {
            return Ok(None);
        }
        Ok(self.store.find_endpoint(account, id).await?.map(|endpoint| EndpointAndSecret { endpoint, secret }))
    }

    /// Gives an endpoint a new secret. The old one also signs for `grace`.
    ///
    /// # Errors
    /// The inner one when the rotation was refused. The outer one when the database fails, or the secret cannot be
    /// encrypted.
    pub async fn rotate(
        &self,
        account: Account,
        id: EndpointId,
        grace: Duration,
    ) -> Result<Result<EndpointAndSecret, EndpointRotation>, Error> {
        let (sealed, secret) = self.seal(id)?;
        match self.store.rotate_secret(account, &sealed, grace).await? {
            EndpointRotation::Done => {
                let found = self.store.find_endpoint(account, id).await?;
                Ok(found.map(|endpoint| EndpointAndSecret { endpoint, secret }).ok_or(EndpointRotation::NoSuchEndpoint))
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

/// Decrypts the keys of an endpoint.
pub(super) fn open(keyring: &Keyring, secret: SealedSecret) -> Result<Keys, Error> {
    let key = WrappedKey { master_key_id: secret.master_key_id, wrapped: secret.wrapped_key };
    let bytes = keyring.open(&place(secret.endpoint_id, secret.id), &key, secret.sealed)?;
    Keys::from_bytes(&bytes).ok_or(Error::Malformed)
}

/// The place that is authenticated with the secret: a secret that is moved to another endpoint does not decrypt.
fn place(endpoint: EndpointId, secret: Uuid) -> String {
    format!("webhooks/{endpoint}/{secret}")
}
