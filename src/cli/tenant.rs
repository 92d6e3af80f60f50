//! `visavis tenant`: organisations and their API keys.

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::config::{DatabaseArgs, PepperArgs};
use crate::domain::api_key::ApiKeyText;
use crate::domain::ids::TenantId;
use crate::domain::pepper::Pepper;
use crate::store::Store;

#[derive(Subcommand)]
pub(super) enum TenantCommand {
    /// Make an organisation and print its first API key
    Create(CreateArgs),
    /// Print a further API key of an organisation
    Key(KeyArgs),
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
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

#[derive(Args)]
pub(super) struct KeyArgs {
    /// The organisation
    #[arg(long)]
    name: String,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pepper: PepperArgs,
}

pub(super) async fn run(command: TenantCommand) -> anyhow::Result<()> {
    match command {
        TenantCommand::Create(args) => {
            check_name(&args.name)?;
            let pepper = args.pepper.pepper()?;
            let store = args.database.store().await?;
            if let Some(user) = &args.amqp_user {
                let (owner, named) =
                    (store.find_tenant_by_amqp_user(user).await?.map(|it| it.0), store.find_tenant(&args.name).await?);
                match (owner, named) {
                    (Some(owner), named) if named != Some(owner) => {
                        bail!("another organisation has the broker user {user}")
                    }
                    (None, Some(_)) => bail!("the organisation {} exists, with another broker user", args.name),
                    _ => {}
                }
            }
            match store.insert_tenant(&args.name, args.amqp_user.as_deref()).await? {
                Some(tenant) => print_new_key(&store, &pepper, tenant).await,
                None if args.if_missing => Ok(()),
                None => bail!("an organisation named {} exists", args.name),
            }
        }
        TenantCommand::Key(args) => {
            let pepper = args.pepper.pepper()?;
            let store = args.database.store().await?;
            let tenant = store.find_tenant(&args.name).await?;
            let tenant = tenant.with_context(|| format!("there is no organisation named {}", args.name))?;
            print_new_key(&store, &pepper, tenant).await
        }
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || !name.chars().all(fits) || name.starts_with('-') {
        bail!("--name must be 1 to 63 lower-case letters, digits and hyphens, and not begin with a hyphen");
    }
    Ok(())
}

async fn print_new_key(store: &Store, pepper: &Pepper, tenant: TenantId) -> anyhow::Result<()> {
    let random = SystemRandom::new();
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    let filled = random.fill(&mut id).and_then(|()| random.fill(&mut secret));
    filled.map_err(|_| anyhow!("the system gives no random bytes"))?;
    let key = ApiKeyText::from_random(id, secret);
    store.insert_api_key(&key.id, tenant, &key.hmac(pepper)).await?;
    println!("{}", key.reveal());
    Ok(())
}
