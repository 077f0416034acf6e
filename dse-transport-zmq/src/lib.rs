//! The zmq transport of DSE: links over ZeroMQ PUB/SUB sockets, by the `zeromq` crate.
//!
//! | endpoint | listens and dials at |
//! |---|---|
//! | `zmq://host:port` | TCP; port 0 is any free port |
//! | `zmq://ipc/0123456789abcdef` | a socket of this name in the runtime folder |
//! | `zmq://ipc//some/path` | a socket at this path; its folder must be private |
//! | `zmq://ipc` | a socket with a fresh name in the runtime folder (to listen only) |
//!
//! # Shape
//!
//! A link is a pair of half-connections for each of its two lanes: an XPUB socket of
//! each side is connected to a SUB socket of the other, its **inbox**. An inbox
//! subscribes to its lane's well-known key, and the XPUB socket sends only after it
//! has seen the subscription. Inboxes belong to one link. A shared one would let a
//! slow link hold up the others, control before data included. They listen only until
//! their peer has come.
//!
//! A node listens at a **door**. It takes one message from who dials it, a `Dial`, and
//! dials back. A door is no socket of the `zeromq` crate (see `zmtp.rs`).
//!
//! # Trust
//!
//! ZeroMQ's NULL mechanism neither authenticates nor encrypts, and a peer with which
//! a link is up can abort this process with one frame header (the crate reserves what
//! a length claims). So there are sockets only in a folder that nobody else can enter,
//! on loopback, and beyond that only with [`ZmqConfig::trust_network`].
#![forbid(unsafe_code)]

mod address;
mod door;
mod fate;
mod folder;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod inbox;
mod lanes;
mod link;
mod outlet;
mod wire;
mod zmtp;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dse_core::protocol::Endpoint;
use dse_core::transport::{Capabilities, Link, Listener, Transport, TransportError};
use tokio::net::{TcpListener, TcpStream, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use zeromq::util::PeerIdentity;

use address::{Address, SCHEME, Site, is_loopback};
use door::{Door, DoorSocket};
use handshake::HandshakeError;

/// What a [`ZmqTransport`] is made with.
#[derive(Clone, Debug)]
pub struct ZmqConfig {
    /// The folder for ipc sockets, the user's own with mode 0700. Made when it is missing.
    pub runtime_dir: PathBuf,
    /// Listen and dial beyond loopback: every host that can reach this one is trusted.
    pub trust_network: bool,
}

/// The zmq transport of one node.
#[derive(Debug)]
pub struct ZmqTransport {
    config: ZmqConfig,
    strays: Arc<AtomicU64>,
}

impl ZmqTransport {
    /// A transport that has no socket yet.
    pub fn new(config: ZmqConfig) -> Self {
        Self { config, strays: Arc::default() }
    }

    async fn bind_tcp(
        &self,
        endpoint: &Endpoint,
        host: &str,
        port: u16,
    ) -> Result<Door, TransportError> {
        let error = |why| TransportError::Bind { endpoint: endpoint.clone(), why };
        let io_error = |io: std::io::Error| error(io.to_string());
        let addresses: Vec<_> = lookup_host((host, port)).await.map_err(io_error)?.collect();
        if addresses.iter().any(|address| !self.is_permitted(address.ip())) {
            return Err(untrusted(endpoint));
        }
        let listening = TcpListener::bind(addresses.as_slice()).await;
        let listener = listening.map_err(|io| error(explain_bind(&io, host, port)))?;
        let bound = listener.local_addr().map_err(io_error)?;
        let reachable = address::reachable_at(bound).map_err(io_error)?;
        let endpoints = reachable.into_iter().filter_map(address::tcp_endpoint).collect();
        Ok(self.door(DoorSocket::Tcp(listener), endpoints))
    }

    async fn bind_ipc(&self, endpoint: &Endpoint, path: &Path) -> Result<Door, TransportError> {
        let error = |why| TransportError::Bind { endpoint: endpoint.clone(), why };
        let runtime_dir = &self.config.runtime_dir;
        let bound = folder::bind_known(path).await;
        let (listener, file) = bound.map_err(|folder| error(folder.to_string()))?;
        if path.parent() == Some(runtime_dir)
            && let Err(error) = folder::sweep(runtime_dir).await
        {
            tracing::debug!(%error, "sockets of dead processes may be left");
        }
        let endpoints = address::ipc_endpoint(path, runtime_dir).into_iter().collect();
        Ok(self.door(DoorSocket::Ipc(listener, file), endpoints))
    }

    fn door(&self, socket: DoorSocket, endpoints: Vec<Endpoint>) -> Door {
        Door {
            socket,
            endpoints,
            trust_network: self.config.trust_network,
            strays: Arc::clone(&self.strays),
            visitors: JoinSet::new(),
        }
    }

    /// A connection to the address that answers first.
    async fn reach_tcp(
        &self,
        endpoint: &Endpoint,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, TransportError> {
        let error = |error| connect_error(endpoint, error);
        let found: Vec<_> = lookup_host((host, port)).await.map_err(error)?.collect();
        let mut tries = JoinSet::new();
        for address in found.into_iter().filter(|address| self.is_permitted(address.ip())) {
            tries.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let mut why = UNTRUSTED.to_owned();
        while let Some(tried) = tries.join_next().await {
            match tried {
                Ok((_, Ok(stream))) => return Ok(stream),
                Ok((address, Err(error))) => why = format!("{address}: {error}"),
                Err(error) => why = error.to_string(),
            }
        }
        Err(connect_error(endpoint, why))
    }

    fn is_permitted(&self, ip: IpAddr) -> bool {
        self.config.trust_network || is_loopback(ip)
    }

    async fn dial(
        &self,
        endpoint: &Endpoint,
        address: Address,
        deadline: Instant,
    ) -> Result<Link, TransportError> {
        let strays = &self.strays;
        let dialled = match address {
            Address::Tcp { host, port } => {
                let door = self.reach_tcp(endpoint, &host, port).await?;
                let site = |address: std::io::Result<SocketAddr>| {
                    let address = address.map_err(|error| connect_error(endpoint, error))?;
                    Ok::<_, TransportError>(Site::Host(address.ip()))
                };
                let (here, there) = (site(door.local_addr())?, site(door.peer_addr())?);
                handshake::dial(door, &here, &there, strays, deadline).await
            }
            Address::Ipc(path) => {
                let (door, site) = reach_ipc(endpoint, &path).await?;
                handshake::dial(door, &site, &site, strays, deadline).await
            }
            Address::AnyIpc => return Err(only_to_listen_at(endpoint)),
        };
        match dialled {
            Ok(sockets) => Ok(link::link(endpoint.to_string(), sockets)),
            Err(HandshakeError::Refused(why)) => {
                Err(TransportError::Refused { peer: endpoint.to_string(), why })
            }
            Err(error) => Err(connect_error(endpoint, error)),
        }
    }
}

#[async_trait]
impl Transport for ZmqTransport {
    fn capabilities(&self) -> Capabilities {
        Capabilities { scheme: SCHEME, authenticated: false, encrypted: false, zero_copy: false }
    }

    async fn bind(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        let runtime_dir = &self.config.runtime_dir;
        let door = match Address::parse(endpoint, runtime_dir)? {
            Address::Tcp { host, port } => self.bind_tcp(endpoint, &host, port).await?,
            Address::Ipc(path) => self.bind_ipc(endpoint, &path).await?,
            Address::AnyIpc => {
                self.bind_ipc(endpoint, &runtime_dir.join(folder::name(random()))).await?
            }
        };
        Ok(Box::new(door))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Link, TransportError> {
        self.check_dial(endpoint)?;
        let address = Address::parse(endpoint, &self.config.runtime_dir)?;
        let deadline = Instant::now() + DIAL_TIMEOUT;
        let dialled = timeout_at(deadline + GRACE, self.dial(endpoint, address, deadline)).await;
        dialled.unwrap_or_else(|_| {
            let why = format!("no answer within {} s", (DIAL_TIMEOUT + GRACE).as_secs_f32());
            Err(TransportError::Connect { endpoint: endpoint.clone(), why })
        })
    }

    fn check_dial(&self, endpoint: &Endpoint) -> Result<(), TransportError> {
        let invalid =
            |why: String| TransportError::InvalidEndpoint { endpoint: endpoint.clone(), why };
        match Address::parse(endpoint, &self.config.runtime_dir)? {
            Address::Tcp { port: 0, .. } => Err(invalid(
                "port 0 is only for listening; dial the port that the node shows".to_owned(),
            )),
            Address::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(ip) if !self.is_permitted(ip) => Err(untrusted(endpoint)),
                _ => Ok(()),
            },
            Address::AnyIpc => Err(only_to_listen_at(endpoint)),
            Address::Ipc(_) => Ok(()),
        }
    }

    fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }
}

fn untrusted(endpoint: &Endpoint) -> TransportError {
    TransportError::Untrusted { endpoint: endpoint.clone(), why: UNTRUSTED.to_owned() }
}

fn only_to_listen_at(endpoint: &Endpoint) -> TransportError {
    let why = "it is only to listen at; write zmq://ipc/ and the socket's name".to_owned();
    TransportError::InvalidEndpoint { endpoint: endpoint.clone(), why }
}

/// A connection to a door's socket. Inboxes go beside it: who dials it reaches them too.
async fn reach_ipc(endpoint: &Endpoint, path: &Path) -> Result<(UnixStream, Site), TransportError> {
    let error = |why| connect_error(endpoint, why);
    let dialled = UnixStream::connect(path).await;
    let door = dialled.map_err(|io| error(format!("{}: {io}", path.display())))?;
    let folder = path.parent().ok_or_else(|| error("it has no folder".to_owned()))?;
    Ok((door, Site::Folder(folder.to_owned())))
}

fn connect_error(endpoint: &Endpoint, why: impl ToString) -> TransportError {
    TransportError::Connect { endpoint: endpoint.clone(), why: why.to_string() }
}

/// What to do about an address at which nobody can listen.
fn explain_bind(error: &std::io::Error, host: &str, port: u16) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("the TCP port {port} is in use; choose another, or 0 for any")
        }
        ErrorKind::AddrNotAvailable => {
            format!("{host} is no address of this machine; use 0.0.0.0 or [::] for all")
        }
        ErrorKind::PermissionDenied => {
            format!("the port {port} needs rights that this user lacks; choose one above 1023")
        }
        _ => error.to_string(),
    }
}

/// A number that nobody can guess, from the system's randomness. The `zeromq` crate has
/// it, as identities with 122 random bits; folding them makes 64.
fn random() -> u64 {
    let identity = PeerIdentity::new();
    identity.iter().fold(0_u64, |number, byte| number.rotate_left(8) ^ u64::from(*byte))
}

/// What is said where the network would have to be trusted.
const UNTRUSTED: &str = "the address is not loopback, and ZeroMQ links are neither \
     authenticated nor encrypted, and a peer can crash this process; use quic, unless every \
     host on that network is trusted";

/// How long a handshake may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(4);
/// What the steps of a handshake get on top to say which of them took too long.
const GRACE: Duration = Duration::from_millis(500);
