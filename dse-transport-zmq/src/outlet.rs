//! The sending end of a lane: an XPUB socket with one subscriber.

use std::time::Duration;

use tokio::time::timeout;
use zeromq::util::PeerIdentity;
use zeromq::{
    Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, XPubSocket, ZmqError, ZmqMessage,
};

use crate::wire::Lane;

/// An XPUB socket, connected to one inbox that has subscribed to the lane's topic. With
/// one subscriber an awaited send is that subscriber's backpressure.
pub(crate) struct Outlet {
    lane: Lane,
    socket: XPubSocket,
    subscriber: PeerIdentity,
}

/// Why an outlet cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutletError {
    #[error("cannot connect to {0}: {1}")]
    Zmq(String, ZmqError),
    #[error("{0} answered, but not as an inbox")]
    NoInbox(String),
    #[error("cannot connect to {0}: no inbox answers there within {OPEN_TIMEOUT:?}")]
    NoAnswer(String),
}

impl Outlet {
    /// Connects and waits for the subscription: what is sent before it would be lost.
    pub(crate) async fn open(
        address: &str,
        lane: Lane,
        identity: PeerIdentity,
    ) -> Result<Self, OutletError> {
        let opened = timeout(OPEN_TIMEOUT, Self::connect(address, lane, identity)).await;
        opened.map_err(|_| OutletError::NoAnswer(address.to_owned()))?
    }

    async fn connect(
        address: &str,
        lane: Lane,
        identity: PeerIdentity,
    ) -> Result<Self, OutletError> {
        let zmq_error = |error| OutletError::Zmq(address.to_owned(), error);
        let no_inbox = || OutletError::NoInbox(address.to_owned());
        let mut options = SocketOptions::default();
        // The caller has a deadline. Until then the crate tries again, also where nobody
        // listens.
        options.peer_identity(identity).no_connect_timeout();
        let mut socket = XPubSocket::with_options(options);
        let mut events = socket.monitor();
        socket.connect(address).await.map_err(zmq_error)?;
        let subscriber = loop {
            match events.try_recv() {
                Ok(SocketEvent::Connected(_, identity)) => break identity,
                Ok(_) => {}
                Err(_) => return Err(no_inbox()),
            }
        };
        let mut outlet = Self { lane, socket, subscriber };
        match outlet.upstream().await.map_err(zmq_error)? {
            Upstream::Subscribed => Ok(outlet),
            _ => Err(no_inbox()),
        }
    }

    /// Sends one message. Takes the outlet along, because a send that is given up leaves
    /// half a message behind: the socket is finished then.
    pub(crate) async fn send(mut self, message: ZmqMessage) -> Result<Self, ZmqError> {
        self.socket.send(message).await?;
        Ok(self)
    }

    /// The next word from the other end.
    pub(crate) async fn upstream(&mut self) -> Result<Upstream, ZmqError> {
        loop {
            let mut parts = self.socket.recv().await?.into_vecdeque();
            let (Some(part), true) = (parts.pop_front(), parts.is_empty()) else { continue };
            let topic = self.lane.topic().as_bytes();
            match part.split_first() {
                Some((1, rest)) if rest == topic => return Ok(Upstream::Subscribed),
                Some((0, rest)) if rest == topic => return Ok(Upstream::Unsubscribed),
                _ => {}
            }
        }
    }
}

/// What the other end says.
pub(crate) enum Upstream {
    /// It wants the lane.
    Subscribed,
    /// It has read the `Bye`.
    Unsubscribed,
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // A dropped XPUB socket keeps its connection as long as a `recv` was left
        // pending: the waker that it registered holds the connection that holds the
        // waker. This removes the connection.
        self.socket.backend().peer_disconnected(&self.subscriber);
    }
}

/// How long an inbox that is known to be there may take to subscribe.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
