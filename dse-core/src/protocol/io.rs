//! All that goes into the control bus and all that comes out of it.
//!
//! The drain rule: after each [`handle_input`](super::ControlBus::handle_input),
//! call [`poll_output`](super::ControlBus::poll_output) until it returns `None`,
//! do what it says in that order, then ask
//! [`poll_timeout`](super::ControlBus::poll_timeout) when to come back.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::Serialize;

use super::declaration::Declaration;
use super::errors::{CommandError, DialError, StatsError, StopReason};
use super::features::Features;
use super::ids::{DialId, LinkId, SubscriptionId, Ticket};
use super::key::{Key, KeyExpr};
use super::message::{LeaveReason, RejectReason, Role};
use super::names::{Endpoint, Incarnation, NodeId};
use super::options::InterestOptions;
use super::wire::Skipped;

/// What the world tells the control bus.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time that `poll_timeout` named has come.
    Timeout,
    /// A link stands, in either direction. Nothing was said on it yet.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// The [`Output::Connect`] that it comes from; none if the other dialled.
        dial: Option<DialId>,
        /// The other's authenticated name, where the transport has one.
        identity: Option<Box<str>>,
    },
    /// An [`Output::Connect`] led nowhere.
    ConnectFailed {
        /// Which.
        dial: DialId,
        /// Why, in words.
        error: String,
    },
    /// A link fell. Not given for links that the core closed by
    /// [`Output::Disconnect`].
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why, in words.
        error: String,
    },
    /// A message came in on the control lane.
    Message {
        /// The link.
        link: LinkId,
        /// The message as it was sent.
        bytes: Bytes,
    },
    /// The other end of the link answered an [`Output::Probe`].
    Probed {
        /// The link.
        link: LinkId,
    },
    /// The application wants something.
    Command(Command),
}

/// What the application wants.
#[derive(Clone, Debug)]
pub enum Command {
    /// Expose something. Answered by [`Event::Done`].
    Declare {
        /// Named in the reply.
        ticket: Ticket,
        /// What.
        declaration: Declaration,
    },
    /// Change kind, encoding or metadata of what is exposed. Answered by
    /// [`Event::Done`].
    Redeclare {
        /// Named in the reply.
        ticket: Ticket,
        /// What it becomes; the key must be declared.
        declaration: Declaration,
    },
    /// Expose it no more. Answered by [`Event::Done`].
    Undeclare {
        /// Named in the reply.
        ticket: Ticket,
        /// Which.
        key: Key,
    },
    /// Want the samples of all that matches. Answered by [`Event::Done`].
    Subscribe {
        /// Named in the reply.
        ticket: Ticket,
        /// The application's number for it.
        subscription: SubscriptionId,
        /// What is wanted.
        keys: KeyExpr,
        /// What is asked of the routes that bring it.
        options: InterestOptions,
    },
    /// Want them no more.
    Unsubscribe {
        /// Which.
        subscription: SubscriptionId,
    },
    /// Ask the bus. Answered by [`Event::Answered`].
    Request {
        /// Named in the reply.
        ticket: Ticket,
        /// What is sought.
        keys: KeyExpr,
        /// When to give up, from now.
        timeout: core::time::Duration,
    },
    /// Ask one node for its counters. Answered by [`Event::StatsReceived`].
    RequestStats {
        /// Named in the reply.
        ticket: Ticket,
        /// Whom.
        node: NodeId,
        /// When to give up, from now.
        timeout: core::time::Duration,
    },
    /// The reply to [`Event::StatsRequested`].
    SendStats {
        /// The link of the asker.
        link: LinkId,
        /// The asker's number.
        request: u64,
        /// Counters by name.
        counters: Vec<(Box<str>, u64)>,
    },
    /// Dial this endpoint for ever: somebody on the bus is there.
    AddSeed {
        /// Where.
        endpoint: Endpoint,
    },
    /// Try this endpoint a few times: somebody may be there.
    AddHint {
        /// Where.
        endpoint: Endpoint,
    },
    /// Give up a hint: whoever was thought to be there is known to be gone.
    DropHint {
        /// Where.
        endpoint: Endpoint,
    },
    /// Leave the bus. Ends with [`Event::Stopped`].
    Leave,
    /// Send the whole index to all peers again. No part of the protocol needs it: it
    /// is the old system's periodic broadcast, kept to be measured against.
    Reannounce,
}

/// What the control bus wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Try to connect; answer with [`Input::LinkUp`] or [`Input::ConnectFailed`].
    Connect {
        /// The number of the attempt.
        dial: DialId,
        /// Where.
        endpoint: Endpoint,
    },
    /// Close the link once what was sent before is written, and forget its number.
    Disconnect {
        /// Which.
        link: LinkId,
    },
    /// Put a message on the control lane.
    Send {
        /// The link.
        link: LinkId,
        /// The message.
        bytes: Bytes,
    },
    /// From now on the link is watched in this way. Given as a link opens, and again when
    /// the membership changes it.
    Watch {
        /// The link.
        link: LinkId,
        /// How.
        watch: Watch,
    },
    /// Find out now whether the other end lives: answer with [`Input::Probed`] or
    /// [`Input::LinkDown`].
    Probe {
        /// The link.
        link: LinkId,
    },
    /// Tell the application or the driver.
    Event(Event),
}

/// How the two ends of a link watch each other, as far as this end has a part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// How this node listens to the peer.
    pub listen: Listen,
    /// The peer's turn among this node's watchers, whom it tells that it lives, if the peer
    /// is one of them.
    pub beats: Option<BeatTurn>,
}

/// How a node listens to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// As one of its watchers, each of whom it tells in turn that it lives.
    Close,
    /// A dead peer is known once one of its watchers tells, and by itself much later: the
    /// more links this node has, the later.
    Lazy,
    /// Nobody else listens: the peer is a guest.
    Alone,
}

/// The turn of one of those whom a node tells that it lives, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeatTurn {
    /// Which, counted from 0.
    pub number: u32,
    /// How many there are: at least one.
    pub of: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command was carried out, or was not.
    Done {
        /// Which.
        ticket: Ticket,
        /// Why it was not.
        result: Result<(), CommandError>,
    },
    /// A request is answered as far as it will be.
    Answered {
        /// Which.
        ticket: Ticket,
        /// What came of it.
        report: Report,
    },
    /// A node's counters came, or did not.
    StatsReceived {
        /// Which.
        ticket: Ticket,
        /// The counters by name.
        result: Result<Vec<(Box<str>, u64)>, StatsError>,
    },
    /// A peer wants our counters: answer with [`Command::SendStats`].
    StatsRequested {
        /// The link of the asker.
        link: LinkId,
        /// The asker's number.
        request: u64,
    },

    /// A link opened: data may flow. For a peer that was up before, this link replaces
    /// the earlier one.
    LinkOpened {
        /// Its number.
        link: LinkId,
        /// Who is there.
        peer: PeerInfo,
    },
    /// A link that was open is no more.
    LinkClosed {
        /// Its number.
        link: LinkId,
        /// Who was there.
        node: NodeId,
    },
    /// A member is up. Events [`Event::Declared`] for all that it exposes follow as
    /// they become known.
    NodeUp {
        /// Who.
        peer: PeerInfo,
    },
    /// A member is gone without a word, and with it all it had declared.
    NodeDown {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
        /// Why, in words.
        error: String,
    },
    /// A member left gracefully, and with it all it had declared. After a
    /// [`Event::NodeDown`] it corrects that.
    NodeLeft {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
        /// Why.
        reason: LeaveReason,
    },
    /// A member left, or vanished and was not seen for `forget_after`: what was kept of
    /// it is dropped.
    PeerForgotten {
        /// Who.
        node: NodeId,
    },
    /// A node exposes something new.
    Declared {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
        /// What.
        declaration: Declaration,
    },
    /// What a node exposes changed in kind, encoding or metadata.
    Changed {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
        /// What it is now.
        declaration: Declaration,
    },
    /// A node exposes something no more.
    Undeclared {
        /// Who.
        node: NodeId,
        /// Which incarnation of it.
        incarnation: Incarnation,
        /// What it was.
        declaration: Declaration,
    },

    /// A peer wants this key of ours: route its samples to the link.
    RouteAdded {
        /// The key.
        key: Key,
        /// The link.
        link: LinkId,
        /// What the peer asks of the route.
        options: InterestOptions,
    },
    /// A peer asks something else of a route that stands.
    RouteChanged {
        /// The key.
        key: Key,
        /// The link.
        link: LinkId,
        /// What the peer asks of the route from now on.
        options: InterestOptions,
    },
    /// A peer wants it no more. Not given where the link closed or the key was undeclared.
    RouteRemoved {
        /// The key.
        key: Key,
        /// The link.
        link: LinkId,
    },
    /// Somebody, here or elsewhere, wants this key of ours, and nobody did before.
    FirstInterest {
        /// The key.
        key: Key,
    },
    /// Nobody has wanted this key of ours for the linger time.
    LastInterest {
        /// The key.
        key: Key,
    },
    /// A peer did not take our interest.
    InterestRefused {
        /// Who.
        node: NodeId,
        /// Why, in words.
        why: String,
    },

    /// A dial led nowhere; the core goes on as the endpoint's kind demands.
    DialFailed {
        /// Where.
        endpoint: Endpoint,
        /// Is it a seed, which is tried for ever?
        seed: bool,
        /// Why.
        error: DialError,
    },
    /// A peer was refused and the link closed.
    PeerRefused {
        /// The link.
        link: LinkId,
        /// Who it said it is, if it got so far.
        node: Option<NodeId>,
        /// Why.
        reason: RejectReason,
    },
    /// The control bus has ended and does no more.
    Stopped {
        /// How.
        reason: StopReason,
    },
}

/// A peer, as its Hello told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its id.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Member or guest.
    pub role: Role,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// It stays on the bus until it is told to leave; else it ends by itself.
    pub lasting: bool,
    /// The negotiated features: those that it and this node have.
    pub features: Features,
}

impl PeerInfo {
    /// A lasting peer without endpoints that has all features of this version.
    pub fn new(node: NodeId, incarnation: Incarnation, role: Role) -> Self {
        let features = Features::SUPPORTED;
        Self { node, incarnation, role, endpoints: Vec::new(), lasting: true, features }
    }
}

/// What the core knows of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer, as its last Hello told.
    pub info: PeerInfo,
    /// Its open link; none while it is down.
    pub link: Option<LinkId>,
}

/// What the core counts, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Control messages given out for sending.
    pub control_messages_sent: u64,
    /// Control messages taken in.
    pub control_messages_received: u64,
    /// Bytes of the control messages given out.
    pub control_bytes_sent: u64,
    /// Bytes of the control messages taken in.
    pub control_bytes_received: u64,
    /// Messages of kinds this version does not know: skipped.
    pub unknown_messages: u64,
    /// Those of them whose senders said that they must be understood.
    pub unknown_required_messages: u64,
    /// What was skipped inside messages of known kinds, by level.
    pub skipped: Skipped,
    /// Links closed because the peer broke the protocol.
    pub faults: u64,
}

/// What came of a request (law L4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was found, this node's own declarations included, in order of node and key.
    pub matches: Vec<Match>,
    /// How many other nodes were to answer.
    pub expected: usize,
    /// How many did.
    pub answered: usize,
    /// Which did not, and why not, in order of their ids.
    pub missing: Vec<Missing>,
    /// Some peer is linked or this node is provably alone, all expected answered, and
    /// all agree on who the members are. Only then does "no match" mean that nobody
    /// serves it; else it means "not known yet".
    pub complete: bool,
}

/// One declaration that a request found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Who exposes it.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// What.
    pub declaration: Declaration,
}

impl Match {
    /// Brings matches in the order in which they are told: of node and key.
    pub(super) fn sort(matches: &mut [Self]) {
        matches.sort_by(|a, b| (&a.node, &a.declaration.key).cmp(&(&b.node, &b.declaration.key)));
    }
}

/// A node that did not answer a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Who.
    pub node: NodeId,
    /// Why not.
    pub reason: MissingReason,
}

/// Why a node did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum MissingReason {
    /// It has a link and did not answer in time: neither this request, nor those before it
    /// for which this one was held back, if it was (PROTOCOL.md §7.1).
    #[error("no answer by the deadline")]
    Silent,
    /// Its link fell before it answered.
    #[error("its link fell: {0}")]
    Fell(String),
    /// Other nodes know it, this node could not reach it.
    #[error("cannot be reached from here: {0}")]
    Unreachable(String),
}
