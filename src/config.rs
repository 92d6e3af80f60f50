//! Settings of a deployment, by flag or environment variable. No other room knows their names.
//!
//! The help texts are also the table of `visavis docs configuration`, and what is printed when a setting is missing.

mod places;

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use tracing::{info, warn};

use crate::domain::evidence::Mode;
use crate::domain::pepper::Pepper;
use crate::domain::rates::Rates;
use crate::domain::request::Defaults;
use crate::identity::settings::{self, Secrets};
use crate::identity::{Registry, Sources};
use crate::intake::{Intake, JobsInFlight};
use crate::keys::Keyring;
use crate::media::{BlobStore, Media, S3Settings};
use crate::net::{Guard, trust};
use crate::queue::connection::Broker;
use crate::store::{PoolSizes, Store};
use crate::telemetry::LogFormat;
use crate::video::{Frames, VideoParams};
use crate::vision::provider_choice::{ProviderChoice, choose};
use crate::vision::{Pack, PackRegistry, Runtime};
use crate::webhooks::DispatcherSettings;
use places::Places;

/// Which database to use.
#[derive(Args, Clone)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// Postgres database, such as <postgres://visavis:password@localhost/visavis>; several hosts, as in
    /// <postgres://visavis:password@one:5432,two:5432/visavis>, are tried in turn until one can write
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Most connections to the database that keep jobs moving: submissions, workers, relay, webhooks
    #[arg(long, env = "VISAVIS_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections: u32,
    /// Most further connections for lists of the API, which may take up to 5 seconds each
    #[arg(long, env = "VISAVIS_DATABASE_READ_CONNECTIONS", default_value_t = 4)]
    pub database_read_connections: u32,
    /// Most further connections for the desk
    #[arg(long, env = "VISAVIS_DATABASE_DESK_CONNECTIONS", default_value_t = 4)]
    pub database_desk_connections: u32,
}

impl DatabaseArgs {
    /// The store. Its schema is the one that this version needs.
    ///
    /// # Errors
    /// When Postgres does not answer, or the schema is of another version.
    pub async fn store(&self) -> anyhow::Result<Store> {
        let store = self.connect().await?;
        if !store.is_migrated().await? {
            bail!("the database's schema belongs to another version of visavis: run `visavis migrate`");
        }
        Ok(store)
    }

    /// The store, without a look at its schema.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn connect(&self) -> anyhow::Result<Store> {
        if self.database_url.contains("sslmode=verify-") && !self.database_url.contains("sslrootcert=") {
            trust::check().context("DATABASE_URL asks for a verified TLS connection")?;
        }
        let sizes = PoolSizes {
            core: self.database_connections,
            reads: self.database_read_connections,
            desk: self.database_desk_connections,
        };
        let store = Store::connect(&self.database_url, sizes).await;
        store.context("cannot use the database that DATABASE_URL names")
    }
}

/// Which broker to use.
#[derive(Args, Clone)]
#[command(next_help_heading = "Broker")]
pub struct BrokerArgs {
    /// RabbitMQ broker, such as <amqp://visavis:password@localhost/%2f>
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: String,
}

impl BrokerArgs {
    /// The broker.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn broker(&self) -> anyhow::Result<Broker> {
        let broker = Broker::parse(&self.amqp_url)?;
        // Without TLS no certificates are needed.
        if self.amqp_url.starts_with("amqps:") {
            trust::check().context("AMQP_URL asks for a TLS connection")?;
        }
        Ok(broker)
    }
}

/// The secret behind all keyed hashes.
#[derive(Args, Clone)]
#[command(next_help_heading = "Secrets")]
pub struct PepperArgs {
    /// Secret key of all keyed hashes, at least 32 bytes in Base64, such as from `openssl rand -base64 32`
    #[arg(long, env = "VISAVIS_KEY_PEPPER", hide_env_values = true)]
    pub key_pepper: String,
}

impl PepperArgs {
    /// The pepper.
    ///
    /// # Errors
    /// When it is malformed or too short.
    pub fn pepper(&self) -> anyhow::Result<Pepper> {
        Pepper::parse(&self.key_pepper).context("VISAVIS_KEY_PEPPER must be at least 32 bytes in Base64")
    }
}

/// What a process needs to store submissions and their images.
#[derive(Args, Clone)]
pub struct IntakeArgs {
    #[command(flatten)]
    pub pepper: PepperArgs,
    /// Keys that encrypt images, as name:key pairs of 32 bytes in Base64, such as k1:$(openssl rand -base64 32);
    /// the first of several encrypts, all of them decrypt
    #[arg(long, help_heading = "Secrets", env = "VISAVIS_MASTER_KEYS", hide_env_values = true)]
    pub master_keys: String,
    /// Where encrypted images are kept: a folder such as /var/lib/visavis/blobs, or <s3://bucket/prefix>
    #[arg(long, help_heading = "Images and requests", env = "VISAVIS_BLOBS")]
    pub blobs: String,
    #[command(flatten)]
    pub s3: S3Args,
    /// Mode of requests that name no mode: FAST or ACCURATE
    #[arg(long, help_heading = "Images and requests", env = "VISAVIS_MODE", default_value = "ACCURATE", value_parser = parse_mode)]
    pub mode: Mode,
}

impl IntakeArgs {
    /// The submit path that HTTP and AMQP share.
    ///
    /// # Errors
    /// When a secret is malformed or the folder cannot be used.
    pub fn intake(&self, store: Store) -> anyhow::Result<Intake> {
        let media = Media::new(self.blob_store()?, Keyring::parse(&self.master_keys)?);
        let defaults = Defaults { mode: self.mode, ..Defaults::default() };
        Ok(Intake { store, media, pepper: self.pepper.pepper()?, defaults, jobs_in_flight: JobsInFlight::default() })
    }

    fn blob_store(&self) -> anyhow::Result<BlobStore> {
        let Some(place) = self.blobs.strip_prefix("s3://") else {
            return Ok(BlobStore::folder(Path::new(&self.blobs))?);
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            bail!("VISAVIS_BLOBS must name a bucket: s3://bucket/prefix");
        }
        trust::check().context(
            "VISAVIS_BLOBS names a bucket, and the client for buckets does not start without CA certificates",
        )?;
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

/// How to reach a bucket. Only read when `VISAVIS_BLOBS` names one.
#[derive(Args, Clone)]
#[command(next_help_heading = "Bucket")]
pub struct S3Args {
    /// S3 server other than Amazon's, such as <https://minio.example.com>; plain http only on this machine
    #[arg(long, env = "VISAVIS_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub s3_region: String,
    /// Access key of the bucket; required with a bucket
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub s3_access_key_id: Option<String>,
    /// Secret of the access key; required with a bucket
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub s3_secret_access_key: Option<String>,
    /// Session token of temporary credentials
    #[arg(long, env = "AWS_SESSION_TOKEN", hide_env_values = true)]
    pub s3_session_token: Option<String>,
}

/// Where the models and their runtime are.
#[derive(Args, Clone)]
#[command(next_help_heading = "Models")]
pub struct VisionArgs {
    /// Folder of the default model pack [default: models beside the binary, in the checkout that built it,
    /// or in /usr/share/visavis]
    #[arg(long, env = "VISAVIS_MODELS")]
    pub models: Option<PathBuf>,
    /// Folder of the optional packs that were pulled [default: .local/packs in the current folder or in the checkout]
    #[arg(long, env = "VISAVIS_PACKS")]
    pub packs: Option<PathBuf>,
    /// Optional packs that replace parts of the default pack, such as yunet,mobilefacenet; pull them first
    #[arg(long, env = "VISAVIS_USE_PACKS", value_delimiter = ',', value_name = "PACKS")]
    pub use_packs: Vec<String>,
    /// Where networks compute: cpu, another provider that must then work, or auto for the best one that works
    #[arg(long, env = "VISAVIS_PROVIDER", default_value = "cpu")]
    pub provider: ProviderChoice,
    /// Shared library of ONNX Runtime [default: libonnxruntime.so beside the binary, in .local/lib of the checkout, in
    /// /usr/lib/visavis, /usr/share/visavis, /usr/local/lib or /usr/lib]
    #[arg(long, env = "VISAVIS_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
}

impl VisionArgs {
    /// The folder of the default pack.
    ///
    /// # Errors
    /// When no setting names it and no usual place has it.
    pub fn models_folder(&self) -> anyhow::Result<PathBuf> {
        self.models.clone().map_or_else(|| Places::of_this_process().models(), Ok)
    }

    /// The packs that can be used.
    ///
    /// # Errors
    /// As [`VisionArgs::models_folder`].
    pub fn registry(&self) -> anyhow::Result<PackRegistry> {
        let models = self.models_folder()?;
        let packs = self.packs.clone().unwrap_or_else(|| Places::packs(&models));
        Ok(PackRegistry::new(&models, &packs))
    }

    /// The default pack, with the optional packs that are in use.
    ///
    /// # Errors
    /// When there is no default pack, a named pack is unknown or was not pulled, or a file is not the one that its
    /// manifest describes.
    pub fn pack(&self) -> anyhow::Result<Pack> {
        Ok(self.registry()?.load(&self.use_packs)?)
    }

    /// The ONNX Runtime, with the provider on which `pack` computes.
    ///
    /// # Errors
    /// When the library or the requested provider is missing.
    pub fn runtime(&self, pack: &Pack) -> anyhow::Result<Runtime> {
        let library = self.onnxruntime.clone().map_or_else(|| Places::of_this_process().runtime(), Ok)?;
        // The loader looks up a bare file name in the system's folders, so it gets an absolute path.
        let library = library.canonicalize().with_context(|| {
            format!("cannot use {} as ONNX Runtime: set VISAVIS_ONNXRUNTIME to the library", library.display())
        })?;
        Ok(choose(self.provider, &Runtime::load(&library)?, pack)?)
    }

    /// The false match rates that the calibrations in use were measured at. `None` without a usable pack: a process
    /// that only serves the API may run without models.
    ///
    /// # Errors
    /// When a setting names packs and they cannot be used.
    pub fn rates(&self) -> anyhow::Result<Option<Rates>> {
        let scorers = self.registry().and_then(|registry| Ok(registry.scorers(&self.use_packs)?));
        match scorers {
            Ok(scorers) => Ok(Some(Rates::new(scorers.fast.calibration, scorers.accurate.calibration))),
            Err(error) if self.use_packs.is_empty() => {
                warn!(%error, "there is no usable model pack: requests with a false match rate will be refused");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Which program takes frames out of videos.
#[derive(Args, Clone)]
#[command(next_help_heading = "Videos")]
pub struct VideoArgs {
    /// The program ffmpeg; without it, jobs with a video fail [default: /usr/bin/ffmpeg, then /usr/local/bin/ffmpeg]
    #[arg(long, env = "VISAVIS_FFMPEG")]
    pub ffmpeg: Option<PathBuf>,
}

impl VideoArgs {
    /// The reader of videos.
    ///
    /// # Errors
    /// When the named program does not exist.
    pub fn frames(&self) -> anyhow::Result<Frames> {
        let found = if let Some(path) = &self.ffmpeg {
            Some(path.canonicalize().with_context(|| format!("VISAVIS_FFMPEG: {}", path.display()))?)
        } else {
            ["/usr/bin/ffmpeg", "/usr/local/bin/ffmpeg"].map(PathBuf::from).into_iter().find(|path| path.is_file())
        };
        if let Some(path) = &found {
            info!(ffmpeg = %path.display(), "videos are decoded by this program");
        } else {
            warn!("no ffmpeg was found: jobs with a video will fail");
        }
        Ok(Frames::new(found, VideoParams::default()))
    }
}

/// Which addresses this process may call.
#[derive(Args, Clone)]
#[command(next_help_heading = "Outgoing calls")]
pub struct OutgoingArgs {
    /// For development only: outgoing calls may reach this machine, over plain HTTP and on any port
    #[arg(long, env = "VISAVIS_ALLOW_LOOPBACK_TARGETS", value_parser = BoolishValueParser::new())]
    pub allow_loopback_targets: bool,
}

impl OutgoingArgs {
    /// The guard of outgoing calls. Warns in the log when calls to this machine are allowed.
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

/// How events are delivered to webhook endpoints.
#[derive(Args, Clone)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// Seconds that one delivery attempt may take
    #[arg(long, env = "VISAVIS_WEBHOOK_TIMEOUT", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub webhook_timeout: u64,
    /// Most delivery attempts that this process makes at the same time
    #[arg(long, env = "VISAVIS_WEBHOOK_PLACES", default_value = "256")]
    pub webhook_places: NonZeroU32,
}

impl WebhookArgs {
    /// The dispatcher's settings.
    #[must_use]
    pub fn settings(&self) -> DispatcherSettings {
        DispatcherSettings { places: self.webhook_places, timeout: Duration::from_secs(self.webhook_timeout) }
    }
}

/// Where identity records come from.
#[derive(Args, Clone)]
#[command(next_help_heading = "Identity records")]
pub struct IdentityArgs {
    /// TOML file that names the identity source of each ID type [default: the registry for all of them]
    #[arg(long, env = "VISAVIS_IDENTITY_SOURCES")]
    pub identity_sources: Option<PathBuf>,
}

impl IdentityArgs {
    /// The identity sources that the file names.
    ///
    /// # Errors
    /// When the file is malformed, or a secret that it names is missing.
    pub fn sources(&self, intake: &Intake, guard: Guard) -> anyhow::Result<Sources> {
        let registry = Registry::new(intake.store.clone(), intake.media.clone(), intake.pepper.clone());
        let Some(path) = &self.identity_sources else { return Ok(Sources::registry_only(registry)) };
        let wrong = || format!("VISAVIS_IDENTITY_SOURCES: {}", path.display());
        let text = std::fs::read_to_string(path).with_context(wrong)?;
        let secrets = Secrets { env: &variable, folder: path.parent().unwrap_or(Path::new("")) };
        let sources = settings::parse(&text, &secrets).and_then(|settings| Sources::new(settings, registry, guard));
        sources.with_context(wrong)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a settings file names environment variables, and only this room reads them"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The settings of `visavis serve`.
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
    /// IP address and port on which the HTTP API listens
    #[arg(long, help_heading = "HTTP API", env = "VISAVIS_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// URL under which clients reach the HTTP API, for links to images [default: http:// and the listening address]
    #[arg(long, help_heading = "HTTP API", env = "VISAVIS_PUBLIC_URL", value_parser = parse_public_url)]
    pub public_url: Option<String>,
    /// File that is written when every role runs; it holds the address of the HTTP API, or an empty line without it
    #[arg(long, help_heading = "Work", env = "VISAVIS_READY_FILE")]
    pub ready_file: Option<PathBuf>,
    /// Compute threads [default: one per core]
    #[arg(long, help_heading = "Work", env = "VISAVIS_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Most work messages that wait in a lane's queue; the rest of the backlog stays in Postgres
    #[arg(long, help_heading = "Work", env = "VISAVIS_LANE_DEPTH", default_value_t = 48)]
    pub lane_depth: u32,
}

/// Access to the HTTP API.
#[derive(Args, Clone)]
#[command(next_help_heading = "HTTP API")]
pub struct ApiArgs {
    /// Token of the admin API, at least 32 characters; without a token there is no admin API
    #[arg(long, env = "VISAVIS_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
    /// Web origins whose pages may call the API, such as <https://app.example.com>
    #[arg(long, env = "VISAVIS_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// MiB of request bodies that may be in memory at the same time; less than 240 counts as 240
    #[arg(long, env = "VISAVIS_BODY_BUDGET", default_value_t = 512)]
    pub body_budget: usize,
    /// Proxies before this process, as addresses or networks with commas; their X-Forwarded-For is believed
    #[arg(long, env = "VISAVIS_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,
}

/// How this process logs.
#[derive(Args, Clone)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// Which log lines are written, such as info or visavis=debug,info
    #[arg(long, env = "VISAVIS_LOG", default_value = "info,lapin=off,ort=error", global = true)]
    pub log: String,
    /// Format of log lines
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

fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "must be an address or a network, such as 10.0.0.0/8".to_owned())
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
