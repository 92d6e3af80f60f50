//! API keys of an organisation: made, listed, rotated, revoked. A key is printed once; only its hash is stored.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use crate::cli::organisation::OrganisationArgs;
use crate::cli::output::{OutputArgs, table, time};
use crate::config::PepperArgs;
use crate::domain::api_key::ApiKeyText;
use crate::domain::ids::TenantId;
use crate::domain::pepper::Pepper;
use crate::domain::tenant::{self, Account, Scope};
use crate::store::Store;
use crate::store::api_keys::{KeyRotation, NewApiKey};

#[derive(Args)]
pub(in crate::cli) struct KeyArgs {
    /// Make a key for the sandbox: its jobs use no models and cost nothing
    #[arg(long)]
    test: bool,
    /// What the key may be used for: submit, read, erase, billing, webhooks [default: everything]
    #[arg(long, value_delimiter = ',', value_parser = parse_scope)]
    scopes: Vec<Scope>,
    /// Text that tells this key from others
    #[arg(long, default_value = "")]
    label: String,
    /// Days until the key ends [default: never]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

#[derive(Args)]
pub(in crate::cli) struct RotateArgs {
    /// The key's id: the 16 characters after `vv_live_`
    #[arg(long)]
    id: String,
    /// Hours that the old key stays valid
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=720))]
    grace_hours: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

#[derive(Args)]
pub(in crate::cli) struct RevokeArgs {
    /// The key's id: the 16 characters after `vv_live_`
    #[arg(long)]
    id: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
}

/// A key to be made.
pub(super) struct KeyPlan {
    pub account: Account,
    pub scopes: BTreeSet<Scope>,
    pub label: String,
    pub lifetime: Option<Duration>,
}

impl KeyPlan {
    /// Stores a new key and prints it.
    pub(super) async fn make(self, store: &Store, pepper: &Pepper, output: OutputArgs) -> anyhow::Result<()> {
        let key = ApiKeyText::from_random(self.account.sandbox, rand::random(), rand::random());
        store
            .insert_api_key(&NewApiKey {
                id: &key.id,
                account: self.account,
                secret_hmac: &key.hmac(pepper),
                scopes: &self.scopes,
                label: &self.label,
                lifetime: self.lifetime,
            })
            .await?;
        print_key(&key, output)
    }
}

pub(super) async fn make(args: KeyArgs) -> anyhow::Result<()> {
    if !tenant::is_label(&args.label) {
        bail!("--label must have at most 100 characters, without U+0000");
    }
    let pepper = args.pepper.pepper()?;
    let (store, tenant_id) = args.of.find().await?;
    let scopes = if args.scopes.is_empty() { Scope::ALL.to_vec() } else { args.scopes };
    let lifetime = args.days.map(|days| Duration::from_hours(24 * u64::from(days)));
    let account = Account { tenant_id, sandbox: args.test };
    let new = KeyPlan { account, scopes: scopes.into_iter().collect(), label: args.label, lifetime };
    new.make(&store, &pepper, args.output).await
}

pub(super) async fn list(store: &Store, tenant: TenantId, output: OutputArgs) -> anyhow::Result<()> {
    let mut table = table(["ID", "ENVIRONMENT", "SCOPES", "LABEL", "CREATED", "EXPIRES", "REVOKED"]);
    let mut documents = Vec::new();
    for key in store.list_api_keys(tenant).await? {
        let environment = if key.sandbox { "test" } else { "live" };
        documents.push(json!({
            "id": key.id,
            "label": key.label,
            "environment": environment,
            "scopes": key.scopes,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
        }));
        table.add_row([
            key.id,
            environment.to_owned(),
            key.scopes.join(" "),
            key.label,
            time(key.created_at),
            key.expires_at.map(time).unwrap_or_default(),
            key.revoked_at.map(time).unwrap_or_default(),
        ]);
    }
    output.print(&json!({ "keys": documents }), || table.to_string())
}

pub(super) async fn rotate(args: RotateArgs) -> anyhow::Result<()> {
    let pepper = args.pepper.pepper()?;
    let (store, tenant) = args.of.find().await?;
    let (organisation, id) = (&args.of.organisation, &args.id);
    let old = store.list_api_keys(tenant).await?.into_iter().find(|key| key.id == *id);
    let old = old.with_context(|| format!("{organisation} has no API key {id}"))?;
    let new = ApiKeyText::from_random(old.sandbox, rand::random(), rand::random());
    let grace = Duration::from_hours(u64::from(args.grace_hours));
    match store.rotate_api_key(tenant, id, &new.id, &new.hmac(&pepper), grace).await? {
        KeyRotation::Done => print_key(&new, args.output),
        KeyRotation::NoSuchKey => bail!("the API key {id} has ended: make a new one with `tenant key`"),
        KeyRotation::TwoLive => {
            bail!("this key and its predecessor are both valid: revoke one, or wait until the older one ends")
        }
    }
}

pub(super) async fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    let (store, tenant) = args.of.find().await?;
    if !store.revoke_api_key(tenant, &args.id).await? {
        bail!("{} has no API key {}", args.of.organisation, args.id);
    }
    args.output.print(&json!({ "id": args.id, "revoked": true }), String::new)
}

/// In text the key stands alone on its line, so that a shell can take it.
fn print_key(key: &ApiKeyText, output: OutputArgs) -> anyhow::Result<()> {
    output.print(&json!({ "id": key.id, "key": key.reveal() }), || key.reveal())
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| "must be submit, read, erase, billing or webhooks".to_owned())
}
