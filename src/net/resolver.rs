//! Resolves names and removes the addresses that the guard does not admit. The connection goes to an address that
//! remains. The name is not resolved again, so a DNS answer that changes later has no effect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::target::{Guard, Refusal};

/// A pending lookup of a name's addresses.
pub type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up the addresses of names.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of `name`.
    ///
    /// # Errors
    /// When the name has no address, or the lookup fails.
    fn lookup(&self, name: &str) -> LookupFuture;
}

/// The system's resolver.
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> LookupFuture {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A resolver that only returns addresses that `guard` admits.
pub(super) struct GuardedResolver {
    guard: Guard,
    lookup: Arc<dyn Lookup>,
}

impl GuardedResolver {
    pub(super) fn new(guard: Guard, lookup: Arc<dyn Lookup>) -> Self {
        Self { guard, lookup }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, found) = (self.guard, self.lookup.lookup(name.as_str()));
        Box::pin(async move {
            let found = found.await?;
            let vetted: Vec<_> = found
                .into_iter()
                .filter(|address| guard.admits(name.as_str(), *address))
                // The client puts the URL's port in place of 0.
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if vetted.is_empty() {
                return Err(Refusal::Address.into());
            }
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mixed;

    impl Lookup for Mixed {
        fn lookup(&self, _name: &str) -> LookupFuture {
            let found = ["127.0.0.1", "1.1.1.1", "10.0.0.1", "::1", "2606:4700:4700::1111", "::ffff:1.1.1.1"];
            Box::pin(std::future::ready(Ok(found.map(|address| address.parse().unwrap()).to_vec())))
        }
    }

    async fn resolve(guard: Guard, name: &str) -> Vec<String> {
        let resolver = GuardedResolver::new(guard, Arc::new(Mixed));
        resolver.resolve(name.parse().unwrap()).await.unwrap().map(|address| address.ip().to_string()).collect()
    }

    #[tokio::test]
    async fn only_admitted_addresses_remain() {
        for guard in [Guard::strict(), Guard::with_loopback()] {
            assert_eq!(resolve(guard, "mixed.example").await, ["1.1.1.1", "2606:4700:4700::1111"]);
        }
        assert_eq!(resolve(Guard::with_loopback(), "localhost").await, ["127.0.0.1", "::1"]);
    }
}
