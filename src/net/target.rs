//! Where a call may go, as far as a URL tells.

use std::net::IpAddr;

use url::{Host, Url};

use super::address::is_public;

/// Ports of HTTPS that a target may have.
const PORTS: [u16; 2] = [443, 8443];
/// Longer than any address that somebody uses.
const MAX_URL: usize = 2048;

/// Which targets are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    PublicAndLoopback,
    Anywhere,
}

/// A URL that the guard has examined. Has neither `Debug` nor `Display`: it may hold somebody's number.
#[derive(Clone)]
pub struct Target(Url);

/// Why a URL is no target, in words for the person who set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is not a URL")]
    Malformed,
    #[error("it must have at most {MAX_URL} characters")]
    TooLong,
    #[error("it must begin with https://")]
    Scheme,
    #[error("it must hold no user name and no password")]
    UserInfo,
    #[error("its port must be 443 or 8443")]
    Port,
    #[error("its host is not on the public internet")]
    Address,
}

impl Guard {
    /// Public addresses alone.
    #[must_use]
    pub fn strict() -> Self {
        Self { reach: Reach::Public }
    }

    /// For development: loopback addresses, written out or as `localhost`, as well, over plain HTTP and on any port.
    #[must_use]
    pub fn with_loopback() -> Self {
        Self { reach: Reach::PublicAndLoopback }
    }

    /// For a command that a person runs for themselves: wherever they say, as their browser would. Never for a URL that
    /// somebody else gave.
    #[must_use]
    pub fn anywhere() -> Self {
        Self { reach: Reach::Anywhere }
    }

    /// Reads a URL. That it is good today says nothing about what its name resolves to tomorrow: the client looks again.
    ///
    /// # Errors
    /// When it is malformed, or no call may go there.
    pub fn check(self, url: &str) -> Result<Target, Refusal> {
        if url.len() > MAX_URL {
            return Err(Refusal::TooLong);
        }
        let mut url = Url::parse(url).map_err(|_| Refusal::Malformed)?;
        self.examine(&url)?;
        url.set_fragment(None);
        Ok(Target(url))
    }

    /// The parser has unmasked odd spellings by now: `0x7f.1`, `2130706433` and digits of other scripts are 127.0.0.1.
    pub(super) fn examine(self, url: &Url) -> Result<(), Refusal> {
        let host = url.host().ok_or(Refusal::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        let is_here = match host {
            Host::Domain(name) => is_localhost(name),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        let is_free = self.reach == Reach::Anywhere || (is_here && self.reach == Reach::PublicAndLoopback);
        if is_free && matches!(url.scheme(), "http" | "https") {
            return Ok(());
        }
        if url.scheme() != "https" {
            return Err(Refusal::Scheme);
        }
        if !url.port_or_known_default().is_some_and(|port| PORTS.contains(&port)) {
            return Err(Refusal::Port);
        }
        let may_be_public = match host {
            // Its addresses tell, when they are known.
            Host::Domain(_) => !is_here,
            Host::Ipv4(address) => is_public(address.into()),
            Host::Ipv6(address) => is_public(address.into()),
        };
        if may_be_public { Ok(()) } else { Err(Refusal::Address) }
    }

    /// Whether a call to `name` may go to `address`. Only the name `localhost` may mean this machine: another one that
    /// resolves to it does so by mistake or by malice.
    pub(super) fn admits(self, name: &str, address: IpAddr) -> bool {
        match self.reach {
            Reach::Anywhere => true,
            Reach::PublicAndLoopback if is_localhost(name) => address.is_loopback(),
            Reach::Public | Reach::PublicAndLoopback => !is_localhost(name) && is_public(address),
        }
    }
}

impl Target {
    /// Scheme, host and port: fit for a log.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    pub(super) fn into_url(self) -> Url {
        self.0
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}
