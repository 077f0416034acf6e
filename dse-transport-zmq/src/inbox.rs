//! The receiving end of a lane: a SUB socket that only one peer may fill.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_channel::mpsc;
use zeromq::util::PeerIdentity;
use zeromq::{Socket, SocketEvent, SocketOptions, SocketRecv, SubSocket, ZmqError};

use crate::address::Site;
use crate::folder::{self, FolderError, SocketFile};
use crate::wire::{Dial, Kind, Lane, Message, READ_BYTES};

/// A SUB socket, bound for one lane of one link. It listens only until its peer has
/// come, so its queue is that peer's alone: nobody else can fill it, and its error
/// concerns nobody else.
pub(crate) struct Inbox {
    lane: Lane,
    socket: SubSocket,
    events: mpsc::Receiver<SocketEvent>,
    listening: Option<zeromq::Endpoint>,
    /// Goes with the inbox at the latest: the socket of the crate removes it in a task of
    /// its own, which the end of the program may overtake.
    file: Option<SocketFile>,
    peer: Option<Peer>,
    next_sequence: u64,
    strays: Arc<AtomicU64>,
}

/// Who fills an inbox.
struct Peer {
    nonce: u64,
    identity: PeerIdentity,
    gone: bool,
}

/// Why an inbox cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InboxError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot listen at {0}: {1}")]
    Io(String, std::io::Error),
    #[error("cannot listen at {0}: {1}")]
    Zmq(String, ZmqError),
}

/// What ends a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LaneEnd {
    /// The peer's socket is closed.
    Gone(String),
    /// The peer broke the format.
    Broken(String),
}

impl Inbox {
    /// Listens at a free port or under a fresh name, and tells which.
    pub(crate) async fn bind(
        site: &Site,
        lane: Lane,
        strays: Arc<AtomicU64>,
    ) -> Result<(Self, u64), InboxError> {
        let mut options = SocketOptions::default();
        if lane == Lane::Data {
            options.read_buffer(DATA_READ_BYTES, READ_BYTES, 8);
        }
        let mut socket = SubSocket::with_options(options);
        let events = socket.monitor();
        let (listener, number, file) = listen(site).await?;
        let zmq_error = |error| InboxError::Zmq(site.socket(number), error);
        // Nobody is connected yet: this only remembers the topic for who comes.
        socket.subscribe(lane.topic()).await.map_err(zmq_error)?;
        let listening = socket.bind_listener(listener).await.map_err(zmq_error)?;
        let inbox = Self {
            lane,
            socket,
            events,
            listening: Some(listening),
            file,
            peer: None,
            next_sequence: 0,
            strays,
        };
        Ok((inbox, number))
    }

    /// Waits for the Dial that echoes `echo`; of the peer with the nonce `from`, if
    /// that is known. Then stops listening. Returns the peer's nonce and its Dial.
    pub(crate) async fn meet(&mut self, echo: u64, from: Option<u64>) -> (u64, Dial) {
        let (nonce, dial) = loop {
            // An error here is that of somebody who is not the peer.
            let Ok(message) = self.socket.recv().await else { continue };
            let dialled = Message::decode(self.lane, message)
                .and_then(|message| Some((message.nonce, Dial::decode(&message).ok()?)));
            match dialled {
                Some((nonce, dial))
                    if dial.echo == echo && from.is_none_or(|from| from == nonce) =>
                {
                    break (nonce, dial);
                }
                _ => self.count_stray(),
            }
        };
        self.peer = Some(Peer { nonce, identity: identity(nonce, self.lane), gone: false });
        self.next_sequence = 1;
        if let Some(endpoint) = self.listening.take()
            && let Err(error) = self.socket.unbind(endpoint).await
        {
            tracing::debug!(%error, "an inbox could not stop listening");
        }
        self.file = None;
        (nonce, dial)
    }

    /// The peer's next message.
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, LaneEnd>> {
        loop {
            // `recv` is cancel-safe: its state is in the socket, not in the future.
            let received = self.socket.recv().as_mut().poll(cx);
            match received {
                Poll::Ready(Ok(message)) => match Message::decode(self.lane, message) {
                    Some(message) if self.is_from_peer(message.nonce) => {
                        return Poll::Ready(self.in_sequence(message));
                    }
                    _ => self.count_stray(),
                },
                Poll::Ready(Err(error)) => {
                    if self.peer_is_gone() {
                        return Poll::Ready(Err(LaneEnd::Broken(error.to_string())));
                    }
                    self.count_stray();
                }
                Poll::Pending if self.peer_is_gone() => {
                    let why = format!("the peer's {:?} socket is closed", self.lane);
                    return Poll::Ready(Err(LaneEnd::Gone(why.to_lowercase())));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ends the subscription: to the peer it is the receipt for its `Bye`.
    pub(crate) fn unsubscribe(&mut self) {
        let unsubscribing = self.socket.unsubscribe(self.lane.topic());
        let unsubscribing = std::pin::pin!(unsubscribing);
        // The few bytes fit into the empty send buffer. If not, the closing socket says it.
        let _ = unsubscribing.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn is_from_peer(&self, nonce: u64) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.nonce == nonce)
    }

    fn in_sequence(&mut self, message: Message) -> Result<Message, LaneEnd> {
        let expected = self.next_sequence;
        if message.sequence != expected || message.kind == Kind::Dial {
            return Err(LaneEnd::Broken(format!(
                "message {} came where message {expected} must come",
                message.sequence
            )));
        }
        self.next_sequence += 1;
        Ok(message)
    }

    /// Reads what the socket says of its connections. The socket learns of a closed one
    /// only while it is polled, so this is up to date after each poll.
    fn peer_is_gone(&mut self) -> bool {
        let Some(peer) = &mut self.peer else { return false };
        while let Ok(event) = self.events.try_recv() {
            match event {
                SocketEvent::Disconnected(identity) if identity == peer.identity => {
                    peer.gone = true;
                }
                // Somebody came before this socket stopped listening.
                SocketEvent::Accepted(_, identity) if identity != peer.identity => {
                    self.socket.backend().peer_disconnected(&identity);
                }
                _ => {}
            }
        }
        peer.gone
    }

    fn count_stray(&self) {
        self.strays.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the XPUB socket of a lane calls itself. Fresh for each link, because a socket
/// replaces a connection by another of the same identity.
pub(crate) fn identity(nonce: u64, lane: Lane) -> PeerIdentity {
    let name = format!("{nonce:016x}{}", if lane == Lane::Control { "c" } else { "d" });
    // Infallible: it is neither empty nor longer than 255 bytes.
    name.parse().unwrap_or_default()
}

async fn listen(site: &Site) -> Result<(zeromq::Listener, u64, Option<SocketFile>), InboxError> {
    match site {
        Site::Host(ip) => {
            let io_error = |error| InboxError::Io(ip.to_string(), error);
            let listener = std::net::TcpListener::bind((*ip, 0)).map_err(io_error)?;
            let port = listener.local_addr().map_err(io_error)?.port();
            Ok((listener.into(), port.into(), None))
        }
        Site::Folder(path) => {
            let number = crate::random();
            let (listener, file) = folder::bind(&path.join(folder::name(number))).await?;
            Ok((listener.into(), number, Some(file)))
        }
    }
}

const DATA_READ_BYTES: usize = 4 * 1024;
