//! `visavis tenant`: organisations, what is set for them, and their API keys.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Map, Value};

use crate::config::{DatabaseArgs, PepperArgs};
use crate::domain::api_key::ApiKeyText;
use crate::domain::ids::TenantId;
use crate::domain::pepper::Pepper;
use crate::domain::tenant::{Account, Scope, TenantSettings};
use crate::store::Store;
use crate::store::api_keys::{KeyRotation, NewApiKey};
use crate::store::tenants::TenantChange;

#[derive(Subcommand)]
pub(super) enum TenantCommand {
    /// Make an organisation and print its first API key
    Create(CreateArgs),
    /// List organisations
    List(DatabaseArgs),
    /// Print what is set for an organisation
    Show(NamedArgs),
    /// Change settings: `approved=false requests_per_minute=600 services='["id_match"]' retention_hours=48 mode=null`
    Set(SetArgs),
    /// Print a further API key of an organisation
    Key(KeyArgs),
    /// List an organisation's API keys
    Keys(NamedArgs),
    /// Print a successor of an API key, which itself lives on for a while
    RotateKey(RotateArgs),
    /// End an API key at once
    RevokeKey(RevokeArgs),
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// Lower-case letters, digits and hyphens
    #[arg(long)]
    name: String,
    /// Broker user whose submissions belong to this organisation
    #[arg(long)]
    amqp_user: Option<String>,
    /// Print nothing and succeed when the organisation exists
    #[arg(long)]
    if_missing: bool,
    /// It may submit nothing until `tenant set approved=true`
    #[arg(long)]
    unapproved: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

#[derive(Args)]
pub(super) struct NamedArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct SetArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    /// setting=value; values as in JSON, quotes around plain words may be left out; null: the default
    #[arg(required = true)]
    settings: Vec<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args)]
pub(super) struct KeyArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    /// A key for the sandbox: its jobs use no models and cost nothing
    #[arg(long)]
    test: bool,
    /// What it may be used for: submit, read, erase, billing, webhooks [default: everything]
    #[arg(long, value_delimiter = ',', value_parser = parse_scope)]
    scopes: Vec<Scope>,
    /// For people, to tell keys apart
    #[arg(long, default_value = "")]
    label: String,
    /// Days until it ends [default: never]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

#[derive(Args)]
pub(super) struct RotateArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    /// The key's id: the 16 characters after `vv_live_`
    #[arg(long)]
    id: String,
    /// Hours that the old key lives on
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=720))]
    grace_hours: u32,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

#[derive(Args)]
pub(super) struct RevokeArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    /// The key's id: the 16 characters after `vv_live_`
    #[arg(long)]
    id: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(command: TenantCommand) -> anyhow::Result<()> {
    match command {
        TenantCommand::Create(args) => create(args).await,
        TenantCommand::List(args) => list(&args.store().await?).await,
        TenantCommand::Show(args) => {
            let store = args.database.store().await?;
            show(&store, find(&store, &args.name).await?).await
        }
        TenantCommand::Set(args) => set(args).await,
        TenantCommand::Key(args) => key(args).await,
        TenantCommand::Keys(args) => {
            let store = args.database.store().await?;
            keys(&store, find(&store, &args.name).await?).await
        }
        TenantCommand::RotateKey(args) => rotate(args).await,
        TenantCommand::RevokeKey(args) => {
            let store = args.database.store().await?;
            let tenant = find(&store, &args.name).await?;
            if !store.revoke_api_key(tenant, &args.id).await? {
                bail!("{} has no API key {}", args.name, args.id);
            }
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    check_name(&args.name)?;
    let pepper = args.pepper.pepper()?;
    let store = args.database.store().await?;
    if let Some(user) = &args.amqp_user {
        let owner = store.find_tenant_by_amqp_user(user).await?.map(|it| it.0);
        let named = store.find_tenant(&args.name).await?;
        match (owner, named) {
            (Some(owner), named) if named != Some(owner) => bail!("another organisation has the broker user {user}"),
            (None, Some(_)) => bail!("the organisation {} exists, with another broker user", args.name),
            _ => {}
        }
    }
    let settings = TenantSettings { approved: !args.unapproved, ..TenantSettings::default() };
    let change = TenantChange { amqp_user: args.amqp_user, retention_seconds: None, settings: Some(settings) };
    match store.insert_tenant_with(&args.name, &change).await? {
        Some(tenant) => {
            print_new_key(&store, &pepper, Account::live(tenant), &Scope::ALL.iter().copied().collect(), "first", None)
                .await
        }
        None if args.if_missing => Ok(()),
        None => bail!("an organisation named {} exists", args.name),
    }
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["NAME", "ID", "APPROVED", "SERVICES", "BROKER USER"]);
    let mut after = String::new();
    loop {
        let page = store.list_tenants(&after, 500).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.name);
        for it in page {
            let services = it.settings.services.iter().map(|it| it.name()).collect::<Vec<_>>().join(" ");
            let approved = if it.settings.approved { "yes" } else { "no" };
            table.add_row([
                it.name,
                it.id.to_string(),
                approved.to_owned(),
                services,
                it.amqp_user.unwrap_or_default(),
            ]);
        }
    }
    println!("{table}");
    Ok(())
}

async fn show(store: &Store, tenant: TenantId) -> anyhow::Result<()> {
    let it = store.show_tenant(tenant).await?.context("the organisation is gone")?;
    println!("name={}\nid={}\namqp_user={}", it.name, it.id, it.amqp_user.unwrap_or_default());
    println!("retention_hours={}", it.retention_seconds / 3600);
    for (setting, value) in it.settings.fields() {
        println!("{setting}={value}");
    }
    Ok(())
}

async fn set(args: SetArgs) -> anyhow::Result<()> {
    let store = args.database.store().await?;
    let tenant = find(&store, &args.name).await?;
    change(&store, tenant, &args.settings).await?;
    show(&store, tenant).await
}

async fn change(store: &Store, tenant: TenantId, settings: &[String]) -> anyhow::Result<()> {
    let (mut change, mut patch) = (TenantChange::default(), Map::new());
    for setting in settings {
        let (name, value) = setting.split_once('=').with_context(|| format!("{setting} is not setting=value"))?;
        match name {
            "amqp_user" => change.amqp_user = Some(value.to_owned()),
            "retention_hours" => {
                let hours = value.parse::<i64>().ok().filter(|it| (1..=720).contains(it));
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
    changed.await?.context("the organisation is gone")?;
    Ok(())
}

async fn key(args: KeyArgs) -> anyhow::Result<()> {
    let pepper = args.pepper.pepper()?;
    let store = args.database.store().await?;
    let account = Account { tenant_id: find(&store, &args.name).await?, sandbox: args.test };
    let scopes =
        if args.scopes.is_empty() { Scope::ALL.iter().copied().collect() } else { args.scopes.into_iter().collect() };
    let lifetime = args.days.map(|days| Duration::from_hours(24 * u64::from(days)));
    print_new_key(&store, &pepper, account, &scopes, &args.label, lifetime).await
}

async fn keys(store: &Store, tenant: TenantId) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "ID",
        "ENVIRONMENT",
        "SCOPES",
        "LABEL",
        "CREATED",
        "EXPIRES",
        "REVOKED",
    ]);
    let time = |it: chrono::DateTime<chrono::Utc>| it.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    for it in store.list_api_keys(tenant).await? {
        let environment = if it.sandbox { "test" } else { "live" };
        table.add_row([
            it.id,
            environment.to_owned(),
            it.scopes.join(" "),
            it.label,
            time(it.created_at),
            it.expires_at.map(time).unwrap_or_default(),
            it.revoked_at.map(time).unwrap_or_default(),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn rotate(args: RotateArgs) -> anyhow::Result<()> {
    let pepper = args.pepper.pepper()?;
    let store = args.database.store().await?;
    let tenant = find(&store, &args.name).await?;
    let old = store.list_api_keys(tenant).await?.into_iter().find(|it| it.id == args.id);
    let old = old.with_context(|| format!("{} has no API key {}", args.name, args.id))?;
    let new = ApiKeyText::from_random(old.sandbox, rand::random(), rand::random());
    let grace = Duration::from_hours(u64::from(args.grace_hours));
    match store.rotate_api_key(tenant, &args.id, &new.id, &new.hmac(&pepper), grace).await? {
        KeyRotation::Done => println!("{}", new.reveal()),
        KeyRotation::NoSuchKey => bail!("the API key {} has ended already: make a new one with `tenant key`", args.id),
        KeyRotation::TwoLive => {
            bail!("two keys of this family live already: revoke one, or wait until the older one ends")
        }
    }
    Ok(())
}

async fn find(store: &Store, name: &str) -> anyhow::Result<TenantId> {
    store.find_tenant(name).await?.with_context(|| format!("there is no organisation named {name}"))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || !name.chars().all(fits) || name.starts_with('-') {
        bail!("--name must be 1 to 63 lower-case letters, digits and hyphens, and not begin with a hyphen");
    }
    Ok(())
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| "must be submit, read, erase or billing".to_owned())
}

async fn print_new_key(
    store: &Store,
    pepper: &Pepper,
    account: Account,
    scopes: &BTreeSet<Scope>,
    label: &str,
    lifetime: Option<Duration>,
) -> anyhow::Result<()> {
    let key = ApiKeyText::from_random(account.sandbox, rand::random(), rand::random());
    let hmac = key.hmac(pepper);
    store.insert_api_key(&NewApiKey { id: &key.id, account, secret_hmac: &hmac, scopes, label, lifetime }).await?;
    println!("{}", key.reveal());
    Ok(())
}
