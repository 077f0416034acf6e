//! What every transport does alike, over quic.

mod common;

use std::any::Any;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use common::{TestAuthority, Wanted, Way, endpoint, link, listen, node, socket_address};
use dse_core::conformance::{Harness, Silenceable};
use dse_core::protocol::Endpoint;
use dse_core::transport::Transport;
use dse_transport_quic::{Identity, QuicTransport};

struct QuicHarness {
    /// All nodes have it, under one name: which is whose does not matter here, and keys
    /// take time to make.
    identity: Identity,
    /// Takes what is sent to the deserted endpoint, and says nothing.
    deserted: UdpSocket,
}

#[async_trait]
impl Harness for QuicHarness {
    async fn start() -> Self {
        let identity = TestAuthority::new().identity(Wanted::node("dse:node"));
        let deserted = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        Self { identity, deserted }
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.node())
    }

    fn any_endpoint(&self) -> Endpoint {
        endpoint("quic://127.0.0.1:0")
    }

    fn deserted_endpoint(&self) -> Endpoint {
        let address = self.deserted.local_addr().expect("it is bound");
        endpoint(&format!("quic://{address}"))
    }

    async fn silenceable(&self) -> Option<Silenceable> {
        let (mut listener, at) = listen(&self.node(), "quic://127.0.0.1:0").await;
        let way = Way::to(socket_address(&at)).await;
        let (near, far) = link(&self.node(), listener.as_mut(), &way.endpoint).await;
        let cut = way.cut.clone();
        let silence = Box::new(move || cut.store(true, Ordering::Relaxed));
        Some(Silenceable { near, far, silence, keep: Box::new((listener, way)) })
    }

    async fn intrude(&self, at: &Endpoint, bytes: &[u8]) -> Option<Box<dyn Any + Send>> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.send_to(bytes, socket_address(at)).expect("loopback takes it");
        Some(Box::new(socket))
    }
}

impl QuicHarness {
    fn node(&self) -> QuicTransport {
        node(self.identity.clone())
    }
}

dse_core::conformance_tests!(QuicHarness);
