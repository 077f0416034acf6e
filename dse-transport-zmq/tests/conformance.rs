//! What every transport does alike, over zmq.
#![allow(missing_docs)]

mod support;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use dse_core::conformance::{Harness, Silenceable};
use dse_core::protocol::Endpoint;
use dse_core::transport::Transport;
use support::relay::Relay;
use support::{Folder, endpoint, soon};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

mod tcp {
    use super::*;

    struct TcpHarness {
        folder: Folder,
        /// Bound, but it does not listen: nobody else gets its port.
        deserted: TcpSocket,
    }

    #[async_trait]
    impl Harness for TcpHarness {
        async fn start() -> Self {
            let deserted = TcpSocket::new_v4().expect("a socket");
            deserted.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            Self { folder: Folder::new(), deserted }
        }

        fn transport(&self) -> Arc<dyn Transport> {
            Arc::new(self.folder.transport())
        }

        fn any_endpoint(&self) -> Endpoint {
            endpoint("zmq://127.0.0.1:0")
        }

        fn deserted_endpoint(&self) -> Endpoint {
            let address = self.deserted.local_addr().expect("it is bound");
            endpoint(&format!("zmq://{address}"))
        }

        async fn silenceable(&self) -> Option<Silenceable> {
            let transport = self.folder.transport();
            let mut listener = transport.bind(&self.any_endpoint()).await.expect("bind");
            let door = listener.endpoints()[0].address().parse().expect("an address");
            let relay = Relay::default();
            let port = relay.open(door).await;
            let relayed = endpoint(&format!("zmq://127.0.0.1:{port}"));
            let (near, far) = soon("a link", async {
                tokio::join!(transport.connect(&relayed), listener.accept())
            })
            .await;
            Some(Silenceable {
                near: near.expect("connect"),
                far: far.expect("accept"),
                silence: Box::new(move || relay.cut()),
                keep: Box::new(listener),
            })
        }

        async fn intrude(&self, at: &Endpoint, bytes: &[u8]) -> Option<Box<dyn Any + Send>> {
            let mut stream = TcpStream::connect(at.address()).await.expect("somebody listens");
            stream.write_all(bytes).await.expect("there is room");
            Some(Box::new(stream))
        }
    }

    dse_core::conformance_tests!(TcpHarness);
}

mod ipc {
    use super::*;

    struct IpcHarness {
        folder: Folder,
    }

    #[async_trait]
    impl Harness for IpcHarness {
        async fn start() -> Self {
            Self { folder: Folder::new() }
        }

        fn transport(&self) -> Arc<dyn Transport> {
            Arc::new(self.folder.transport())
        }

        fn any_endpoint(&self) -> Endpoint {
            endpoint("zmq://ipc")
        }

        fn deserted_endpoint(&self) -> Endpoint {
            endpoint("zmq://ipc/00000000000000aa")
        }

        async fn silenceable(&self) -> Option<Silenceable> {
            // The kernel is the way; what tcp shows is the same code.
            None
        }

        async fn intrude(&self, at: &Endpoint, bytes: &[u8]) -> Option<Box<dyn Any + Send>> {
            let name = at.address().strip_prefix("ipc/").expect("a name");
            let stream = UnixStream::connect(self.folder.path().join(name)).await;
            let mut stream = stream.expect("somebody listens");
            stream.write_all(bytes).await.expect("there is room");
            Some(Box::new(stream))
        }
    }

    dse_core::conformance_tests!(IpcHarness);
}
