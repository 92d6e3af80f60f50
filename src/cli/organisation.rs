//! The organisation that a command is about: one flag for all commands.

use anyhow::Context as _;
use clap::Args;

use crate::config::DatabaseArgs;
use crate::domain::ids::TenantId;
use crate::store::Store;

/// The organisation, and the database that has it.
#[derive(Args)]
pub(super) struct OrganisationArgs {
    /// Name of the organisation
    // `--name` is the spelling of version 0.1. It goes with the next release.
    #[arg(long, alias = "name")]
    pub organisation: String,
    #[command(flatten)]
    pub database: DatabaseArgs,
}

impl OrganisationArgs {
    /// The store, and the organisation in it.
    ///
    /// # Errors
    /// When the database cannot be used, or has no such organisation.
    pub(super) async fn find(&self) -> anyhow::Result<(Store, TenantId)> {
        let store = self.database.store().await?;
        let tenant = find(&store, &self.organisation).await?;
        Ok((store, tenant))
    }
}

/// The organisation of that name.
///
/// # Errors
/// When there is none, or the database fails.
pub(super) async fn find(store: &Store, name: &str) -> anyhow::Result<TenantId> {
    let found = store.find_tenant(name).await?;
    found.with_context(|| format!("there is no organisation named {name}: `visavis tenant list` shows all"))
}
