//! A door: where a node listens.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use dse_core::protocol::Endpoint;
use dse_core::transport::{Link, Listener, TransportError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::{SCHEME, Site, is_loopback};
use crate::folder::SocketFile;
use crate::handshake::{self, HandshakeError};
use crate::link::link;
use crate::zmtp::ZmtpError;
use crate::{DIAL_TIMEOUT, UNTRUSTED};

/// Takes links at one endpoint.
pub(crate) struct Door {
    pub(crate) socket: DoorSocket,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) trust_network: bool,
    pub(crate) strays: Arc<AtomicU64>,
    /// The visitors that have not become links yet; none for one who left in silence.
    pub(crate) visitors: JoinSet<Option<Result<Link, TransportError>>>,
}

/// What a door listens on.
pub(crate) enum DoorSocket {
    Tcp(TcpListener),
    Ipc(UnixListener, SocketFile),
}

enum Stream {
    Tcp(TcpStream, SocketAddr),
    Ipc(UnixStream, PathBuf),
}

#[async_trait]
impl Listener for Door {
    fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.clone()
    }

    async fn accept(&mut self) -> Result<Link, TransportError> {
        loop {
            // Visitors beyond the limit wait in the system's backlog.
            let room = self.visitors.len() < VISITORS_MAX;
            tokio::select! {
                Some(visit) = self.visitors.join_next() => match visit {
                    Ok(Some(outcome)) => return outcome,
                    Ok(None) => {}
                    Err(error) => return Err(self.accept_error(&error)),
                },
                stream = next_stream(&self.socket), if room => match stream {
                    Ok(stream) => self.receive(stream),
                    Err(error) => {
                        // Out of file descriptors, mostly: trying at once would not help.
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        return Err(self.accept_error(&error));
                    }
                },
            }
        }
    }
}

impl Door {
    fn receive(&mut self, stream: Stream) {
        let strays = Arc::clone(&self.strays);
        match stream {
            Stream::Tcp(stream, remote) => {
                let peer = format!("{SCHEME}://{remote}");
                if !self.trust_network && !is_loopback(remote.ip()) {
                    let why = UNTRUSTED.to_owned();
                    self.visitors.spawn(async { Some(Err(TransportError::Refused { peer, why })) });
                    return;
                }
                let Ok(local) = stream.local_addr() else { return };
                let here = Site::Host(local.ip().to_canonical());
                let there = Site::Host(remote.ip().to_canonical());
                self.visitors.spawn(visit(stream, peer, here, there, strays));
            }
            Stream::Ipc(stream, folder) => {
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                let peer = pid.map_or("a process".to_owned(), |pid| format!("process {pid}"));
                let site = Site::Folder(folder);
                self.visitors.spawn(visit(stream, peer, site.clone(), site, strays));
            }
        }
    }

    fn accept_error(&self, error: &dyn std::error::Error) -> TransportError {
        let peer = self.endpoints.first().map(Endpoint::to_string).unwrap_or_default();
        TransportError::Refused { peer, why: format!("a visitor, by this node: {error}") }
    }
}

async fn visit<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: String,
    here: Site,
    there: Site,
    strays: Arc<AtomicU64>,
) -> Option<Result<Link, TransportError>> {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    match handshake::answer(stream, &here, &there, &strays, deadline).await {
        Ok(sockets) => Some(Ok(link(peer, sockets))),
        // Who dials looks first whether somebody listens.
        Err(HandshakeError::Zmtp(ZmtpError::Silent) | HandshakeError::GivenUp) => None,
        Err(HandshakeError::Zmtp(ZmtpError::Io(error))) if is_reset(&error) => None,
        Err(error) => Some(Err(TransportError::Refused { peer, why: error.to_string() })),
    }
}

/// The visitor dropped its connection with what it was told unread: it gave up. Who ends
/// half way in what it says itself is told apart.
fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

async fn next_stream(socket: &DoorSocket) -> io::Result<Stream> {
    match socket {
        DoorSocket::Tcp(listener) => {
            let (stream, remote) = listener.accept().await?;
            Ok(Stream::Tcp(stream, remote))
        }
        DoorSocket::Ipc(listener, file) => {
            let (stream, _) = listener.accept().await?;
            let Some(folder) = file.path().parent() else { return pending().await };
            Ok(Stream::Ipc(stream, folder.to_owned()))
        }
    }
}

/// Most visitors at a time that have not become links yet.
const VISITORS_MAX: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
