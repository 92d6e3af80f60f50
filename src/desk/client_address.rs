//! Where a request comes from: the other end of the connection, or what a proxy that we trust says of it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::Desk;
use super::error::DeskError;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// A customer of a provider of IPv6 gets a network of this length, and chooses addresses in it.
const IPV6_PREFIX: u8 = 64;

/// The network that stands for one client: an IPv4 address, or 64 bits of an IPv6 address.
pub(super) struct ClientAddress(pub(super) IpNet);

impl FromRequestParts<Desk> for ClientAddress {
    type Rejection = DeskError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, DeskError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().ok_or(DeskError::Unavailable)?.0.ip();
        Ok(Self(network(client(peer, &parts.headers, &desk.0.trusted_proxies))))
    }
}

/// Every proxy appends the address from which it was called. From the end on, each is believed as long as a trusted
/// proxy has written it. What comes before was written by the client.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let stated: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut client = peer.to_canonical();
    for next in stated.into_iter().rev() {
        if !trusted.iter().any(|network| network.contains(&client)) {
            break;
        }
        let address = next.parse::<IpAddr>().or_else(|_| next.parse::<SocketAddr>().map(|address| address.ip()));
        let Ok(address) = address else { break };
        client = address.to_canonical();
    }
    client
}

fn network(address: IpAddr) -> IpNet {
    let length = if address.is_ipv6() { IPV6_PREFIX } else { 32 };
    IpNet::new(address, length).map_or(address.into(), |network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_trusted_proxies_are_believed_and_what_the_client_wrote_is_not() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "192.0.2.1/32"].map(|text| text.parse().unwrap()).to_vec();
        for (peer, stated, expected) in [
            ("203.0.113.9", vec![], "203.0.113.9"),
            ("203.0.113.9", vec!["198.51.100.1"], "203.0.113.9"),
            ("10.1.2.3", vec!["198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", vec!["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", vec!["1.1.1.1", "198.51.100.1, 192.0.2.1"], "198.51.100.1"),
            ("10.1.2.3", vec!["198.51.100.1, what"], "10.1.2.3"),
            ("10.1.2.3", vec!["198.51.100.1:4711"], "198.51.100.1"),
            ("10.1.2.3", vec!["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.1.2.3", vec!["10.0.0.1"], "10.0.0.1"),
            ("10.1.2.3", vec![], "10.1.2.3"),
            ("::ffff:10.1.2.3", vec!["::ffff:198.51.100.1"], "198.51.100.1"),
        ] {
            let line = |text: &&str| (FORWARDED_FOR, HeaderValue::from_str(text).unwrap());
            let found = client(peer.parse().unwrap(), &stated.iter().map(line).collect(), &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {stated:?}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("198.51.100.1"), "198.51.100.1/32");
    }
}
