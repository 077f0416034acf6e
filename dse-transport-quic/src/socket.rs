//! UDP sockets.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// A socket that is bound here. `[::]` takes IPv4 as well.
pub(crate) fn bind(local: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(!local.ip().is_unspecified())?;
    }
    // The system may allow less than is asked for, and some fail then: the socket works
    // all the same, only less smoothly under load.
    for result in
        [socket.set_recv_buffer_size(buffer_bytes), socket.set_send_buffer_size(buffer_bytes)]
    {
        if let Err(error) = result {
            tracing::debug!(%local, buffer_bytes, %error, "cannot set a socket buffer's size");
        }
    }
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// Can a socket that is bound to `local` be trusted to reach `remote`, and answers to
/// reach it? A wildcard can. A loopback address reaches only loopback. Any other address
/// may belong to the wrong interface.
pub(crate) fn reaches(local: SocketAddr, remote: SocketAddr) -> bool {
    if local.ip().is_unspecified() {
        return local.is_ipv6() || remote.is_ipv4();
    }
    local.is_ipv4() == remote.is_ipv4() && local.ip().is_loopback() && remote.ip().is_loopback()
}
