//! Links that others dial.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dse_core::protocol::Endpoint;
use dse_core::transport::{Link, Listener, TransportError};
use quinn::{ConnectionError, Incoming};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address;
use crate::handshake::{self, HandshakeError};
use crate::transport::Sockets;

/// A peer that has not become a link after this long is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most handshakes in flight. Those that come then wait, as many as
/// [`QuicConfig::max_incoming`](crate::QuicConfig::max_incoming); the rest is refused.
const HANDSHAKES: usize = 64;

/// From here on a peer has to prove that its address is its own before it takes one of
/// the rest. That costs it a round trip, so it is not asked for while there is no load.
const HANDSHAKES_UNPROVEN: usize = HANDSHAKES / 2;

/// Takes links on one socket. Handshakes run in tasks of their own, so that a slow or
/// silent peer holds up nobody.
pub(crate) struct QuicListener {
    endpoint: quinn::Endpoint,
    sockets: Arc<Sockets>,
    handshakes: JoinSet<Handshake>,
}

/// How a handshake came out. None: the peer gave up, as diallers do that reached
/// another address first.
type Handshake = Option<Result<Link, TransportError>>;

impl QuicListener {
    pub(crate) fn new(endpoint: quinn::Endpoint, sockets: Arc<Sockets>) -> Self {
        sockets.listening(&endpoint);
        Self { endpoint, sockets, handshakes: JoinSet::new() }
    }

    fn start_handshake(&mut self, incoming: Incoming) {
        let loaded = self.handshakes.len() >= HANDSHAKES_UNPROVEN;
        if loaded && !incoming.remote_address_validated() && incoming.may_retry() {
            // It fails only where no retry is allowed, which was just asked.
            let _ = incoming.retry();
            return;
        }
        let peer = address::text(incoming.remote_address());
        self.handshakes.spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake::accept(incoming)).await {
                Ok(Ok(lanes)) => Some(Ok(lanes.into_link(peer))),
                Ok(Err(error)) => failed(&error, &peer).map(Err),
                Err(_) => Some(Err(TransportError::Refused {
                    peer,
                    why: format!("no link stood after {} s", HANDSHAKE_TIMEOUT.as_secs()),
                })),
            }
        });
    }
}

#[async_trait]
impl Listener for QuicListener {
    fn endpoints(&self) -> Vec<Endpoint> {
        let Ok(local) = self.endpoint.local_addr() else {
            return Vec::new();
        };
        address::reachable_at(local)
            .into_iter()
            .filter_map(|reachable| Endpoint::new(address::text(reachable)).ok())
            .collect()
    }

    async fn accept(&mut self) -> Result<Link, TransportError> {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Some(result)) => return result,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a handshake's task failed"),
                },
                incoming = self.endpoint.accept(), if self.handshakes.len() < HANDSHAKES => {
                    let Some(incoming) = incoming else {
                        return Err(TransportError::Closed("the listener is closed".to_owned()));
                    };
                    self.start_handshake(incoming);
                }
            }
        }
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        self.sockets.stopped_listening(&self.endpoint);
        self.endpoint.set_server_config(None);
    }
}

fn failed(error: &HandshakeError, peer: &str) -> Option<TransportError> {
    if let Some(refused) = error.refusal(peer) {
        return Some(refused);
    }
    match error {
        HandshakeError::Connection(ConnectionError::TransportError(error)) => {
            Some(TransportError::Refused { peer: peer.to_owned(), why: error.to_string() })
        }
        other => {
            tracing::debug!(peer, error = ?other, "a peer gave up during the handshake");
            None
        }
    }
}
