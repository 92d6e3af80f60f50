//! `visavis tenant`: organisations and their settings.

mod keys;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::organisation::OrganisationArgs;
use super::output::{OutputArgs, table};
use crate::config::{DatabaseArgs, PepperArgs};
use crate::domain::ids::TenantId;
use crate::domain::tenant::{self, Account, Scope, TenantSettings};
use crate::store::Store;
use crate::store::tenants::{TenantChange, TenantView};

#[derive(Subcommand)]
pub(super) enum TenantCommand {
    /// Make an organisation and print its first API key
    Create(CreateArgs),
    /// List all organisations
    List(TenantListArgs),
    /// Show the settings of an organisation
    Show(NamedArgs),
    /// Change settings, such as `approved=false requests_per_minute=600 retention_hours=48 mode=null`
    Set(SetArgs),
    /// Make a further API key for an organisation and print it
    Key(keys::KeyArgs),
    /// List the API keys of an organisation, without their secrets
    Keys(NamedArgs),
    /// Print a successor of an API key; the old key stays valid for a grace period
    RotateKey(keys::RotateArgs),
    /// End an API key at once
    RevokeKey(keys::RevokeArgs),
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// Name of the new organisation: lower-case letters, digits and hyphens
    // `--name` is the spelling of version 0.1. It goes with the next release.
    #[arg(long, alias = "name")]
    organisation: String,
    /// Broker user whose submissions belong to this organisation
    #[arg(long)]
    amqp_user: Option<String>,
    /// Succeed without a new key when the organisation exists
    #[arg(long)]
    if_missing: bool,
    /// Refuse its submissions until `tenant set approved=true`
    #[arg(long)]
    unapproved: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

#[derive(Args)]
pub(super) struct TenantListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct NamedArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
}

#[derive(Args)]
pub(super) struct SetArgs {
    /// setting=value, the value in JSON; quotes around single words may be left out; null restores the default
    #[arg(required = true)]
    settings: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    of: OrganisationArgs,
}

pub(super) async fn run(command: TenantCommand) -> anyhow::Result<()> {
    match command {
        TenantCommand::Create(args) => create(args).await,
        TenantCommand::List(args) => list(&args).await,
        TenantCommand::Show(args) => {
            let (store, tenant) = args.of.find().await?;
            show(&store, tenant, args.output).await
        }
        TenantCommand::Set(args) => set(args).await,
        TenantCommand::Key(args) => keys::make(args).await,
        TenantCommand::Keys(args) => {
            let (store, tenant) = args.of.find().await?;
            keys::list(&store, tenant, args.output).await
        }
        TenantCommand::RotateKey(args) => keys::rotate(args).await,
        TenantCommand::RevokeKey(args) => keys::revoke(args).await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let name = &args.organisation;
    check_name(name)?;
    let pepper = args.pepper.pepper()?;
    let store = args.database.store().await?;
    if let Some(user) = &args.amqp_user {
        let owner = store.find_tenant_by_amqp_user(user).await?.map(|(tenant, ..)| tenant);
        let named = store.find_tenant(name).await?;
        match (owner, named) {
            (Some(owner), named) if named != Some(owner) => bail!("another organisation has the broker user {user}"),
            (None, Some(_)) => bail!("the organisation {name} exists, with another broker user"),
            _ => {}
        }
    }
    let settings = TenantSettings { approved: !args.unapproved, ..TenantSettings::default() };
    let change = TenantChange { amqp_user: args.amqp_user, retention_seconds: None, settings: Some(settings) };
    match store.insert_tenant(name, &change).await? {
        Some(tenant) => {
            let account = Account::live(tenant);
            let new = keys::KeyPlan {
                account,
                scopes: Scope::ALL.iter().copied().collect(),
                label: "first".to_owned(),
                lifetime: None,
            };
            new.make(&store, &pepper, args.output).await
        }
        None if args.if_missing => args.output.print(&json!({ "id": null, "key": null }), String::new),
        None => bail!("an organisation named {name} exists"),
    }
}

/// The organisation with the field names of the admin API.
fn document(view: &TenantView) -> Value {
    json!({
        "id": view.id,
        "name": view.name,
        "amqp_user": view.amqp_user,
        "retention_hours": view.retention_seconds / 3600,
        "settings": view.settings.fields(),
        "created_at": view.created_at,
    })
}

async fn list(args: &TenantListArgs) -> anyhow::Result<()> {
    let store = args.database.store().await?;
    let mut table = table(["NAME", "ID", "APPROVED", "SERVICES", "BROKER USER"]);
    let (mut documents, mut after) = (Vec::new(), String::new());
    loop {
        let page = store.list_tenants(&after, 500).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.name);
        for tenant in page {
            documents.push(document(&tenant));
            let services = tenant.settings.services.iter().map(|service| service.name()).collect::<Vec<_>>().join(" ");
            let approved = if tenant.settings.approved { "yes" } else { "no" };
            let user = tenant.amqp_user.unwrap_or_default();
            table.add_row([tenant.name, tenant.id.to_string(), approved.to_owned(), services, user]);
        }
    }
    args.output.print(&json!({ "organisations": documents }), || table.to_string())
}

async fn show(store: &Store, tenant: TenantId, output: OutputArgs) -> anyhow::Result<()> {
    let tenant = store.show_tenant(tenant).await?.context("the organisation was deleted meanwhile")?;
    output.print(&document(&tenant), || {
        let user = tenant.amqp_user.as_deref().unwrap_or_default();
        let hours = tenant.retention_seconds / 3600;
        let mut lines = vec![
            format!("name={}", tenant.name),
            format!("id={}", tenant.id),
            format!("amqp_user={user}"),
            format!("retention_hours={hours}"),
        ];
        lines.extend(tenant.settings.fields().iter().map(|(setting, value)| format!("{setting}={value}")));
        lines.extend(
            tenant
                .settings
                .foreign
                .iter()
                .map(|(setting, value)| format!("# stored by a newer version, and kept as it is: {setting}={value}")),
        );
        lines.join("\n")
    })
}

async fn set(args: SetArgs) -> anyhow::Result<()> {
    let (store, tenant) = args.of.find().await?;
    change(&store, tenant, &args.settings).await?;
    show(&store, tenant, args.output).await
}

async fn change(store: &Store, tenant: TenantId, settings: &[String]) -> anyhow::Result<()> {
    let (mut change, mut patch) = (TenantChange::default(), Map::new());
    for setting in settings {
        let (name, value) = setting.split_once('=').with_context(|| format!("{setting} is not setting=value"))?;
        match name {
            "amqp_user" => change.amqp_user = Some(value.to_owned()),
            "retention_hours" => {
                let hours = value.parse::<i64>().ok().filter(|hours| tenant::RETENTION_HOURS.contains(hours));
                change.retention_seconds = Some(hours.context("retention_hours must be 1 to 720")? * 3600);
            }
            _ => {
                let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
                patch.insert(name.to_owned(), value);
            }
        }
    }
    let changed = store.change_tenant(tenant, |now| {
        if !patch.is_empty() {
            change.settings = Some(now.settings.merged(&patch)?);
        }
        anyhow::Ok(change)
    });
    changed.await?.context("the organisation was deleted meanwhile")?;
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    if !tenant::is_name(name) {
        bail!("--organisation must have 1 to 63 lower-case letters, digits and hyphens, and no hyphen at its start");
    }
    Ok(())
}
