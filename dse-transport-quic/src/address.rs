//! Endpoints `quic://host:port`, names, and this machine's own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dse_core::protocol::{Endpoint, limits};
use dse_core::transport::TransportError;

/// The scheme of this transport's endpoints.
pub(crate) const SCHEME: &str = "quic";

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A host name and a port.
    Name(String, u16),
}

impl Address {
    /// Reads an endpoint.
    pub(crate) fn parse(endpoint: &Endpoint) -> Result<Self, TransportError> {
        let invalid = |why: &str| TransportError::InvalidEndpoint {
            endpoint: endpoint.clone(),
            why: why.to_owned(),
        };
        if endpoint.scheme() != SCHEME {
            return Err(invalid("the quic transport takes quic://host:port"));
        }
        if let Ok(address) = endpoint.address().parse() {
            return Ok(Self::Socket(address));
        }
        let missing = "the port is missing: write quic://host:port";
        if endpoint.address().contains('%') {
            return Err(invalid(
                "write the zone of an IPv6 address as the number that `ip link` shows: \
                 quic://[fe80::1%2]:7447",
            ));
        }
        if endpoint.address().ends_with(']') {
            return Err(invalid(missing));
        }
        let Some((host, port)) = endpoint.address().rsplit_once(':') else {
            return Err(invalid(missing));
        };
        let port = port.parse().map_err(|_| invalid("the port is not a number from 0 to 65535"))?;
        if host.contains([':', '[', ']']) {
            return Err(invalid("write an IPv6 address in brackets: quic://[::1]:7447"));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if host.is_empty() || !host.bytes().all(allowed) {
            return Err(invalid("the host is no IP address and no host name"));
        }
        Ok(Self::Name(host.to_owned(), port))
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Socket(address) => address.port(),
            Self::Name(_, port) => *port,
        }
    }

    /// All addresses, families in turn, beginning with the system's first choice.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let (host, port) = match self {
            Self::Socket(address) => return Ok(vec![*address]),
            Self::Name(host, port) => (host.as_str(), *port),
        };
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| format!("the name {host} has no address: {error}"))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(format!("the name {host} has no address"));
        }
        Ok(families_in_turn(addresses))
    }
}

/// The endpoint of an address. IPv4 addresses that a dual-stack socket shows as IPv6
/// are shown as what they are.
pub(crate) fn text(address: SocketAddr) -> String {
    format!("{SCHEME}://{}", SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Where others reach a socket that is bound to `local`: for a wildcard, every address
/// of this machine's running interfaces; loopback only where there is nothing else.
pub(crate) fn reachable_at(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let mut addresses = interface_addresses();
    addresses.retain(|address| local.is_ipv6() || address.is_ipv4());
    if addresses.iter().any(|address| !address.is_loopback()) {
        addresses.retain(|address| !address.is_loopback());
    }
    if addresses.is_empty() {
        let loopback =
            if local.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        addresses.push(loopback);
    }
    addresses.truncate(limits::ENDPOINTS_PER_NODE);
    addresses.into_iter().map(|address| SocketAddr::new(address, local.port())).collect()
}

/// Without IPv6 addresses that are local to a link: they mean nothing to another host.
fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the network interfaces; say which endpoints to advertise");
        Vec::new()
    });
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| interface.is_oper_up())
        .map(if_addrs::Interface::ip)
        .filter(|address| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    addresses
}

fn families_in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        let endpoint = Endpoint::new(text).map_err(|error| error.to_string())?;
        Address::parse(&endpoint).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_addresses_or_names_with_a_port() {
        let socket = |text: &str| Ok(Address::Socket(text.parse().expect("an address")));
        assert_eq!(parse("quic://127.0.0.1:7447"), socket("127.0.0.1:7447"));
        assert_eq!(parse("quic://[::1]:0"), socket("[::1]:0"));
        assert_eq!(parse("quic://[fe80::1%2]:1"), socket("[fe80::1%2]:1"));
        assert_eq!(parse("quic://seed.example:1"), Ok(Address::Name("seed.example".into(), 1)));
    }

    #[test]
    fn bad_endpoints_say_what_would_be_right() {
        for (endpoint, says) in [
            ("tcp://127.0.0.1:1", "quic://host:port"),
            ("quic://127.0.0.1", "port is missing"),
            ("quic://[::1]", "port is missing"),
            ("quic://fe80::1%eth0", "as the number"),
            ("quic://[fe80::1%eth0]:7447", "as the number"),
            ("quic://127.0.0.1:70000", "0 to 65535"),
            ("quic://::1:7447", "brackets"),
            ("quic://:7447", "no host name"),
            ("quic://a/b:7447", "no host name"),
        ] {
            let error = parse(endpoint).expect_err(endpoint);
            assert!(error.contains(says), "{endpoint}: {error}");
        }
    }

    #[test]
    fn families_are_tried_in_turn() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let [a, b, c] = ["[::1]:1", "[::2]:1", "127.0.0.1:1"].map(address);
        assert_eq!(families_in_turn(vec![a, b, c]), vec![a, c, b]);
    }

    #[test]
    fn a_wildcard_is_reached_at_real_addresses() {
        for wildcard in ["0.0.0.0:9", "[::]:9"] {
            let wildcard: SocketAddr = wildcard.parse().expect("an address");
            let found = reachable_at(wildcard);
            assert!(!found.is_empty());
            assert!(found.iter().all(|a| !a.ip().is_unspecified() && a.port() == 9), "{found:?}");
        }
    }
}
