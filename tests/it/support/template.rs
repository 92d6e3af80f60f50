//! The template database: migrated once, cloned for each test. A clone takes a fifth of the time of the migrations.
//!
//! Its name carries the hash of the migrations, so checkouts that differ can share a server. Its comment says when it
//! was last used; a template that nobody used for a day is dropped.

use std::path::Path;

use reqwest::Url;
use ring::digest;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use visavis::store::{PoolSizes, Store};

use super::environment::SERVICES;

const PREFIX: &str = "visavis_template_";
/// Any number: who makes or drops templates holds the advisory lock of this number.
const LOCK: i64 = 0x7669_7361_7669_7300;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Makes a database with the schema of this version.
pub async fn clone_template(name: &str) {
    let template = TEMPLATE.get_or_init(make).await;
    let mut administrator = connect(&SERVICES.database).await;
    execute(&mut administrator, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
}

/// Makes a copy of a database, as a backup. Connections to it end; pools make new ones.
pub async fn copy_database(from: &str, to: &str) {
    let mut administrator = connect(&SERVICES.database).await;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(from)
        .execute(&mut administrator)
        .await
        .expect("the sessions are our own");
    execute(&mut administrator, format!("CREATE DATABASE {to} TEMPLATE {from}")).await;
}

pub async fn drop_database(name: &str) {
    execute(&mut connect(&SERVICES.database).await, format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

pub async fn connect(url: &Url) -> PgConnection {
    PgConnection::connect(url.as_str()).await.expect("Postgres answers at DATABASE_URL")
}

pub fn at_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url
}

/// The name of the template, which is there afterwards. Several processes may ask at once.
async fn make() -> String {
    let name = format!("{PREFIX}{}", hash_of_migrations());
    let mut administrator = connect(&SERVICES.database).await;
    // Ends with the connection.
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut administrator).await.expect("nobody keeps it");
    let names: Vec<String> = sqlx::query_scalar("SELECT datname FROM pg_database WHERE datname ^@ $1")
        .bind(PREFIX)
        .fetch_all(&mut administrator)
        .await
        .expect("Postgres lists its databases");
    if !names.contains(&name) {
        migrate(&mut administrator, &name).await;
    }
    execute(
        &mut administrator,
        format!("DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE {name} IS %L', now()); END $$"),
    )
    .await;
    let old: Vec<String> = sqlx::query_scalar(
        "SELECT datname FROM pg_database
         WHERE datname ^@ $1 AND pg_get_userbyid(datdba) = current_user
           AND coalesce(shobj_description(oid, 'pg_database')::timestamptz, '-infinity') < now() - interval '1 day'",
    )
    .bind(PREFIX)
    .fetch_all(&mut administrator)
    .await
    .expect("Postgres lists its databases");
    for old in old {
        execute(&mut administrator, format!("DROP DATABASE IF EXISTS {old} WITH (FORCE)")).await;
    }
    administrator.close().await.expect("the connection ends well");
    name
}

/// Under another name until it is whole. Nobody may connect to it afterwards: a connection would forbid to clone it.
async fn migrate(administrator: &mut PgConnection, name: &str) {
    let draft = format!("{name}_draft");
    execute(administrator, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
    execute(administrator, format!("CREATE DATABASE {draft}")).await;
    let url = at_path(&SERVICES.database, &draft);
    let sizes = PoolSizes { core: 2, reads: 1, desk: 1 };
    let store = Store::connect(url.as_str(), sizes).await.expect("the new database answers");
    store.migrate().await.expect("the migrations apply");
    store.close().await;
    execute(administrator, format!("ALTER DATABASE {draft} ALLOW_CONNECTIONS false")).await;
    execute(administrator, format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.expect("the statement is accepted");
}

fn hash_of_migrations() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("migrations").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut context = digest::Context::new(&digest::SHA256);
    for file in files {
        context.update(file.file_name().expect("a file has a name").as_encoded_bytes());
        context.update(&std::fs::read(&file).expect("a migration can be read"));
    }
    hex::encode(&context.finish().as_ref()[..8])
}
