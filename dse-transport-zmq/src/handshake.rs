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
//! The one at the door is up once its nonce was echoed on both lanes. Then it closes the
//! dialler's connection to the door, and with that the dialler is up. Whoever sees that
//! connection end before knows at once that the other side has ended. The sockets of the
//! crate do not tell: an outlet tries again where nobody listens any more, and an inbox
//! waits for whoever may come.
//!
//! When two nodes dial each other, two links come up; the control bus keeps one.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use zeromq::{ZmqError, ZmqMessage};

use crate::address::Site;
use crate::inbox::{Inbox, InboxError, identity};
use crate::link::Sockets;
use crate::outlet::{Outlet, OutletError};
use crate::wire::{Dial, DialError, Inboxes, Kind, Lane, Message};
use crate::zmtp::{Doorstep, Visitor, ZmtpError};

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
    #[error("it did not say in time that the link stands")]
    NotTaken,
    #[error("it gave up")]
    GivenUp,
    #[error("it was dialled back and did not answer at {0} in time")]
    NotAnswered(String),
}

/// Opens a link by a connection to a door. `here` is where the other side reaches this
/// one, `there` where this side reaches the other.
pub(crate) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    door: S,
    here: &Site,
    there: &Site,
    strays: &Arc<AtomicU64>,
    deadline: Instant,
) -> Result<Sockets, HandshakeError> {
    let nonce = crate::random();
    let mut inboxes = BoundInboxes::bind(here, strays).await?;
    let greeting = async {
        let mut doorstep = Doorstep::enter(door, Lane::Control.topic()).await?;
        let dial = Dial { echo: 0, inboxes: inboxes.places };
        doorstep.say(dial_message(Lane::Control, nonce, dial)).await?;
        Ok::<_, ZmtpError>(doorstep)
    };
    let greeted = timeout_at(deadline, greeting).await;
    let mut doorstep = greeted.map_err(|_| HandshakeError::NoGreeting)??;
    let meeting = async {
        let met = timeout_at(deadline, inboxes.meet(nonce, None)).await;
        let not_dialled_back = |_| HandshakeError::NotDialledBack(inboxes.description.clone());
        let (peer, answer) = met.map_err(not_dialled_back)?;
        let dial = Dial { echo: peer, inboxes: inboxes.places };
        open_outlets(there, answer.inboxes, nonce, dial).await
    };
    let mut refusal = pin!(doorstep.refusal());
    let (control, data) = tokio::select! {
        // First of all: the door closes once it has what this says last.
        biased;
        met = meeting => met?,
        refusal = &mut refusal => return Err(refused(refusal)),
    };
    match timeout_at(deadline, refusal).await {
        Ok(None) => Ok(inboxes.into_sockets(nonce, control, data)),
        Ok(refusal) => Err(refused(refusal)),
        Err(_) => Err(HandshakeError::NotTaken),
    }
}

fn refused(refusal: Option<String>) -> HandshakeError {
    refusal.map_or(HandshakeError::GivenUp, HandshakeError::Refused)
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
        Ok((peer, dial)) => tokio::select! {
            // As one does who ends, or of two nodes that dial each other and have a link.
            biased;
            () = visitor.left() => Err(HandshakeError::GivenUp),
            answered = dial_back(peer, dial, here, there, strays, deadline) => answered,
        },
        Err(error) => Err(error.into()),
    };
    match &answered {
        Ok(_) | Err(HandshakeError::GivenUp) => {}
        // The visitor may be gone: then nobody needs the reason.
        Err(error) => {
            let _ = timeout_at(deadline, visitor.refuse(&error.to_string())).await;
        }
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
    outlet.send(dial_message(lane, nonce, dial)).await.map_err(HandshakeError::Broken)
}

fn dial_message(lane: Lane, nonce: u64, dial: Dial) -> ZmqMessage {
    let message = Message { kind: Kind::Dial, nonce, sequence: 0, parts: vec![dial.encode()] };
    message.encode(lane)
}
