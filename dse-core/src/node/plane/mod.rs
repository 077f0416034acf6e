//! The data plane: locks and tasks around the machines of [`data`](crate::data), between
//! [`Publisher::publish`](super::Publisher::publish) and the data lanes of links, and from there
//! to [`Subscriber::recv`](super::Subscriber::recv).
//!
//! ```text
//! Publisher ─ Publication ─ token ─ Writer ≈≈ Reader ─ item ─ Subscriber
//!              (Sequence)         (LinkSchedule) (LinkReceiver)  (Feed)
//!                    └──────────── credit ◄──────── AccountCell ◄──┘
//! ```
//!
//! A link and its writer know publications and accounts as `link::Outgoing` and
//! `link::Incoming` only; publications and accounts know links; the hub and the
//! readers know all three, and `Plane` stands above them.
//!
//! # Locks
//!
//! | lock | who takes it | for how long |
//! |---|---|---|
//! | `Publication::state` | its publisher; the writer of a link, for a pull; the reader of a link, for a credit; the driver, when a route begins or ends | an append; the encoding of one turn (256 KiB at most); O(log routes) |
//! | `Link::writer` | its writing task; a publisher in its place, if nobody holds it | a frame, without the transport's wait |
//! | `Link::outgoing` | the driver, when a route begins; the reader, for a credit | one look-up |
//! | `AccountCell::ledger` | the writer, to make a credit; a tap that begins or ends | O(subscriptions of the node) |
//! | `TapCell::slot` | the reader, with a state's value; its application | one exchange |
//! | `Hub::registry` | whoever makes or ends a publisher or subscription; the driver | O(publishers of the node) |
//! | `Hub::peers`, `PeerSequences::sequences`, `Progress::fed`, `Budget::shares` | the reader, when a sequence begins | one look-up |
//!
//! Order: `registry`, `writer`, `state`, `outgoing`; and `ledger` alone. Nothing waits while
//! it holds one. A lone sample takes three: `state` to append, `writer`, `state` to pull. On its
//! way to the application it takes none: items and tokens travel in channels without locks of
//! ours.
//!
//! The plane is public for its tests and its benchmark; applications use [`Node`](super::Node).

mod account;
mod budget;
mod clock;
mod config;
mod counters;
mod data_plane;
mod fault;
mod hub;
pub(super) mod limits;
mod link;
mod lock;
mod loopback;
mod progress;
mod publication;
mod reader;
mod tasks;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use account::TapCell;
pub use config::{PlaneConfig, PlaneRequest};
pub use counters::PlaneCounters;
pub(super) use counters::count;
pub use data_plane::{LOOPBACK, Plane};
pub use fault::{LaneError, LinkFault};
pub(super) use hub::Hub;
pub use lock::locks_taken;
pub(super) use publication::{Interest, Publication};
pub use publication::{PublishError, Waiter};
