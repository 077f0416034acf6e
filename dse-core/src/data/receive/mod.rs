//! The receiving machines: [`LinkReceiver`] takes frames off a link, [`Feed`] makes deliveries
//! of them for a subscription.
//!
//! # Who owns a sample at which moment
//!
//! 1. [`LinkReceiver::frame`] looks over the records of a frame, without touching payloads, and
//!    hands the **whole frame** to each subscription that some stream sample in it is for; of a
//!    frame with one sample that sample. Only samples in fragments are put together there, and the
//!    latest value of each **state** is kept for subscriptions that come later.
//! 2. The frame waits in the subscription's queue. What may wait is bounded by credit: of a
//!    stream by the window of its sequence; of a state one value waits, in the slot of its tap,
//!    where a newer one takes its place.
//! 3. [`Feed::next`], called by the application's task, decodes sample by sample. When it hands
//!    one out, it tells the sequence's [`CreditAccount`] that it is **consumed**: that is what
//!    the publisher learns as confirmed.

mod credit;
mod delivery;
mod feed;
mod link;
mod positions;
mod sources;

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

pub use credit::{CreditAccount, TapId};
pub use delivery::{Delivery, Sample};
pub use feed::Feed;
pub use link::{Host, LinkReceiver, Output, ReceiveError, ReceiverCounters, Wanted};

use super::Origin;
use super::frame::DataFrame;
use super::headers::Headers;
use super::record::EndReason;
use super::records::Place;
use crate::protocol::{Key, NodeId};

/// One subscription's part in a sequence that comes in on a link: what the receiver of the
/// link, the subscription and who writes credits share.
pub trait Tap: Clone {
    /// The application has taken all up to here, or was told that it is lost. `bytes` is the
    /// payload that was handed out.
    fn consumed(&self, seq: u64, bytes: usize);
    /// Samples that came in were reported to the application as lost.
    fn missed(&self, samples: u64);
    /// The application has come to the end of the sequence.
    fn finished(&self);
    /// Puts a value of a state where the application takes it, unless a newer one is there. Tells
    /// whether there was none: then the subscription is to be told.
    fn offer(&self, value: Value) -> bool;
    /// Takes the newest value of a state, if the application has not taken it.
    fn take(&self) -> Option<Value>;
    /// The number from which on samples are not for this subscription, as it is too slow.
    fn left_out_from(&self) -> Option<u64>;
    /// The application has taken all that there was before: the subscription is served again.
    /// Tells the number up to which it was left out.
    fn rejoin(&self) -> u64;
}

/// What all taps of a sequence share.
pub trait Account: Clone {
    /// Its taps.
    type Tap: Tap;
    /// One more subscription takes from the sequence, what comes after this number.
    fn tap(&self, after: u64, wanted: &Wanted) -> Self::Tap;
    /// Everything up to here came in and was handed on: so many samples with payload of so many
    /// bytes.
    fn received(&self, seq: u64, samples: u64, bytes: usize);
    /// The end of the sequence came in.
    fn ended(&self, last_seq: u64);
    /// How far the slowest of those subscriptions came that count.
    fn consumed(&self) -> u64;
    /// Has the peer been told the last credit?
    fn is_over(&self) -> bool;
}

/// A value of a state, or a sample that was put together from fragments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// Its number.
    pub seq: u64,
    /// When it was published, in nanoseconds since 1970 by the publisher's clock.
    pub time_ns: u64,
    /// Its headers.
    pub headers: Headers,
    /// The payload.
    pub payload: Bytes,
}

/// A sequence as one subscription gets it on one link.
#[derive(Clone, Debug, Hash)]
pub struct Source<T> {
    /// What it is of.
    pub origin: Arc<Origin>,
    /// The link's place among all of the node, in the order in which they opened.
    pub link: u64,
    /// The sequence.
    pub sequence: u64,
    /// Its epoch.
    pub epoch: u64,
    /// The number of the first sample that is for the subscription.
    pub next_seq: u64,
    /// All up to here the publisher knows as taken: what lies between came on an earlier link.
    pub taken: u64,
    /// What times are counted from.
    pub base_time_ns: u64,
    /// How the subscription says what it took.
    pub tap: T,
}

impl<T> Source<T> {
    /// Of two sequences of one key, the later one has the larger rank.
    fn rank(&self) -> (u64, u64, u64) {
        (self.link, self.sequence, self.epoch)
    }
}

/// What waits for a subscription.
#[derive(Clone, Debug, Hash)]
pub enum Item<T> {
    /// A sequence begins for it, without a frame: it came late, or it is of a state.
    Begin(Arc<Source<T>>),
    /// A frame with samples for it.
    Frame(Inbound<T>),
    /// A sample of a stream that came alone in its frame.
    Sample(Arc<Source<T>>, Value),
    /// A state has a new value.
    Value(Arc<Source<T>>),
    /// A sequence has ended that is not of a stream: the end of that stands in a frame.
    End(Arc<Source<T>>, EndReason),
    /// A link is no more.
    Gone {
        /// Its place among all.
        link: u64,
        /// The peer.
        node: NodeId,
        /// The peer left in order.
        left: bool,
    },
    /// A link is no more, and a later one with the same peer took its place.
    Replaced {
        /// Its place among all.
        link: u64,
    },
    /// A node exposes a key no more. If nothing feeds it any more, for the link on which its
    /// end would have come was replaced, it has ended.
    Undeclared {
        /// The node.
        node: NodeId,
        /// The key.
        key: Key,
    },
    /// A node that was lost or has left is forgotten.
    Forget {
        /// The node.
        node: NodeId,
    },
}

/// A frame with samples for a subscription.
#[derive(Clone, Debug, Hash)]
pub struct Inbound<T> {
    /// The link's place among all.
    pub link: u64,
    /// The frame.
    pub frame: Arc<DataFrame>,
    /// Where its records begin that may be for a subscription.
    pub(super) from: Place,
    /// The sequences that begin in it for the subscription, in order.
    pub begun: Vec<Arc<Source<T>>>,
    /// Payloads are to be copied out of pieces that are much larger, for most of the frame is not
    /// for this subscription.
    pub copies: bool,
    /// The samples whose last fragment is in it, with their sequences, in order; none if there
    /// are no such samples.
    pub whole: Option<Arc<[(u64, Value)]>>,
}
