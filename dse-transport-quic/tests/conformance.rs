//! What every transport does alike, over quic.

mod common;

use std::any::Any;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use common::{TestAuthority, Wanted, endpoint, link, listen, node, socket_address};
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

/// Passes datagrams between one dialler and a listener, until it is cut.
struct Way {
    endpoint: Endpoint,
    cut: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Way {
    async fn to(listener: SocketAddr) -> Self {
        let socket = || tokio::net::UdpSocket::bind("127.0.0.1:0");
        let near = socket().await.expect("a socket");
        let far = socket().await.expect("a socket");
        far.connect(listener).await.expect("loopback");
        let endpoint = endpoint(&format!("quic://{}", near.local_addr().expect("it is bound")));
        let cut = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(relay(near, far, cut.clone()));
        Self { endpoint, cut, task }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(near: tokio::net::UdpSocket, far: tokio::net::UdpSocket, cut: Arc<AtomicBool>) {
    let mut dialler = None;
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let sent = tokio::select! {
            Ok((len, from)) = near.recv_from(&mut there) => {
                dialler = Some(from);
                if cut.load(Ordering::Relaxed) { continue }
                far.send(&there[..len]).await
            }
            Ok(len) = far.recv(&mut back) => {
                let Some(dialler) = dialler else { continue };
                if cut.load(Ordering::Relaxed) { continue }
                near.send_to(&back[..len], dialler).await
            }
            else => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

dse_core::conformance_tests!(QuicHarness);
