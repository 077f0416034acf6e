//! The control bus as a pure state machine: bytes and inputs in, bytes and events
//! out, time as an argument.
//!
//! Start reading at [`io`](self) (what goes in and comes out: [`Input`],
//! [`Output`], [`Command`], [`Event`]), then at [`ControlBus`].

mod asked;
mod bus;
mod census;
mod config;
mod contests;
mod declaration;
mod dials;
mod directory;
mod errors;
mod features;
mod ids;
mod index;
mod interest;
mod io;
mod key;
pub mod limits;
mod links;
mod message;
mod names;
pub mod numbers;
mod options;
mod outbox;
mod patterns;
mod peers;
mod random;
mod requests;
mod stats_requests;
mod target;
mod time;
mod timers;
mod watchers;
pub mod wire;

pub use bus::ControlBus;
pub use config::Config;
pub use declaration::{Declaration, IndexVersion, Kind};
pub use errors::{CommandError, DialError, StatsError, StopReason};
pub use features::Features;
pub use ids::{DialId, LinkId, SubscriptionId, Ticket};
pub use io::{
    BeatTurn, Command, Counters, Event, Input, Listen, Match, Missing, MissingReason, Output,
    PeerInfo, PeerStatus, Report, Watch,
};
pub use key::{Key, KeyExpr};
pub use message::{
    Answer, Claim, Delta, Hello, Interest, InterestRefused, Leave, LeaveAck, LeaveReason, Member,
    Members, MembersRequest, Message, Open, Pattern, Reject, RejectReason, Request, Rival, Role,
    Snapshot, Span, Stand, Stats, StatsRequest, Suspect,
};
pub use names::{BusId, Endpoint, Incarnation, NameError, NodeId};
pub use options::{Class, InterestOptions};
pub use time::Instant;
pub use timers::{Deadline, Timer};
