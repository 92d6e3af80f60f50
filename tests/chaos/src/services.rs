//! A database and a virtual host for one run, gone when it ends.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool};

/// The name under which our own sessions stand in `pg_stat_activity`: no fault ends them.
pub const OURS: &str = "chaos";

pub struct Services {
    /// What all names of this run end in.
    pub id: String,
    pub pool: PgPool,
    pub database: Url,
    pub amqp: Url,
    pub vhost: String,
    /// The folder of the blob store.
    pub blobs: PathBuf,
    management: Management,
    server: Url,
    users: Vec<String>,
    is_kept: AtomicBool,
}

/// Where services are, with rights to make databases and virtual hosts.
#[derive(Debug, Clone, clap::Args)]
pub struct Addresses {
    /// Postgres, as a role that may create databases
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Url,
    /// `RabbitMQ`, as an administrator
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: Url,
    /// `RabbitMQ`'s management API, as an administrator
    #[arg(long, env = "VISAVIS_RABBITMQ_API", hide_env_values = true)]
    pub rabbitmq_api: Url,
}

impl Services {
    /// Makes them.
    ///
    /// # Errors
    /// When a service does not answer, or refuses.
    pub async fn make(addresses: &Addresses, id: &str, blobs: &Path) -> Result<Self> {
        let (name, server) = (format!("visavis_chaos_{id}"), addresses.database_url.clone());
        administer(&server, format!("CREATE DATABASE {name}")).await?;
        let mut database = server.clone();
        database.set_path(&name);
        let pool = PgPoolOptions::new().max_connections(6).connect_with(options(&database)?).await?;
        let management = Management::connect(addresses.rabbitmq_api.clone())?;
        let vhost = format!("visavis-chaos-{id}");
        let mut amqp = addresses.amqp_url.clone();
        amqp.set_path(&vhost);
        management.call(Method::PUT, &["vhosts", &vhost], json!({})).await?;
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        management.call(Method::PUT, &["permissions", &vhost, amqp.username()], everything).await?;
        let (id, blobs) = (id.to_owned(), blobs.to_owned());
        Ok(Self {
            id,
            pool,
            database,
            amqp,
            vhost,
            blobs,
            management,
            server,
            users: Vec::new(),
            is_kept: AtomicBool::new(false),
        })
    }

    /// Makes a broker user with the rights of a producer and of a reader of its organisation's results. Returns its
    /// address.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn make_producer(&mut self, organisation: &str) -> Result<Url> {
        let user = format!("chaos-{}-{organisation}", self.id);
        let (vhost, manage) = (self.vhost.clone(), &self.management);
        manage.call(Method::PUT, &["users", &user], json!({ "password": self.id, "tags": "" })).await?;
        self.users.push(user.clone());
        let own = format!("^{user}\\..+$");
        let rights = json!({
            "configure": own,
            "write": format!("^visavis\\.submissions$|{own}"),
            "read": format!("^visavis\\.results$|{own}"),
        });
        manage.call(Method::PUT, &["permissions", &vhost, &user], rights).await?;
        let topic = json!({ "exchange": "visavis.results", "write": "^$", "read": format!("^{organisation}\\.") });
        manage.call(Method::PUT, &["topic-permissions", &vhost, &user], topic).await?;
        let mut url = self.amqp.clone();
        let named = url.set_username(&user).and_then(|()| url.set_password(Some(&self.id)));
        ensure!(named.is_ok(), "AMQP_URL takes no user");
        Ok(url)
    }

    /// Removes what is in a queue. A queue that does not exist has nothing in it.
    pub async fn purge(&self, queue: &str) {
        let _ = self.management.call(Method::DELETE, &["queues", &self.vhost, queue, "contents"], Value::Null).await;
    }

    /// Lets the broker close every connection of visavis; those of our producers stay.
    ///
    /// # Errors
    /// When the broker does not list its connections.
    pub async fn close_connections(&self) -> Result<()> {
        let list = self.management.call(Method::GET, &["vhosts", &self.vhost, "connections"], Value::Null).await?;
        for connection in list.as_array().into_iter().flatten() {
            let named = connection["client_properties"]["connection_name"].as_str().unwrap_or_default();
            if let (true, Some(name)) = (named.starts_with("visavis"), connection["name"].as_str()) {
                let _ = self.management.call(Method::DELETE, &["connections", name], Value::Null).await;
            }
        }
        Ok(())
    }

    /// Ends sessions of visavis with Postgres, so many of a hundred.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn end_sessions(&self, percent: u32) -> Result<()> {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name <> $1 AND random() * 100 < $2",
        )
        .bind(OURS)
        .bind(f64::from(percent))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Makes the database refuse changes, or take them again. Running sessions end, new ones are as it says.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn set_read_only(&self, read_only: bool) -> Result<()> {
        let name = self.database.path().trim_start_matches('/').to_owned();
        let setting = if read_only { "SET default_transaction_read_only = on" } else { "RESET ALL" };
        administer(&self.server, format!("ALTER DATABASE {name} {setting}")).await?;
        if read_only {
            self.end_sessions(100).await?;
        }
        Ok(())
    }

    /// Database and virtual host outlive the run.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Removes everything that was made.
    async fn remove(server: Url, database: Url, management: Management, vhost: String, users: Vec<String>) {
        let name = database.path().trim_start_matches('/');
        let _ = administer(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        let _ = management.call(Method::DELETE, &["vhosts", &vhost], Value::Null).await;
        for user in &users {
            let _ = management.call(Method::DELETE, &["users", user], Value::Null).await;
        }
    }
}

impl Drop for Services {
    /// However the run ends. On another thread, because this one may be inside a runtime.
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let removal = Self::remove(
            self.server.clone(),
            self.database.clone(),
            self.management.clone(),
            self.vhost.clone(),
            std::mem::take(&mut self.users),
        );
        let removed = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                runtime.block_on(removal);
            }
        });
        let _ = removed.join();
    }
}

/// Our own sessions may write, whatever the database's default is.
fn options(url: &Url) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url.as_str())?.application_name(OURS);
    Ok(options.options([("default_transaction_read_only", "off")]).disable_statement_logging())
}

async fn administer(server: &Url, statement: String) -> Result<()> {
    let mut connection = options(server)?.connect().await.context("Postgres answers at DATABASE_URL")?;
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// The broker's management API.
#[derive(Clone)]
struct Management {
    client: Client,
    base: Url,
}

impl Management {
    fn connect(base: Url) -> Result<Self> {
        Ok(Self { client: Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?, base })
    }

    async fn call(&self, method: Method, path: &[&str], body: Value) -> Result<Value> {
        let mut url = self.base.clone();
        let Ok(mut segments) = url.path_segments_mut() else { anyhow::bail!("VISAVIS_RABBITMQ_API is no http URL") };
        segments.pop_if_empty().push("api").extend(path);
        drop(segments);
        let mut request = self.client.request(method.clone(), url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "management API: {method} {path:?} gives {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}
