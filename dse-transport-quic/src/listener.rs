//! Links that others dial.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dse_core::protocol::Endpoint;
use dse_core::transport::{Link, Listener, TransportError};
use quinn::{ConnectionError, Incoming};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::address;
use crate::handshake::{self, HandshakeError};
use crate::transport::Sockets;

/// A peer that has not become a link after this long is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most handshakes in flight. Who comes then takes the place of one whose address has
/// more of them than its own, or is not heard: it repeats its first packet by itself.
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
    /// Those in flight, the oldest first.
    places: Vec<Place>,
}

/// A handshake in flight.
struct Place {
    of: IpAddr,
    task: AbortHandle,
}

/// How a handshake came out. None: there was none, or the peer gave up, as diallers do
/// that reached another address first.
type Handshake = Option<Result<Link, TransportError>>;

impl QuicListener {
    pub(crate) fn new(endpoint: quinn::Endpoint, sockets: Arc<Sockets>) -> Self {
        sockets.listening(&endpoint);
        Self { endpoint, sockets, handshakes: JoinSet::new(), places: Vec::new() }
    }

    fn start_handshake(&mut self, incoming: Incoming) {
        self.places.retain(|place| !place.task.is_finished());
        let loaded = self.places.len() >= HANDSHAKES_UNPROVEN;
        if loaded && !incoming.remote_address_validated() && incoming.may_retry() {
            // It fails only where no retry is allowed, which was just asked.
            let _ = incoming.retry();
            return;
        }
        let of = incoming.remote_address().ip();
        if self.places.len() >= HANDSHAKES && !self.make_room(of) {
            incoming.ignore();
            return;
        }
        let peer = address::text(incoming.remote_address());
        let task = self.handshakes.spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake::accept(incoming)).await {
                Ok(Ok(Some(lanes))) => Some(Ok(lanes.into_link(peer))),
                Ok(Ok(None)) => {
                    tracing::debug!(peer, "a packet came that begins no handshake");
                    None
                }
                Ok(Err(error)) => failed(&error, &peer).map(Err),
                Err(_) => Some(Err(TransportError::Refused {
                    peer,
                    why: format!("no link stood after {} s", HANDSHAKE_TIMEOUT.as_secs()),
                })),
            }
        });
        self.places.push(Place { of, task });
    }

    /// Gives up a handshake for a newcomer, if there is one to be given up.
    fn make_room(&mut self, newcomer: IpAddr) -> bool {
        let held: Vec<_> = self.places.iter().map(|place| place.of).collect();
        let Some(place) = gives_way(&held, newcomer) else { return false };
        self.places.remove(place).task.abort();
        true
    }
}

/// Which of the places, the oldest first, a newcomer takes: the oldest of the address that
/// has most of them, if that leaves it no fewer than the newcomer's address then has. So
/// who holds places without end, as one that never goes on does, holds them against nobody
/// else.
fn gives_way(held: &[IpAddr], newcomer: IpAddr) -> Option<usize> {
    let held_by = |of| held.iter().filter(|other| **other == of).count();
    let greediest = held.iter().max_by_key(|of| held_by(**of))?;
    if held_by(*greediest) <= held_by(newcomer) + 1 {
        return None;
    }
    held.iter().position(|of| of == greediest)
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
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => tracing::error!(%error, "a handshake's task failed"),
                },
                incoming = self.endpoint.accept() => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greediest_gives_way_to_who_has_fewer_places() {
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let held = [1, 2, 2, 1, 2].map(ip);
        assert_eq!(gives_way(&held, ip(3)), Some(1), "the oldest of the one that has most");
        assert_eq!(gives_way(&held, ip(1)), None, "it would have more than it leaves");
        assert_eq!(gives_way(&held, ip(2)), None, "nobody gives way to the greediest");
        assert_eq!(gives_way(&[1, 2, 3].map(ip), ip(4)), None, "nobody has more than one");
    }
}
