//! Where Postgres is: the hosts that `DATABASE_URL` names, and how a connection to one of them is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use tokio::time::{sleep, timeout};

use super::Error;
use super::outage::{is_starting, silent};

/// How long one host may take to connect. At a round trip of a second, the seven round trips fit in.
const CONNECT: Duration = Duration::from_secs(10);
/// For how long connecting is tried again while Postgres starts.
const STARTING: Duration = Duration::from_secs(3);

/// The hosts of a database. Clones share the memory of which one worked last.
#[derive(Clone)]
pub(crate) struct Address {
    hosts: Vec<PgConnectOptions>,
    /// Only a session that can write is good enough.
    must_write: bool,
    last_good: Arc<AtomicUsize>,
}

/// A new connection.
pub(crate) struct Fresh {
    pub raw: PgConnection,
    pub can_write: bool,
}

impl Address {
    /// Reads a URL such as `postgres://user:password@one:5432,two:5432/name?target_session_attrs=read-write`.
    ///
    /// # Errors
    /// When the URL is malformed, or asks for sessions that cannot write.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let (target, url) = split_target(url);
        let urls = split_hosts(&url)?;
        let must_write = match target.as_deref() {
            Some("read-write" | "primary") => true,
            Some("any") => false,
            // Of several hosts only one can write, and it is the one that we need.
            None => urls.len() > 1,
            Some(other) => {
                return Err(Error::Address(format!(
                    "target_session_attrs={other} is not supported, because visavis writes: use read-write, primary or any"
                )));
            }
        };
        let hosts = urls.iter().map(|url| url.parse()).collect::<Result<_, sqlx::Error>>()?;
        Ok(Self { hosts, must_write, last_good: Arc::default() })
    }

    /// The same hosts, with these settings for each session.
    pub(crate) fn with(&self, name: &str, settings: &[(&str, String)]) -> Self {
        let options = |options: &PgConnectOptions| {
            let options = options.clone().options(settings.iter().map(|(name, value)| (name, value)));
            if options.get_application_name().is_none() { options.application_name(name) } else { options }
        };
        Self { hosts: self.hosts.iter().map(options).collect(), ..self.clone() }
    }

    /// A new session, on the first host that serves one; the host that worked last is asked first.
    ///
    /// # Errors
    /// Why the last host that was asked did not serve one.
    pub(crate) async fn connect(&self) -> Result<Fresh, sqlx::Error> {
        let begun = Instant::now();
        let mut wait = Duration::from_millis(20);
        loop {
            match self.connect_once().await {
                Err(error) if is_starting(&error) && begun.elapsed() + wait < STARTING => {}
                settled => return settled,
            }
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(500));
        }
    }

    async fn connect_once(&self) -> Result<Fresh, sqlx::Error> {
        let first = self.last_good.load(Ordering::Relaxed);
        let mut fault = None;
        for turn in 0..self.hosts.len() {
            let index = (first + turn) % self.hosts.len();
            match timeout(CONNECT, open(&self.hosts[index])).await.unwrap_or_else(|_| Err(silent())) {
                Ok(fresh) if fresh.can_write || !self.must_write => {
                    self.last_good.store(index, Ordering::Relaxed);
                    return Ok(fresh);
                }
                Ok(_) => fault = Some(std::io::Error::other("no host of DATABASE_URL can write").into()),
                Err(error) => fault = Some(error),
            }
        }
        Err(fault.unwrap_or_else(silent))
    }
}

async fn open(options: &PgConnectOptions) -> Result<Fresh, sqlx::Error> {
    let mut raw = PgConnection::connect_with(options).await?;
    // The simple protocol takes one round trip.
    let row =
        raw.fetch_one("SELECT NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::bool)").await?;
    Ok(Fresh { raw, can_write: row.try_get(0)? })
}

/// Takes `target_session_attrs` out of the URL.
fn split_target(url: &str) -> (Option<String>, String) {
    let Some((place, query)) = url.split_once('?') else { return (None, url.to_owned()) };
    let (mut target, mut rest) = (None, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("target_session_attrs", value)) => target = Some(value.to_owned()),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { place.to_owned() } else { format!("{place}?{}", rest.join("&")) };
    (target, url)
}

/// A URL for each host.
fn split_hosts(url: &str) -> Result<Vec<String>, Error> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    for pair in query.split('&') {
        if let Some((name @ ("host" | "hostaddr" | "port"), value)) = pair.split_once('=')
            && (value.contains(',') || value.contains("%2C"))
        {
            return Err(Error::Address(format!(
                "several hosts in the parameter {name} are not supported: write postgres://user@one:5432,two:5432/name"
            )));
        }
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(vec![url.to_owned()]) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    Ok(hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> (bool, Vec<(String, u16)>) {
        let address = Address::parse(url).unwrap();
        let hosts = address.hosts.iter().map(|host| (host.get_host().to_owned(), host.get_port())).collect();
        (address.must_write, hosts)
    }

    #[test]
    fn one_host_may_be_read_only_unless_the_url_says_otherwise() {
        let one = vec![("db".to_owned(), 5432)];
        assert_eq!(hosts("postgres://u:p@db/visavis"), (false, one.clone()));
        assert_eq!(hosts("postgres://u:p@db/visavis?target_session_attrs=any"), (false, one.clone()));
        assert_eq!(hosts("postgres://u:p@db/visavis?target_session_attrs=read-write&sslmode=disable"), (true, one));
    }

    #[test]
    fn of_several_hosts_one_must_write() {
        let two = vec![("one".to_owned(), 5433), ("two".to_owned(), 5432)];
        assert_eq!(hosts("postgres://u:p@one:5433,two/visavis?sslmode=disable"), (true, two.clone()));
        assert_eq!(hosts("postgres://u:p@one:5433,two/visavis?target_session_attrs=any"), (false, two));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (url, name) in [
            ("postgres://db/visavis?target_session_attrs=standby", "target_session_attrs=standby"),
            ("postgres://db/visavis?target_session_attrs=prefer-standby", "target_session_attrs=prefer-standby"),
            ("postgres:///visavis?host=one,two", "parameter host"),
            ("postgres://db/visavis?port=5432%2C5433", "parameter port"),
        ] {
            let refusal = Address::parse(url).err().expect(url).to_string();
            assert!(refusal.contains(name), "{url}: {refusal}");
        }
    }
}
