//! A link as publishers, readers and subscriptions share it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, Release, SeqCst},
};
use std::task::Poll;

use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::counters::Counters;
use super::fault::LaneError;
use super::lock::Lock;
use super::writer::{Tokens, Writer};
use crate::data::limits::RECEIVED_BYTES;
use crate::data::send::{LinkProgress, Pulled, Turn};
use crate::data::{Credit, FrameWriter, Received, Refuse, Resume, SequenceFault};
use crate::protocol::{Class, Incarnation, Instant, LinkId, NodeId};
use crate::transport::DataSender;

/// A sequence of this node that a link carries to its peer.
pub(super) trait Outgoing: Send + Sync {
    /// Writes what is due for the link into its frame.
    fn pull(&self, now: Instant, link: LinkId, frame: &mut FrameWriter, turn: Turn) -> Pulled;
    /// The peer has come further.
    fn credit(
        self: Arc<Self>,
        now: Instant,
        link: &Link,
        credit: Credit,
    ) -> Result<(), SequenceFault>;
    /// The peer says where it goes on.
    fn resume(self: Arc<Self>, link: LinkId, resume: Resume) -> Result<(), SequenceFault>;
    /// The peer cannot follow it.
    fn refuse(self: Arc<Self>, link: LinkId, refuse: Refuse);
    /// The link is no more: its peer has left in order, or it fell.
    fn link_gone(self: Arc<Self>, link: LinkId, left: bool);
}

/// A sequence of the peer that comes in on a link.
pub(super) trait Incoming: Send + Sync {
    /// What to tell the publisher, if it is news, and when to look again for subscriptions that
    /// hold up others.
    fn credit(&self, now: Instant) -> (Option<Credit>, Option<Instant>);
}

/// One link of the data plane.
pub(super) struct Link {
    pub(super) id: LinkId,
    /// Of two links with one node the later has the higher. Their ids do not tell: they are
    /// given before it is decided which one opens.
    pub(super) order: u64,
    /// Who is at the other end.
    pub(super) node: NodeId,
    pub(super) peer_incarnation: Incarnation,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    /// What the writing task is to do. Sending takes no lock and wakes the task.
    tokens: mpsc::UnboundedSender<Token>,
    /// Credits that wait for company. Sending takes no lock and wakes nobody.
    later: std::sync::mpsc::Sender<Arc<dyn Incoming>>,
    /// The writing task's timer runs, so what waits for company is seen to.
    pub(super) armed: AtomicBool,
    /// What the reader has taken off the link, in bytes that count, and when.
    pub(super) taken: AtomicU64,
    pub(super) taken_at: AtomicU64,
    /// What the peer was told of it.
    pub(super) told: AtomicU64,
    /// What was written, in bytes that count.
    pub(super) written: AtomicU64,
    /// What the peer's node has received, the delay that it told, and when it was heard.
    received: [AtomicU64; 3],
    /// The writer may write nothing more before the peer has received more.
    pub(super) is_full: AtomicBool,
    /// Answers to the peer's records that wait to be written.
    pub(super) answers: AtomicUsize,
    /// The reader is at a frame.
    pub(super) reading: AtomicBool,
    /// Those with a route to this link, by their ids; none once the link is gone.
    outgoing: Lock<Option<BTreeMap<u64, Arc<dyn Outgoing>>>>,
    /// None once nothing is sent any more.
    writer: Lock<Option<Writer>>,
    closing: watch::Sender<Closing>,
    /// A later link with the same peer took its place.
    pub(super) replaced: AtomicBool,
    failed: AtomicBool,
}

/// What the writing task is to do.
pub(super) enum Token {
    /// A sequence has something for the link.
    Ready(Arc<dyn Outgoing>, Class),
    /// A credit goes at once.
    Credit(Arc<dyn Incoming>),
    /// Something waits for company, more was taken than may go untold, or the peer has
    /// received what the link was full with.
    Wake,
    /// An answer to a record of the peer.
    Resume(Resume),
    /// An answer to a record of the peer.
    Refuse(Refuse),
    /// What goes back goes at once; tells once it has gone to the transport.
    Hurry(tokio::sync::oneshot::Sender<()>),
}

/// How far a link is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closing {
    /// It is up.
    Open,
    /// The peer has left: nothing is sent any more, what it sent before is still read.
    Left,
    /// It is gone.
    Gone,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        order: u64,
        (node, incarnation): (NodeId, Incarnation),
        counters: Arc<Counters>,
        clock: Clock,
        sender: Box<dyn DataSender>,
    ) -> Arc<Self> {
        let (tokens, queue) = mpsc::unbounded_channel();
        let (later, waiting) = std::sync::mpsc::channel();
        let writer = Writer::new(sender, Tokens { queue, waiting });
        Arc::new(Self {
            id,
            order,
            node,
            peer_incarnation: incarnation,
            counters,
            clock,
            tokens,
            later,
            armed: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            taken_at: AtomicU64::new(0),
            told: AtomicU64::new(0),
            written: AtomicU64::new(0),
            received: [const { AtomicU64::new(0) }; 3],
            is_full: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            reading: AtomicBool::new(false),
            outgoing: Lock::new(Some(BTreeMap::new())),
            writer: Lock::new(Some(writer)),
            closing: watch::Sender::new(Closing::Open),
            replaced: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        })
    }

    /// Writes until the link fails. For one task.
    pub(super) async fn write(&self) -> LaneError {
        std::future::poll_fn(|cx| match &mut *self.writer.lock() {
            Some(writer) => writer.poll(cx, self),
            None => Poll::Pending,
        })
        .await
    }

    /// Writes for a publisher in the place of the task, if that rests. Else false.
    pub(super) fn write_alone<S: Outgoing + 'static>(
        &self,
        outgoing: &Arc<S>,
        class: Class,
    ) -> bool {
        // Who holds the writer may wait for a lock that the caller's like holds, so this must
        // not wait.
        let Some(mut writer) = self.writer.try_lock() else { return false };
        let Some(writer) = &mut *writer else { return true };
        writer.rests() && {
            if !writer.write_alone(Arc::clone(outgoing) as Arc<dyn Outgoing>, class, self) {
                self.send(Token::Wake);
            }
            true
        }
    }

    pub(super) fn send(&self, token: Token) {
        // Without a writer the link is on its way out.
        let _ = self.tokens.send(token);
    }

    pub(super) fn ready(&self, outgoing: Arc<dyn Outgoing>, class: Class) {
        self.send(Token::Ready(outgoing, class));
    }

    /// A credit that waits for company.
    pub(super) fn credit_later(&self, incoming: Arc<dyn Incoming>) {
        let _ = self.later.send(incoming);
        self.arm();
    }

    /// A frame that counts was taken off the link.
    pub(super) fn took(&self, now: Instant, bytes: u64) {
        self.taken_at.store(now.as_nanos(), Release);
        let before = self.taken.fetch_add(bytes, SeqCst);
        let untold = before - self.told.load(SeqCst).min(before);
        if untold < RECEIVED_BYTES && untold + bytes >= RECEIVED_BYTES {
            self.send(Token::Wake);
        } else {
            self.arm();
        }
    }

    fn arm(&self) {
        // Mostly it is: to look costs less than to set it.
        if !self.armed.load(SeqCst) && !self.armed.swap(true, SeqCst) {
            self.send(Token::Wake);
        }
    }

    /// The peer says what it has received.
    ///
    /// # Errors
    /// It cannot have.
    pub(super) fn heard_received(
        &self,
        now: Instant,
        received: Received,
    ) -> Result<(), SequenceFault> {
        let written = self.written.load(SeqCst);
        if received.bytes > written {
            return Err(SequenceFault::ReceivedAhead { received: received.bytes, written });
        }
        let [bytes, delay, at] = &self.received;
        if received.bytes > bytes.load(SeqCst) {
            at.store(now.as_nanos(), SeqCst);
            delay.store(received.delay_us, SeqCst);
            bytes.store(received.bytes, SeqCst);
            // Else the writer looks at it when it writes next.
            if self.is_full.swap(false, SeqCst) {
                self.send(Token::Wake);
            }
        }
        Ok(())
    }

    /// What the peer said last of what it has received.
    pub(super) fn last_received(&self) -> Received {
        let [bytes, delay, _] = &self.received;
        Received { bytes: bytes.load(SeqCst), delay_us: delay.load(SeqCst) }
    }

    pub(super) fn progress(&self) -> LinkProgress {
        let [bytes, _, at] = &self.received;
        LinkProgress { received: bytes.load(SeqCst), at: Instant::from_nanos(at.load(SeqCst)) }
    }

    /// What the peer was told of what was taken off the link, and what was written. For the
    /// writer.
    pub(super) fn tell(&self, told: u64, written: u64) {
        for (is, tells) in [(&self.told, told), (&self.written, written)] {
            if is.load(Relaxed) != tells {
                is.store(tells, Release);
            }
        }
    }

    /// A sequence got a route to the link. False if the link is gone.
    pub(super) fn add(&self, sequence: u64, outgoing: Arc<dyn Outgoing>) -> bool {
        match &mut *self.outgoing.lock() {
            Some(all) => {
                all.insert(sequence, outgoing);
                true
            }
            None => false,
        }
    }

    /// A sequence has no route to the link any more.
    pub(super) fn remove(&self, sequence: u64) {
        if let Some(all) = &mut *self.outgoing.lock() {
            all.remove(&sequence);
        }
    }

    /// Have publishers forgotten it, or are they about to?
    pub(super) fn is_forgotten(&self) -> bool {
        self.outgoing.lock().is_none()
    }

    /// A sequence with a route to the link.
    pub(super) fn outgoing(&self, sequence: u64) -> Option<Arc<dyn Outgoing>> {
        self.outgoing.lock().as_ref()?.get(&sequence).cloned()
    }

    /// Closes it as far as this says, if it is not further already.
    pub(super) fn close(&self, closing: Closing) {
        self.closing.send_if_modified(|now| {
            let further = closing > *now;
            *now = closing.max(*now);
            further
        });
    }

    /// Is this the first failure of the link?
    pub(super) fn fails_first(&self) -> bool {
        !self.failed.swap(true, SeqCst)
    }

    pub(super) fn closing(&self) -> watch::Receiver<Closing> {
        self.closing.subscribe()
    }

    /// Waits until what goes back to the peer has gone to the transport.
    pub(super) async fn hurry(&self) {
        let (done, wait) = tokio::sync::oneshot::channel();
        self.send(Token::Hurry(done));
        // An error is that the link is gone.
        let _ = wait.await;
    }

    /// Nothing is sent any more; what was sent may still be confirmed.
    pub(super) fn stop_writing(&self) {
        let writer = self.writer.lock().take();
        drop(writer);
    }

    /// Nothing comes any more either: publishers forget the link.
    pub(super) fn forget(&self, left: bool) {
        let outgoing = self.outgoing.lock().take();
        for outgoing in outgoing.into_iter().flat_map(BTreeMap::into_values) {
            outgoing.link_gone(self.id, left);
        }
    }
}
