//! Identity sources: they hold the record and the portrait for an ID number. A deployment has one source per ID type.
//! Organisations differ in whether they may ask, not in which source answers.

mod http;
pub mod import;
mod portrait;
pub mod registry;
pub mod rows;
pub mod settings;

use std::collections::HashMap;

use bytes::Bytes;

use crate::domain::fair_limit::FairLimit;
use crate::domain::identity::{IdNumber, IdType, IdentityRecord};
use crate::domain::ids::TenantId;
use crate::net::{self, Client, Guard};
use crate::{media, store};

use http::HttpSource;
pub use registry::Registry;
use settings::{Settings, SourceSettings, SourcesFault};

/// Largest portrait in bytes, the same as for an image in a request.
pub const MAX_PORTRAIT: usize = 10_000_000;
/// Most bytes of a record's attributes as JSON. More would be another image among them.
pub const MAX_ATTRIBUTES: usize = 256 << 10;

/// The source of each ID type.
pub struct Sources {
    registry: Registry,
    http: HashMap<IdType, HttpSource>,
}

/// A person as a source knows them. Has no `Debug`, so that no log can show them.
pub struct FoundIdentity {
    pub record: IdentityRecord,
    /// An image file, not yet decoded.
    pub portrait: Bytes,
}

/// Why a source gave no answer. Messages never quote the number, the URL or a secret.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Transient(#[from] Transient),
    #[error(transparent)]
    Permanent(#[from] Permanent),
}

/// Another attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub enum Transient {
    #[error(transparent)]
    Call(net::Error),
    #[error("it answered HTTP {0}")]
    Status(u16),
    #[error("it failed too often and is not called for a while")]
    Suspended,
    #[error("it did not answer before the job's deadline")]
    Deadline,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Media(media::Error),
}

/// Every other attempt would fail: somebody has to correct the settings or the source.
#[derive(Debug, thiserror::Error)]
pub enum Permanent {
    #[error("it refused the call with HTTP {0}")]
    Refused(u16),
    #[error("its answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("its address is refused: {0}")]
    Address(net::Refusal),
    #[error("the registry's entry does not decrypt")]
    Unreadable,
}

impl Permanent {
    /// Stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "identity_source_refused",
            Self::Malformed(_) => "identity_source_malformed",
            Self::Address(_) => "identity_source_address",
            Self::Unreadable => "identity_record_unreadable",
        }
    }

    /// Text for producers. It has no details of our machines.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        match self {
            Self::Refused(_) => "the source of this ID type refused the call: an operator must correct its settings",
            Self::Malformed(_) => "the source of this ID type gave an answer that cannot be read",
            Self::Address(_) => "the source of this ID type has an address that must not be called",
            Self::Unreadable => "a stored identity record could not be decrypted",
        }
    }
}

impl Sources {
    /// The registry as the source of every ID type.
    #[must_use]
    pub fn registry_only(registry: Registry) -> Self {
        Self { registry, http: HashMap::new() }
    }

    /// The sources that the settings name, and the registry for all other ID types.
    ///
    /// # Errors
    /// When a URL must not be called, or no HTTP client can be made.
    pub fn new(settings: Settings, registry: Registry, guard: Guard) -> Result<Self, SourcesFault> {
        let mut sources = Self::registry_only(registry);
        let mut shared: Option<Client> = None;
        for (id_type, source) in settings.sources {
            let SourceSettings::Http(source) = source else { continue };
            let client = match &shared {
                Some(client) => client.clone(),
                None => Client::new(guard).map_err(|error| SourcesFault::new("sources", error.to_string()))?,
            };
            shared = Some(client.clone());
            sources.http.insert(id_type, HttpSource::new(id_type, *source, client)?);
        }
        Ok(sources)
    }

    /// The limit on calls to the source of the ID type, which organisations share. `None` for the registry, because it
    /// is our own database.
    #[must_use]
    pub fn limit(&self, id_type: IdType) -> Option<&FairLimit<TenantId>> {
        self.http.get(&id_type).map(HttpSource::limit)
    }

    /// Asks the source of the ID type. The caller holds a permit of its limit. `None` when it has no portrait for the
    /// number.
    ///
    /// # Errors
    /// When it does not answer, or its answer is malformed.
    pub async fn find(&self, id_type: IdType, number: &IdNumber) -> Result<Option<FoundIdentity>, SourceError> {
        match self.http.get(&id_type) {
            Some(source) => source.find(number).await,
            None => self.registry.find(id_type, number).await,
        }
    }
}
