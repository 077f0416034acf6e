//! The traits that transports implement (ARCHITECTURE.md, "Transports").
//!
//! A transport is a factory of links. A [`Link`] pairs two nodes and has two
//! lanes, control and data, each with a sending and a receiving half that one task
//! owns. Control never waits behind data (law L9). Each lane delivers whole frames,
//! in order, once, or the link fails: every half then returns an error, and never
//! loses a frame silently.
//!
//! A transport does *not* probe: the runtime puts its own small probe frames on the
//! control lane and decides when a silent peer is down, so that all transports
//! behave alike. A transport reports what it sees (end of file, reset, a write
//! that fails) as an error, and what it only suspects as [`Received::Hint`].
//!
//! Dropping all four halves closes the link at once.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use std::collections::VecDeque;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;

use crate::data::DataFrame;
use crate::protocol::Endpoint;

/// Longest control frame that a transport carries: a control message and what the
/// runtime puts before it.
pub const CONTROL_FRAME_BYTES: usize = crate::protocol::limits::CONTROL_MESSAGE_BYTES + 16;

/// Longest data frame in its wire form, in bytes.
pub const DATA_FRAME_BYTES: usize = 16 * 1024 * 1024 + 64 * 1024;

/// What a transport can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The scheme of its endpoints, such as `quic`.
    pub scheme: &'static str,
    /// Links tell the peer's authenticated name.
    pub authenticated: bool,
    /// What links carry cannot be read on the way.
    pub encrypted: bool,
    /// Payloads pass by reference: they are never copied.
    pub zero_copy: bool,
}

/// A factory of links: one for each node that uses it.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Listens at an endpoint. Port 0 means any free port.
    ///
    /// # Errors
    /// [`TransportError::InvalidEndpoint`], [`TransportError::Untrusted`] or
    /// [`TransportError::Bind`].
    async fn bind(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, TransportError>;

    /// Connects to an endpoint, at whichever of its addresses answers first.
    /// Ends within 5 s. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// [`TransportError::InvalidEndpoint`], [`TransportError::Untrusted`],
    /// [`TransportError::Connect`] or [`TransportError::Refused`].
    async fn connect(&self, endpoint: &Endpoint) -> Result<Link, TransportError>;

    /// Can this endpoint ever be dialled? Only looks at it: what has no port, or is no
    /// address of a peer, is told before a node tries it for ever.
    ///
    /// # Errors
    /// What [`connect`](Self::connect) would always fail with.
    fn check_dial(&self, _endpoint: &Endpoint) -> Result<(), TransportError> {
        Ok(())
    }

    /// How many messages of strangers, that belong to no link, were dropped so far.
    fn strays(&self) -> u64 {
        0
    }
}

/// Takes links from others. Dropping it stops listening; links live on.
#[async_trait]
pub trait Listener: Send {
    /// Where it listens, with real ports; for a wildcard address, one endpoint for
    /// each address at which others can reach this machine.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// The next link. Cancel-safe.
    ///
    /// # Errors
    /// [`TransportError::Closed`] ends the listener. Every other error concerns one
    /// peer that was refused: report it and go on.
    async fn accept(&mut self) -> Result<Link, TransportError>;
}

/// An established pairing of two nodes.
pub struct Link {
    /// The endpoint that was dialled, or where the peer came from.
    pub remote: String,
    /// The peer's authenticated name, if the transport has such.
    pub identity: Option<Box<str>>,
    /// Sends on the control lane.
    pub control_sender: Box<dyn ControlSender>,
    /// Receives on the control lane.
    pub control_receiver: Box<dyn ControlReceiver>,
    /// Sends on the data lane.
    pub data_sender: Box<dyn DataSender>,
    /// Receives on the data lane.
    pub data_receiver: Box<dyn DataReceiver>,
}

impl core::fmt::Debug for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Link").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// The sending half of a control lane.
pub trait ControlSender: Send {
    /// Takes frames from the front as far as there is room. Ready once all are taken
    /// and on their way; pending leaves the rest in the queue, each frame whole: others
    /// may stand before it at the next call. Called with an empty queue while what was
    /// taken is not on its way, it goes on with that.
    ///
    /// # Errors
    /// The link is gone, or the first frame is longer than [`CONTROL_FRAME_BYTES`]
    /// ([`TransportError::TooLong`]).
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), TransportError>>;

    /// Ends the lane: ready once the peer has received all that was sent, or once this
    /// cannot be known or hoped for any more. The caller bounds the wait.
    ///
    /// # Errors
    /// The link is gone.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;
}

/// What came in on a control lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// At least one frame was appended.
    Frames,
    /// No frame, but a sign that the peer may be gone: probe it.
    Hint,
}

/// The receiving half of a control lane.
pub trait ControlReceiver: Send {
    /// Appends what frames there are, at most 64 a call, none longer than
    /// [`CONTROL_FRAME_BYTES`]. A short frame is memory of its own: who keeps it counts its
    /// length.
    ///
    /// # Errors
    /// The peer closed the link ([`TransportError::Closed`]), broke the framing
    /// ([`TransportError::Malformed`]), or is gone.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<Bytes>,
    ) -> Poll<Result<Received, TransportError>>;
}

/// The sending half of a data lane.
pub trait DataSender: Send {
    /// Takes the frame if there is room: ready and `frame` is none, else pending and
    /// `frame` is untouched. What is taken is on its way without a flush. What a link
    /// holds of taken and unsent frames is bounded to 2 MiB or one frame.
    ///
    /// # Errors
    /// The link is gone, or the frame's wire form is longer than [`DATA_FRAME_BYTES`]
    /// ([`TransportError::TooLong`]).
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        frame: &mut Option<DataFrame>,
    ) -> Poll<Result<(), TransportError>>;
}

/// The receiving half of a data lane.
pub trait DataReceiver: Send {
    /// The next frame, in wire form no longer than [`DATA_FRAME_BYTES`]. What is not
    /// received stays in bounded buffers and holds the sender up. A frame holds on to little
    /// memory beside its own.
    ///
    /// # Errors
    /// As [`ControlReceiver::poll_recv`].
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>>;
}

/// Why a transport could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The endpoint is not one of this transport, or is badly written.
    #[error("invalid endpoint {endpoint}: {why}")]
    InvalidEndpoint {
        /// The endpoint.
        endpoint: Endpoint,
        /// What is wrong and what would be right.
        why: String,
    },
    /// The endpoint is beyond where this transport may listen and dial: it proves nobody's
    /// identity, and was not told to trust that network.
    #[error("{endpoint} is not permitted: {why}")]
    Untrusted {
        /// The endpoint.
        endpoint: Endpoint,
        /// What would have to be trusted.
        why: String,
    },
    /// Cannot listen there.
    #[error("cannot listen at {endpoint}: {why}")]
    Bind {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why, and what to do.
        why: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {endpoint}: {why}")]
    Connect {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        why: String,
    },
    /// One side did not accept the other: certificate, greeting or trust.
    #[error("{peer} was refused: {why}")]
    Refused {
        /// The endpoint or address of the other.
        peer: String,
        /// Why, and what to do.
        why: String,
    },
    /// The peer closed the link in order, or this side dropped it.
    #[error("the link is closed: {0}")]
    Closed(String),
    /// The link broke.
    #[error("the link is lost: {0}")]
    Lost(String),
    /// The peer sent what is no frame.
    #[error("malformed input: {0}")]
    Malformed(String),
    /// The frame to be sent is longer than its lane carries. Nothing of it was sent; it
    /// is still the caller's.
    #[error("a {lane} frame of {len} bytes is longer than the {limit} that a link carries")]
    TooLong {
        /// "control" or "data".
        lane: &'static str,
        /// The frame's length, in bytes.
        len: usize,
        /// [`CONTROL_FRAME_BYTES`] or [`DATA_FRAME_BYTES`].
        limit: usize,
    },
}
