//! Checks where a call may go, as far as the URL shows it.

use std::net::IpAddr;

use url::{Host, Url};

use super::address::is_public;

/// Ports that a target may have.
const PORTS: [u16; 2] = [443, 8443];
/// Most characters of a URL, more than any address in use has.
const MAX_URL: usize = 2048;

/// Decides which targets are called.
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

/// A URL that a guard has checked. Has neither `Debug` nor `Display`, because it may hold an ID number.
#[derive(Clone)]
pub struct Target(Url);

/// Why a URL is refused, in words for the person who set it.
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
    /// Only public addresses.
    #[must_use]
    pub fn strict() -> Self {
        Self { reach: Reach::Public }
    }

    /// For development: public addresses, and loopback addresses over plain HTTP and on any port.
    #[must_use]
    pub fn with_loopback() -> Self {
        Self { reach: Reach::PublicAndLoopback }
    }

    /// Any address. Only for commands that a person runs with a URL of their own.
    #[must_use]
    pub fn anywhere() -> Self {
        Self { reach: Reach::Anywhere }
    }

    /// Parses and checks a URL. The client checks the addresses of its name again at every call.
    ///
    /// # Errors
    /// When it is malformed, or must not be called.
    pub fn check(self, url: &str) -> Result<Target, Refusal> {
        if url.len() > MAX_URL {
            return Err(Refusal::TooLong);
        }
        let mut url = Url::parse(url).map_err(|_| Refusal::Malformed)?;
        self.examine(&url)?;
        url.set_fragment(None);
        Ok(Target(url))
    }

    /// Checks a parsed URL. The parser has normalised odd notations: `0x7f.1`, `2130706433` and digits of other scripts
    /// have become 127.0.0.1.
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
            // The resolver checks the addresses of the name.
            Host::Domain(_) => !is_here,
            Host::Ipv4(address) => is_public(address.into()),
            Host::Ipv6(address) => is_public(address.into()),
        };
        if may_be_public { Ok(()) } else { Err(Refusal::Address) }
    }

    /// Whether a call to `name` may go to `address`. Only `localhost` may mean this machine: any other name that
    /// resolves to it does so by mistake or malice.
    pub(super) fn admits(self, name: &str, address: IpAddr) -> bool {
        match self.reach {
            Reach::Anywhere => true,
            Reach::PublicAndLoopback if is_localhost(name) => address.is_loopback(),
            Reach::Public | Reach::PublicAndLoopback => !is_localhost(name) && is_public(address),
        }
    }
}

impl Target {
    /// Scheme, host and port. They may be logged.
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
