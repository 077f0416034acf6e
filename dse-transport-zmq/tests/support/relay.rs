//! A way between two nodes over TCP that can be cut.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// Stands before a door, and before each inbox that a Dial through it names: it writes
/// its own ports into the Dials.
#[derive(Clone, Default)]
pub struct Relay {
    cut: Arc<AtomicBool>,
    /// Ports of inboxes, and of the relay before them.
    ports: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl Relay {
    /// Relays to `to` from the port that is returned.
    pub fn open(&self, to: SocketAddr) -> Pin<Box<dyn Future<Output = u16> + Send>> {
        let relay = self.clone();
        Box::pin(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
            let port = listener.local_addr().expect("it is bound").port();
            tokio::spawn(async move {
                while let Ok((near, _)) = listener.accept().await {
                    let Ok(far) = TcpStream::connect(to).await else { continue };
                    let ((near_in, near_out), (far_in, far_out)) =
                        (near.into_split(), far.into_split());
                    tokio::spawn(relay.clone().pass(near_in, far_out));
                    tokio::spawn(relay.clone().pass(far_in, near_out));
                }
            });
            port
        })
    }

    /// From now on all is swallowed, and no connection ends any more.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    async fn pass(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let passed = self.pass_frames(&mut from, &mut to).await;
        if self.cut.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        drop((passed, to));
    }

    async fn pass_frames(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut greeting = [0; 64];
        from.read_exact(&mut greeting).await?;
        to.write_all(&greeting).await?;
        let mut dial_follows = false;
        loop {
            let flags = from.read_u8().await?;
            let (len, mut frame) = if flags & 2 == 0 {
                let len = from.read_u8().await?;
                (len.into(), vec![flags, len])
            } else {
                let len = from.read_u64().await?;
                (len as usize, [&[flags][..], &len.to_be_bytes()].concat())
            };
            let header = frame.len();
            frame.resize(header + len, 0);
            from.read_exact(&mut frame[header..]).await?;
            let body = &mut frame[header..];
            if dial_follows {
                self.redirect(&mut body[10..18]).await;
                self.redirect(&mut body[18..26]).await;
            }
            dial_follows =
                body.starts_with(b"dse/control/\x01") || body.starts_with(b"dse/data/\x01");
            if !self.cut.load(Ordering::Relaxed) {
                to.write_all(&frame).await?;
            }
        }
    }

    async fn redirect(&self, port: &mut [u8]) {
        let inbox = u64::from_be_bytes(port.try_into().expect("eight bytes"));
        let mut ports = self.ports.lock().await;
        let relayed = match ports.get(&inbox) {
            Some(relayed) => *relayed,
            None => {
                let to = SocketAddr::from(([127, 0, 0, 1], inbox as u16));
                let relayed = u64::from(self.open(to).await);
                ports.insert(inbox, relayed);
                relayed
            }
        };
        port.copy_from_slice(&relayed.to_be_bytes());
    }
}
