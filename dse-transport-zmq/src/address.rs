//! Where sockets are: endpoints as they are written, and as they are reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use dse_core::protocol::Endpoint;
use dse_core::transport::TransportError;

use crate::folder;

/// An endpoint of this transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `zmq://host:port`.
    Tcp { host: String, port: u16 },
    /// `zmq://ipc/0123456789abcdef`, in the runtime folder, or `zmq://ipc//some/path`.
    Ipc(PathBuf),
    /// `zmq://ipc`: a fresh socket in the runtime folder; only to listen at.
    AnyIpc,
}

impl Address {
    /// Reads an endpoint; names of sockets are in `runtime_dir`.
    pub(crate) fn parse(endpoint: &Endpoint, runtime_dir: &Path) -> Result<Self, TransportError> {
        let invalid = |why: &str| TransportError::InvalidEndpoint {
            endpoint: endpoint.clone(),
            why: format!("{why}; write {FORMS}"),
        };
        let address = endpoint.address();
        if endpoint.scheme() != SCHEME {
            return Err(invalid("this transport's scheme is zmq"));
        }
        if address == "ipc" {
            return Ok(Self::AnyIpc);
        }
        if let Some(name) = address.strip_prefix("ipc/") {
            if name.starts_with('/') {
                return Ok(Self::Ipc(PathBuf::from(name)));
            }
            let name = folder::parse_name(name)
                .ok_or_else(|| invalid("a socket's name has 16 lower-case hex digits"))?;
            return Ok(Self::Ipc(runtime_dir.join(folder::name(name))));
        }
        let (host, port) =
            address.rsplit_once(':').ok_or_else(|| invalid("the port is missing"))?;
        let port = port.parse().map_err(|_| invalid("the port is no number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            None if !host.is_empty() && !host.contains([':', '/', '[', ']']) => host,
            _ => return Err(invalid("the host is neither a name nor an IP address")),
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

/// The scheme of this transport's endpoints.
pub(crate) const SCHEME: &str = "zmq";

const FORMS: &str = "zmq://host:port, zmq://ipc/<16 hex digits> or zmq://ipc/<absolute path>";

/// The endpoint of a TCP socket.
pub(crate) fn tcp_endpoint(address: SocketAddr) -> Option<Endpoint> {
    Endpoint::new(format!("{SCHEME}://{address}")).ok()
}

/// The endpoint of a socket file.
pub(crate) fn ipc_endpoint(path: &Path, runtime_dir: &Path) -> Option<Endpoint> {
    let name = path.file_name()?.to_str()?;
    let endpoint = if path.parent() == Some(runtime_dir) && folder::parse_name(name).is_some() {
        format!("{SCHEME}://ipc/{name}")
    } else {
        format!("{SCHEME}://ipc/{}", path.to_str()?)
    };
    Endpoint::new(endpoint).ok()
}

/// Where a side of a link has its inboxes, or reaches those of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// On TCP ports of this address.
    Host(IpAddr),
    /// In this folder.
    Folder(PathBuf),
}

impl Site {
    /// How the `zeromq` crate writes a socket that is here. `number` is a port or stands
    /// for a name.
    pub(crate) fn socket(&self, number: u64) -> String {
        match self {
            Self::Host(IpAddr::V4(ip)) => format!("tcp://{ip}:{number}"),
            Self::Host(IpAddr::V6(ip)) => format!("tcp://[{ip}]:{number}"),
            Self::Folder(folder) => {
                format!("ipc://{}", folder.join(folder::name(number)).display())
            }
        }
    }
}

/// Is it an address of this machine that other machines cannot reach?
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// The addresses at which others reach a socket that is bound to `bound`: for a
/// wildcard those of the interfaces, and loopback only where there is nothing else.
pub(crate) fn reachable_at(bound: SocketAddr) -> std::io::Result<Vec<SocketAddr>> {
    if !bound.ip().is_unspecified() {
        return Ok(vec![bound]);
    }
    // A wildcard of IPv6 takes IPv4 too.
    let family = |ip: &IpAddr| bound.is_ipv6() || ip.is_ipv4();
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()?
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|ip| family(ip) && !ip.is_loopback() && !is_link_local(ip))
        .collect();
    if addresses.is_empty() {
        addresses.push(if bound.is_ipv6() {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        });
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, bound.port())).collect())
}

/// Link-local addresses mean something else on each interface of each machine.
fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, TransportError> {
        Address::parse(&text.parse().unwrap(), Path::new("/run/dse"))
    }

    #[test]
    fn endpoints_are_read() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        assert_eq!(parse("zmq://127.0.0.1:0").unwrap(), tcp("127.0.0.1", 0));
        assert_eq!(parse("zmq://[::1]:7447").unwrap(), tcp("::1", 7447));
        assert_eq!(parse("zmq://localhost:7447").unwrap(), tcp("localhost", 7447));
        assert_eq!(parse("zmq://ipc:7447").unwrap(), tcp("ipc", 7447));
        assert_eq!(parse("zmq://ipc").unwrap(), Address::AnyIpc);
        assert_eq!(
            parse("zmq://ipc/00000000000000ff").unwrap(),
            Address::Ipc("/run/dse/00000000000000ff".into())
        );
        assert_eq!(parse("zmq://ipc//tmp/x").unwrap(), Address::Ipc("/tmp/x".into()));
    }

    #[test]
    fn wrong_endpoints_are_refused_with_what_would_be_right() {
        for text in [
            "quic://127.0.0.1:1",
            "zmq://127.0.0.1",
            "zmq://127.0.0.1:65536",
            "zmq://:1",
            "zmq://::1:1",
            "zmq://[::g]:1",
            "zmq://ipc/../../etc/passwd",
            "zmq://ipc/00000000000000FF",
            "zmq://ipc/",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(text) && error.contains("zmq://host:port"), "{error}");
        }
    }

    #[test]
    fn socket_names_and_paths_come_back_as_endpoints() {
        let folder = Path::new("/run/dse");
        for text in ["zmq://ipc/00000000000000ff", "zmq://ipc//tmp/other.sock"] {
            let Address::Ipc(path) = parse(text).unwrap() else { panic!("{text} is ipc") };
            assert_eq!(ipc_endpoint(&path, folder).unwrap().as_str(), text);
        }
    }
}
