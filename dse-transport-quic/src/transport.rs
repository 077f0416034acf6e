//! The factory of links.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dse_core::protocol::Endpoint;
use dse_core::transport::{Capabilities, Link, Listener, Transport, TransportError};
use quinn::{ClientConfig, ServerConfig};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address::{Address, SCHEME};
use crate::driver::DriverRuntime;
use crate::handshake::{self, HandshakeError, Lanes};
use crate::identity::{Identity, IdentityError};
use crate::listener::QuicListener;
use crate::{nobody, socket, tls, tuning};

/// Dialling ends after this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one address of a name is tried alone before the next gets its turn beside
/// it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How many connections may wait until the listener looks at them; more are refused.
const INCOMING: usize = 128;

/// Stands where QUIC wants a server's name; it is not sent and nobody verifies it.
const SERVER_NAME: &str = "dse";

/// How a node uses QUIC.
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// Who the node is.
    pub identity: Identity,
    /// Up to which size of UDP payloads a path is searched for what it carries, in
    /// bytes; kept from 1200 to 6550. Loopback carries all, Ethernet 1472 (1452 over
    /// IPv6). Default 6400.
    pub mtu_bytes: u16,
    /// Hands the system many packets at once. To be switched off where a network driver
    /// gets that wrong. Default true.
    pub segmentation_offload: bool,
    /// The size of each socket's send and receive buffers, in bytes, as far as the
    /// system allows. Default 2 MiB.
    pub socket_buffer_bytes: usize,
}

impl QuicConfig {
    /// The defaults.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            mtu_bytes: 6400,
            segmentation_offload: true,
            socket_buffer_bytes: 2 * 1024 * 1024,
        }
    }
}

/// Links over QUIC, with mutual TLS always.
#[derive(Debug)]
pub struct QuicTransport {
    sockets: Arc<Sockets>,
    server: ServerConfig,
    client: ClientConfig,
}

impl QuicTransport {
    /// For one node. Opens no socket yet.
    ///
    /// # Errors
    /// The identity cannot be used for TLS.
    pub fn new(config: QuicConfig) -> Result<Self, IdentityError> {
        let mut server = ServerConfig::with_crypto(Arc::new(tls::server(&config.identity)?));
        server.transport_config(Arc::new(tuning::transport(&config, true))).max_incoming(INCOMING);
        let mut client = ClientConfig::new(Arc::new(tls::client(&config.identity)?));
        client.transport_config(Arc::new(tuning::transport(&config, false)));
        let sockets = Arc::new(Sockets { config, open: Mutex::default() });
        Ok(Self { sockets, server, client })
    }

    fn listen(&self, local: SocketAddr) -> io::Result<quinn::Endpoint> {
        self.sockets.open(local, Some(self.server.clone()))
    }

    /// Dials all addresses, each beginning a little after the one before or as soon as
    /// that has failed; the first link wins and the others are dropped.
    async fn dial_any(
        &self,
        endpoint: &Endpoint,
        addresses: Vec<SocketAddr>,
        failures: &mut Failures,
    ) -> Option<Lanes> {
        let mut untried = addresses.into_iter();
        let mut attempts = JoinSet::new();
        loop {
            if let Some(address) = untried.next() {
                match self.dial(address) {
                    Ok(connecting) => {
                        attempts
                            .spawn(async move { (address, attempt(address, connecting).await) });
                    }
                    Err(why) => failures.add(address, why),
                }
            } else if attempts.is_empty() {
                return None;
            }
            let finished = if untried.len() == 0 {
                attempts.join_next().await
            } else {
                timeout(NEXT_ADDRESS_AFTER, attempts.join_next()).await.unwrap_or(None)
            };
            match finished {
                Some(Ok((_, Ok(lanes)))) => return Some(lanes),
                Some(Ok((address, Err(error)))) => failures.add_error(endpoint, address, &error),
                Some(Err(error)) => tracing::error!(%error, "a dialling task failed"),
                None => {}
            }
        }
    }

    fn dial(&self, remote: SocketAddr) -> Result<quinn::Connecting, String> {
        let socket = self.sockets.for_dialling(remote).map_err(|error| error.to_string())?;
        let client = self.client.clone();
        socket.connect_with(client, remote, SERVER_NAME).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Transport for QuicTransport {
    fn capabilities(&self) -> Capabilities {
        Capabilities { scheme: SCHEME, authenticated: true, encrypted: true, zero_copy: false }
    }

    async fn bind(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        let address = Address::parse(endpoint)?;
        let failed = |why: String| TransportError::Bind { endpoint: endpoint.clone(), why };
        let resolved = timeout(CONNECT_TIMEOUT, address.resolve()).await;
        let addresses = resolved.unwrap_or_else(|_| Err(UNRESOLVED.to_owned())).map_err(failed)?;
        let mut why = String::new();
        for local in addresses {
            match self.listen(local) {
                Ok(socket) => return Ok(Box::new(QuicListener::new(socket, self.sockets.clone()))),
                Err(error) => why = explain_bind(&error, local),
            }
        }
        Err(failed(why))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Link, TransportError> {
        self.check_dial(endpoint)?;
        let address = Address::parse(endpoint)?;
        let mut failures = Failures::default();
        let dialling = async {
            match address.resolve().await {
                Ok(addresses) => self.dial_any(endpoint, addresses, &mut failures).await,
                Err(why) => {
                    failures.reasons.push(why);
                    None
                }
            }
        };
        match timeout(CONNECT_TIMEOUT, dialling).await {
            Ok(Some(lanes)) => Ok(lanes.into_link(endpoint.to_string())),
            Ok(None) => Err(failures.into_error(endpoint)),
            Err(_) => {
                let seconds = CONNECT_TIMEOUT.as_secs();
                failures.reasons.push(format!("nobody answered within {seconds} s"));
                Err(failures.into_error(endpoint))
            }
        }
    }

    fn check_dial(&self, endpoint: &Endpoint) -> Result<(), TransportError> {
        let why = match Address::parse(endpoint)? {
            address if address.port() == 0 => {
                "port 0 is only for listening; dial the port that the node shows"
            }
            Address::Socket(address) if address.ip().is_unspecified() => {
                "a wildcard address is only for listening; dial an address of that machine"
            }
            _ => return Ok(()),
        };
        Err(TransportError::InvalidEndpoint { endpoint: endpoint.clone(), why: why.to_owned() })
    }
}

/// A dial, unless the network knows better.
async fn attempt(
    remote: SocketAddr,
    connecting: quinn::Connecting,
) -> Result<Lanes, HandshakeError> {
    tokio::select! {
        dialled = handshake::dial(connecting) => dialled,
        why = nobody::listens_at(remote) => Err(HandshakeError::Unreachable(why)),
    }
}

const UNRESOLVED: &str = "the name service did not answer";

/// Why the addresses of an endpoint did not lead to a link.
#[derive(Default)]
struct Failures {
    refused: Option<TransportError>,
    reasons: Vec<String>,
}

impl Failures {
    fn add(&mut self, address: SocketAddr, why: String) {
        self.reasons.push(format!("{address}: {why}"));
    }

    fn add_error(&mut self, endpoint: &Endpoint, address: SocketAddr, error: &HandshakeError) {
        match (error.refusal(endpoint.as_str()), error) {
            (Some(refused), _) => self.refused = Some(refused),
            (None, HandshakeError::Connection(error)) => self.add(address, error.to_string()),
            (None, HandshakeError::Refused(why)) => self.add(address, (*why).to_owned()),
            (None, HandshakeError::Unreachable(why)) => self.add(address, why.clone()),
        }
    }

    /// A refusal says more than an address that does not answer.
    fn into_error(self, endpoint: &Endpoint) -> TransportError {
        self.refused.unwrap_or_else(|| TransportError::Connect {
            endpoint: endpoint.clone(),
            why: self.reasons.join("; "),
        })
    }
}

/// The sockets of a node.
#[derive(Debug)]
pub(crate) struct Sockets {
    config: QuicConfig,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Those of listeners. Where one can reach the other end it is dialled from, too: a
    /// node that is restarted there resets the connections that it had dialled.
    listening: Vec<quinn::Endpoint>,
    /// For all other dialling over IPv4, made at first use.
    v4: Option<quinn::Endpoint>,
    /// For all other dialling over IPv6, made at first use.
    v6: Option<quinn::Endpoint>,
}

impl Sockets {
    pub(crate) fn listening(&self, socket: &quinn::Endpoint) {
        self.lock().listening.push(socket.clone());
    }

    pub(crate) fn stopped_listening(&self, socket: &quinn::Endpoint) {
        let Ok(local) = socket.local_addr() else { return };
        self.lock().listening.retain(|other| other.local_addr().ok() != Some(local));
    }

    fn for_dialling(&self, remote: SocketAddr) -> io::Result<quinn::Endpoint> {
        let mut open = self.lock();
        let reaches = |socket: &&quinn::Endpoint| {
            socket.local_addr().is_ok_and(|local| socket::reaches(local, remote))
        };
        if let Some(socket) = open.listening.iter().find(reaches) {
            return Ok(socket.clone());
        }
        let (slot, any): (_, SocketAddr) = if remote.is_ipv4() {
            (&mut open.v4, (Ipv4Addr::UNSPECIFIED, 0).into())
        } else {
            (&mut open.v6, (Ipv6Addr::UNSPECIFIED, 0).into())
        };
        if let Some(socket) = slot {
            return Ok(socket.clone());
        }
        let socket = self.open(any, None)?;
        *slot = Some(socket.clone());
        Ok(socket)
    }

    fn open(&self, local: SocketAddr, server: Option<ServerConfig>) -> io::Result<quinn::Endpoint> {
        let socket = socket::bind(local, self.config.socket_buffer_bytes)?;
        let config =
            tuning::endpoint(&self.config, socket.local_addr()?).map_err(io::Error::other)?;
        quinn::Endpoint::new(config, server, socket, Arc::new(DriverRuntime))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn explain_bind(error: &io::Error, local: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the UDP port {} is in use; choose another, or 0 for any", local.port())
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine; use 0.0.0.0 or [::] for all", local.ip())
        }
        io::ErrorKind::PermissionDenied => {
            format!("the port {} needs rights that this user lacks", local.port())
        }
        _ => error.to_string(),
    }
}
