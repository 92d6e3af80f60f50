//! Settings of a deployment, by flag or environment variable; the only room that knows their names.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use tracing::{info, warn};

use crate::domain::evidence::Mode;
use crate::domain::pepper::Pepper;
use crate::domain::rates::Rates;
use crate::domain::request::Defaults;
use crate::identity::settings::{self, Secrets};
use crate::identity::{Registry, Sources};
use crate::intake::Intake;
use crate::keys::Keyring;
use crate::media::{BlobStore, Media, S3Settings};
use crate::net::Guard;
use crate::queue::connection::Broker;
use crate::store::Store;
use crate::telemetry::LogFormat;
use crate::video::{Frames, VideoParams};
use crate::vision::provider::{self, ProviderChoice};
use crate::vision::{Pack, PackRegistry, Runtime};
use crate::webhooks::DispatcherSettings;

/// Where Postgres is.
#[derive(Args, Clone)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// Postgres: <postgres://user:password@host/database>
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Connections that this process may hold
    #[arg(long, env = "VISAVIS_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections: u32,
}

impl DatabaseArgs {
    /// The store, its schema as this version needs it.
    ///
    /// # Errors
    /// When Postgres does not answer, or `visavis migrate` was not run.
    pub async fn store(&self) -> anyhow::Result<Store> {
        let store = self.connect().await?;
        if !store.is_migrated().await? {
            bail!("the database's schema is not of this version: run `visavis migrate`");
        }
        Ok(store)
    }

    /// The store, whatever its schema.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn connect(&self) -> anyhow::Result<Store> {
        let store = Store::connect(&self.database_url, self.database_connections).await;
        store.context("cannot use the database that DATABASE_URL names")
    }
}

/// Where `RabbitMQ` is.
#[derive(Args, Clone)]
#[command(next_help_heading = "Broker")]
pub struct BrokerArgs {
    /// `RabbitMQ`: <amqp://user:password@host/vhost>
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: String,
}

impl BrokerArgs {
    /// # Errors
    /// When the URL is malformed.
    pub fn broker(&self) -> anyhow::Result<Broker> {
        Ok(Broker::parse(&self.amqp_url)?)
    }
}

/// The secret behind all keyed hashes.
#[derive(Args, Clone)]
#[command(next_help_heading = "Secrets")]
pub struct PepperArgs {
    /// Secret behind keyed hashes: at least 32 bytes in Base64
    #[arg(long, env = "VISAVIS_KEY_PEPPER", hide_env_values = true)]
    pub key_pepper: String,
}

impl PepperArgs {
    /// # Errors
    /// When it is malformed or too short.
    pub fn pepper(&self) -> anyhow::Result<Pepper> {
        Pepper::parse(&self.key_pepper).context("VISAVIS_KEY_PEPPER must be at least 32 bytes in Base64")
    }
}

/// What stores submissions.
#[derive(Args, Clone)]
pub struct IntakeArgs {
    #[command(flatten)]
    pub pepper: PepperArgs,
    /// Master keys for images: name:base64[,name:base64...], 32 bytes each; the first encrypts, all decrypt
    #[arg(long, help_heading = "Secrets", env = "VISAVIS_MASTER_KEYS", hide_env_values = true)]
    pub master_keys: String,
    /// Where the encrypted images are: a folder, or <s3://bucket/prefix>
    #[arg(long, help_heading = "Images and requests", env = "VISAVIS_BLOBS")]
    pub blobs: String,
    #[command(flatten)]
    pub s3: S3Args,
    /// Mode of requests that name none: FAST or ACCURATE
    #[arg(long, help_heading = "Images and requests", env = "VISAVIS_MODE", default_value = "ACCURATE", value_parser = parse_mode)]
    pub mode: Mode,
}

impl IntakeArgs {
    /// # Errors
    /// When a secret is malformed or the folder cannot be used.
    pub fn intake(&self, store: Store) -> anyhow::Result<Intake> {
        let media = Media::new(self.blob_store()?, Keyring::parse(&self.master_keys)?);
        let defaults = Defaults { mode: self.mode, ..Defaults::default() };
        Ok(Intake { store, media, pepper: self.pepper.pepper()?, defaults })
    }

    fn blob_store(&self) -> anyhow::Result<BlobStore> {
        let Some(place) = self.blobs.strip_prefix("s3://") else {
            return Ok(BlobStore::folder(Path::new(&self.blobs))?);
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            bail!("VISAVIS_BLOBS must name a bucket: s3://bucket/prefix");
        }
        let given = |value: &Option<String>, name| value.clone().with_context(|| format!("{name} is not set"));
        Ok(BlobStore::s3(&S3Settings {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            endpoint: self.s3.s3_endpoint.clone(),
            region: self.s3.s3_region.clone(),
            access_key_id: given(&self.s3.s3_access_key_id, "AWS_ACCESS_KEY_ID")?,
            secret_access_key: given(&self.s3.s3_secret_access_key, "AWS_SECRET_ACCESS_KEY")?,
            session_token: self.s3.s3_session_token.clone(),
        })?)
    }
}

/// How to reach a bucket; read when `VISAVIS_BLOBS` names one.
#[derive(Args, Clone)]
#[command(next_help_heading = "Bucket")]
pub struct S3Args {
    /// A server other than Amazon's: <https://host>; http on this machine alone
    #[arg(long, env = "VISAVIS_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub s3_region: String,
    /// Access key of the bucket
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub s3_access_key_id: Option<String>,
    /// Its secret
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub s3_secret_access_key: Option<String>,
    /// Of temporary credentials
    #[arg(long, env = "AWS_SESSION_TOKEN", hide_env_values = true)]
    pub s3_session_token: Option<String>,
}

/// Where the models and their runtime are.
#[derive(Args, Clone)]
#[command(next_help_heading = "Models")]
pub struct VisionArgs {
    /// Folder of the model pack
    #[arg(long, env = "VISAVIS_MODELS", default_value = "models")]
    pub models: PathBuf,
    /// Folder of optional packs that were pulled
    #[arg(long, env = "VISAVIS_PACKS", default_value = ".local/packs")]
    pub packs: PathBuf,
    /// Optional packs that replace parts of the default one, such as yunet,mobilefacenet; each must have been pulled
    #[arg(long, env = "VISAVIS_USE_PACKS", value_delimiter = ',', value_name = "PACKS")]
    pub use_packs: Vec<String>,
    /// Where networks compute: cpu, another provider, which then is required, or auto, the best that works
    #[arg(long, env = "VISAVIS_PROVIDER", default_value = "cpu")]
    pub provider: ProviderChoice,
    /// ONNX Runtime's shared library [default: beside the binary, then .local/lib, /usr/local/lib, /usr/lib]
    #[arg(long, env = "VISAVIS_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
}

impl VisionArgs {
    /// The packs that there are.
    #[must_use]
    pub fn registry(&self) -> PackRegistry {
        PackRegistry::new(&self.models, &self.packs)
    }

    /// The default pack, with the optional packs that are used.
    ///
    /// # Errors
    /// When a pack is unknown or was not pulled, or a file is not the one that its description names.
    pub fn pack(&self) -> anyhow::Result<Pack> {
        Ok(self.registry().load(&self.use_packs)?)
    }

    /// The ONNX Runtime, with the provider on which `pack` is to compute.
    ///
    /// # Errors
    /// When the library or the provider that was asked for is not there.
    pub fn runtime(&self, pack: &Pack) -> anyhow::Result<Runtime> {
        Ok(provider::choose(self.provider, &Runtime::load(&self.runtime_path()?)?, pack)?)
    }

    /// What the calibrations in use were measured at; nothing where there is no usable pack, as it may be beside an API.
    ///
    /// # Errors
    /// When packs are named and cannot be used.
    pub fn rates(&self) -> anyhow::Result<Option<Rates>> {
        let scorers = match self.registry().scorers(&self.use_packs) {
            Ok(scorers) => scorers,
            Err(error) if self.use_packs.is_empty() => {
                warn!(%error, "thresholds by false match rate are refused here");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Rates::new(scorers.fast.calibration, scorers.accurate.calibration)))
    }

    /// The library named, or the first that is found, as an absolute path.
    ///
    /// # Errors
    /// When none is there.
    fn runtime_path(&self) -> anyhow::Result<PathBuf> {
        const NAME: &str = "libonnxruntime.so";
        let candidates = if let Some(path) = &self.onnxruntime {
            vec![path.clone()]
        } else {
            let beside = std::env::current_exe().ok().and_then(|it| it.parent().map(|it| it.join(NAME)));
            let folders = [".local/lib", "/usr/local/lib", "/usr/lib"];
            beside.into_iter().chain(folders.map(|it| Path::new(it).join(NAME))).collect()
        };
        let found = candidates.iter().find(|path| path.is_file());
        let found = found.with_context(|| {
            let tried = candidates.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", ");
            format!("ONNX Runtime was not found at {tried}: run ./dev setup, or set VISAVIS_ONNXRUNTIME")
        })?;
        found.canonicalize().with_context(|| format!("cannot use {}", found.display()))
    }
}

/// What takes frames out of videos.
#[derive(Args, Clone)]
#[command(next_help_heading = "Videos")]
pub struct VideoArgs {
    /// The program ffmpeg [default: /usr/bin/ffmpeg, then /usr/local/bin/ffmpeg; without one, jobs with a video fail]
    #[arg(long, env = "VISAVIS_FFMPEG")]
    pub ffmpeg: Option<PathBuf>,
}

impl VideoArgs {
    /// # Errors
    /// When the program that was named is not there.
    pub fn frames(&self) -> anyhow::Result<Frames> {
        let found = if let Some(path) = &self.ffmpeg {
            Some(path.canonicalize().with_context(|| format!("VISAVIS_FFMPEG: {}", path.display()))?)
        } else {
            ["/usr/bin/ffmpeg", "/usr/local/bin/ffmpeg"].map(PathBuf::from).into_iter().find(|it| it.is_file())
        };
        if let Some(path) = &found {
            info!(ffmpeg = %path.display(), "videos are read");
        } else {
            warn!("no ffmpeg was found: jobs with a video will fail");
        }
        Ok(Frames::new(found, VideoParams::default()))
    }
}

/// Whom this process may call.
#[derive(Args, Clone)]
#[command(next_help_heading = "Outgoing calls")]
pub struct OutgoingArgs {
    /// For development only: let outgoing calls reach this machine, by plain HTTP and on any port
    #[arg(long, env = "VISAVIS_ALLOW_LOOPBACK_TARGETS", value_parser = BoolishValueParser::new())]
    pub allow_loopback_targets: bool,
}

impl OutgoingArgs {
    /// Says so loudly where the guard is lax.
    #[must_use]
    pub fn guard(&self) -> Guard {
        if self.allow_loopback_targets {
            tracing::warn!("VISAVIS_ALLOW_LOOPBACK_TARGETS is set: outgoing calls may reach this machine");
            Guard::with_loopback()
        } else {
            Guard::strict()
        }
    }
}

/// How events are delivered.
#[derive(Args, Clone)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// Seconds that one attempt of a delivery may take
    #[arg(long, env = "VISAVIS_WEBHOOK_TIMEOUT", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub webhook_timeout: u64,
    /// Attempts that this process makes at once
    #[arg(long, env = "VISAVIS_WEBHOOK_PLACES", default_value = "256")]
    pub webhook_places: NonZeroU32,
}

impl WebhookArgs {
    #[must_use]
    pub fn settings(&self) -> DispatcherSettings {
        DispatcherSettings { places: self.webhook_places, timeout: Duration::from_secs(self.webhook_timeout) }
    }
}

/// Where identity records come from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Identity records")]
pub struct IdentityArgs {
    /// TOML file that names the source of each ID type [default: the registry for all of them]
    #[arg(long, env = "VISAVIS_IDENTITY_SOURCES")]
    pub identity_sources: Option<PathBuf>,
}

impl IdentityArgs {
    /// # Errors
    /// When the file is malformed, or a secret that it names is not there.
    pub fn sources(&self, intake: &Intake, guard: Guard) -> anyhow::Result<Sources> {
        let registry = Registry::new(intake.store.clone(), intake.media.clone(), intake.pepper.clone());
        let Some(path) = &self.identity_sources else { return Ok(Sources::registry_only(registry)) };
        let wrong = || format!("VISAVIS_IDENTITY_SOURCES: {}", path.display());
        let text = std::fs::read_to_string(path).with_context(wrong)?;
        let secrets = Secrets { env: &variable, folder: path.parent().unwrap_or(Path::new("")) };
        let sources = settings::parse(&text, &secrets).and_then(|it| Sources::new(it, registry, guard));
        sources.with_context(wrong)
    }
}

#[expect(clippy::disallowed_methods, reason = "the variables that a file of settings names are known here alone")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How `serve` runs.
#[derive(Args, Clone)]
pub struct ServeArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub intake: IntakeArgs,
    #[command(flatten)]
    pub vision: VisionArgs,
    #[command(flatten)]
    pub video: VideoArgs,
    #[command(flatten)]
    pub api: ApiArgs,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub outgoing: OutgoingArgs,
    #[command(flatten)]
    pub webhooks: WebhookArgs,
    /// Address of the HTTP API: an IP address and a port
    #[arg(long, help_heading = "HTTP API", env = "VISAVIS_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// What clients see of the HTTP API, for URLs of images [default: <http://LISTEN>]
    #[arg(long, help_heading = "HTTP API", env = "VISAVIS_PUBLIC_URL", value_parser = parse_public_url)]
    pub public_url: Option<String>,
    /// A file to write once every role runs: the address of the HTTP API, or an empty line without that role
    #[arg(long, help_heading = "HTTP API", env = "VISAVIS_READY_FILE")]
    pub ready_file: Option<PathBuf>,
    /// Compute threads [default: one a core]
    #[arg(long, help_heading = "Work", env = "VISAVIS_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Doorbells that may wait in a lane's queue; the rest of the backlog stays in Postgres
    #[arg(long, help_heading = "Work", env = "VISAVIS_LANE_DEPTH", default_value_t = 48)]
    pub lane_depth: u32,
}

/// How the HTTP API meets the world.
#[derive(Args, Clone)]
#[command(next_help_heading = "HTTP API")]
pub struct ApiArgs {
    /// Token of the admin API, at least 32 characters; without it there is none
    #[arg(long, env = "VISAVIS_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// Origins whose browsers may call, such as <https://app.example.com>; none by default
    #[arg(long, env = "VISAVIS_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// MiB of request bodies that may be in memory at once
    #[arg(long, env = "VISAVIS_BODY_BUDGET", default_value_t = 512)]
    pub body_budget: usize,
}

/// How this process logs.
#[derive(Args, Clone)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// Filter of log lines, such as info or visavis=debug,info
    #[arg(long, env = "VISAVIS_LOG", default_value = "info,lapin=off,ort=error", global = true)]
    pub log: String,
    /// Look of log lines
    #[arg(long, env = "VISAVIS_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text.to_ascii_uppercase().as_str() {
        "FAST" => Ok(Mode::Fast),
        "ACCURATE" => Ok(Mode::Accurate),
        _ => Err("must be FAST or ACCURATE".to_owned()),
    }
}

fn parse_public_url(text: &str) -> Result<String, String> {
    let good = url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none()
    });
    if good {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("must be https://host, or http://host".to_owned())
    }
}
