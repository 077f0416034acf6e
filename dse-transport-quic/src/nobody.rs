//! What the network says against an address.
//!
//! `quinn` sends from a socket that many peers share, to which the system tells nothing of
//! what became of a packet, so a port at which nobody listens looks like one that is slow
//! to answer. A socket that is connected to that address is told.
//!
//! Nobody vouches for what the network says: a forger who hits the addresses and ports of
//! both sides can end this one attempt. The next one comes by the backoff, and a link that
//! stands is beyond reach.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The pause before the second datagram; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Ends with the reason once the network says that nobody can be reached there, else
/// never: silence says nothing. It costs some datagrams, which are no QUIC packets and which
/// whoever listens there drops; more than one, because a node may end meanwhile.
pub(crate) async fn listens_at(remote: SocketAddr) -> String {
    match refused(remote).await {
        Ok(never) => match never {},
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => {
                format!("nobody listens at UDP port {}", remote.port())
            }
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                "there is no route to that address".to_owned()
            }
            // Not about the peer: the dial itself will tell.
            _ => std::future::pending().await,
        },
    }
}

async fn refused(remote: SocketAddr) -> io::Result<std::convert::Infallible> {
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(remote).await?;
    let mut pause = FIRST_PAUSE;
    loop {
        socket.send(&[0]).await?;
        let hearing = async {
            loop {
                socket.recv(&mut [0; 64]).await?;
            }
        };
        if let Ok(error) = timeout(pause, hearing).await {
            return error;
        }
        pause *= 2;
    }
}
