//! How two nodes make a link.
//!
//! ```text
//!  dialler                                      door
//!     │ binds two inboxes                         │
//!     ├── Dial{nonce A, inboxes of A} ───────────▶│
//!     │                                           │ binds two inboxes
//!     │◀─ Dial{nonce B, echo A, inboxes of B} ────┤ on both lanes
//!     ├── Dial{nonce A, echo B, inboxes of A} ───▶│ on both lanes
//!     │ up                                        │ up
//! ```
//!
//! Each side is up once the other has echoed its nonce on both lanes. When two nodes
//! dial each other, two links come up; the control bus keeps one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use zeromq::ZmqError;

use crate::address::Site;
use crate::inbox::{Inbox, InboxError, identity};
use crate::link::Sockets;
use crate::outlet::{Outlet, OutletError, REFUSAL, Upstream};
use crate::wire::{Dial, DialError, Inboxes, Kind, Lane, Message};
use crate::zmtp::{Visitor, ZmtpError};

/// Why no link came up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("this node cannot be dialled back: {0}")]
    Inbox(#[from] InboxError),
    #[error(transparent)]
    Outlet(#[from] OutletError),
    #[error(transparent)]
    Zmtp(#[from] ZmtpError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("it said: {0}")]
    Refused(String),
    #[error("it broke off: {0}")]
    Broken(ZmqError),
    #[error("it did not dial back to {0} in time; can it connect to there?")]
    NotDialledBack(String),
    #[error("it did not greet in time")]
    NoGreeting,
    #[error("it gave up")]
    GivenUp,
    #[error("it was dialled back and did not answer at {0} in time")]
    NotAnswered(String),
}

/// Opens a link to the door at `door`, as the `zeromq` crate writes it. `here` is where
/// the other side reaches this one, `there` where this side reaches the other.
pub(crate) async fn dial(
    door: &str,
    here: &Site,
    there: &Site,
    strays: &Arc<AtomicU64>,
    deadline: Instant,
) -> Result<Sockets, HandshakeError> {
    let nonce = crate::random();
    let mut inboxes = BoundInboxes::bind(here, strays).await?;
    let outlet = Outlet::open(door, Lane::Control, identity(nonce, Lane::Control)).await?;
    let dial = Dial { echo: 0, inboxes: inboxes.places };
    let mut at_door = send_dial(outlet, Lane::Control, nonce, dial).await?;
    let answer = async {
        tokio::select! {
            refusal = refusal(&mut at_door) => Err(refusal),
            peer = inboxes.meet(nonce, None) => Ok(peer),
        }
    };
    let answered = timeout_at(deadline, answer).await;
    let not_dialled_back = |_| HandshakeError::NotDialledBack(inboxes.description.clone());
    let (peer, answer) = answered.map_err(not_dialled_back)??;
    let dial = Dial { echo: peer, inboxes: inboxes.places };
    let (control, data) = open_outlets(there, answer.inboxes, nonce, dial).await?;
    Ok(inboxes.into_sockets(nonce, control, data))
}

/// Opens a link to a visitor of this node's door. `here` is where the visitor reaches
/// this side, `there` where this side reaches the visitor.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    here: &Site,
    there: &Site,
    strays: &Arc<AtomicU64>,
    deadline: Instant,
) -> Result<Sockets, HandshakeError> {
    let greeting = async {
        let mut visitor = Visitor::greet(stream, Lane::Control.topic()).await?;
        let message = visitor.message().await?;
        Ok::<_, ZmtpError>((visitor, message))
    };
    let greeted = timeout_at(deadline, greeting).await;
    let (mut visitor, message) = greeted.map_err(|_| HandshakeError::NoGreeting)??;
    let message = Message::decode(Lane::Control, message).ok_or(DialError::Malformed);
    let answered = match message.and_then(|message| Ok((message.nonce, Dial::decode(&message)?))) {
        Ok((peer, dial)) => dial_back(peer, dial, here, there, strays, deadline).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = &answered {
        if visitor.has_left().await {
            // As one does of two nodes that dial each other and have a link by then.
            tracing::debug!(%error, "a visitor gave up");
            return Err(HandshakeError::GivenUp);
        }
        let mut text = vec![REFUSAL];
        text.extend(error.to_string().as_bytes());
        // The visitor may be gone: then nobody needs the reason.
        let _ = timeout_at(deadline, visitor.send(&text)).await;
    }
    answered
}

async fn dial_back(
    peer: u64,
    dial: Dial,
    here: &Site,
    there: &Site,
    strays: &Arc<AtomicU64>,
    deadline: Instant,
) -> Result<Sockets, HandshakeError> {
    let nonce = crate::random();
    let mut inboxes = BoundInboxes::bind(here, strays).await?;
    let answer = Dial { echo: peer, inboxes: inboxes.places };
    let (control, data) = open_outlets(there, dial.inboxes, nonce, answer).await?;
    let met = timeout_at(deadline, inboxes.meet(nonce, Some(peer))).await;
    met.map_err(|_| HandshakeError::NotAnswered(inboxes.description.clone()))?;
    Ok(inboxes.into_sockets(nonce, control, data))
}

/// The inboxes of this side for one link.
struct BoundInboxes {
    control: Inbox,
    data: Inbox,
    places: Inboxes,
    /// For errors.
    description: String,
}

impl BoundInboxes {
    async fn bind(here: &Site, strays: &Arc<AtomicU64>) -> Result<Self, InboxError> {
        let (control, c) = Inbox::bind(here, Lane::Control, Arc::clone(strays)).await?;
        let (data, d) = Inbox::bind(here, Lane::Data, Arc::clone(strays)).await?;
        let places = match here {
            // Ports are 16 bits wide.
            Site::Host(_) => Inboxes::Ports { control: c as u16, data: d as u16 },
            Site::Folder(_) => Inboxes::Names { control: c, data: d },
        };
        let description = format!("{} and {}", here.socket(c), here.socket(d));
        Ok(Self { control, data, places, description })
    }

    /// Waits until the peer's Dial came on both lanes.
    async fn meet(&mut self, echo: u64, from: Option<u64>) -> (u64, Dial) {
        let (peer, dial) = self.control.meet(echo, from).await;
        self.data.meet(echo, Some(peer)).await;
        (peer, dial)
    }

    fn into_sockets(self, nonce: u64, control_outlet: Outlet, data_outlet: Outlet) -> Sockets {
        Sockets {
            nonce,
            control_outlet,
            control_inbox: self.control,
            data_outlet,
            data_inbox: self.data,
        }
    }
}

/// Connects to the other side's inboxes and says the Dial on both lanes.
async fn open_outlets(
    there: &Site,
    inboxes: Inboxes,
    nonce: u64,
    dial: Dial,
) -> Result<(Outlet, Outlet), HandshakeError> {
    let (control, data) = match (there, inboxes) {
        (Site::Host(_), Inboxes::Ports { control, data }) => (control.into(), data.into()),
        (Site::Folder(_), Inboxes::Names { control, data }) => (control, data),
        _ => return Err(DialError::Malformed.into()),
    };
    let open = async |lane, number| -> Result<Outlet, HandshakeError> {
        let outlet = Outlet::open(&there.socket(number), lane, identity(nonce, lane)).await?;
        send_dial(outlet, lane, nonce, dial).await
    };
    tokio::try_join!(open(Lane::Control, control), open(Lane::Data, data))
}

async fn send_dial(
    outlet: Outlet,
    lane: Lane,
    nonce: u64,
    dial: Dial,
) -> Result<Outlet, HandshakeError> {
    let message = Message { kind: Kind::Dial, nonce, sequence: 0, parts: vec![dial.encode()] };
    outlet.send(message.encode(lane)).await.map_err(HandshakeError::Broken)
}

/// Waits for what a door says against this node.
async fn refusal(at_door: &mut Outlet) -> HandshakeError {
    loop {
        match at_door.upstream().await {
            Ok(Upstream::Refused(text)) => {
                let text = String::from_utf8_lossy(&text);
                return HandshakeError::Refused(text.chars().filter(|c| !c.is_control()).collect());
            }
            Ok(_) => {}
            Err(error) => return HandshakeError::Broken(error),
        }
    }
}
