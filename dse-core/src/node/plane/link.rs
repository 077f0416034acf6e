//! A link as publishers, readers and subscriptions share it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use tokio::sync::{mpsc, watch};

use super::account::AccountCell;
use super::clock::Clock;
use super::counters::Counters;
use super::lock::Lock;
use super::publication::Publication;
use super::reader::LaneError;
use super::writer::{Tokens, Writer};
use crate::data::limits::RECEIVED_BYTES;
use crate::data::send::LinkProgress;
use crate::data::{Received, Refuse, Resume, SequenceFault};
use crate::protocol::{Class, Incarnation, Instant, LinkId, NodeId};
use crate::transport::DataSender;

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
    later: std::sync::mpsc::Sender<Arc<AccountCell>>,
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
    /// Publications with a route to this link, by sequence; none once the link is gone.
    publications: Lock<Option<BTreeMap<u64, Arc<Publication>>>>,
    /// None once nothing is sent any more.
    writer: Lock<Option<Writer>>,
    closing: watch::Sender<Closing>,
    /// A later link with the same peer took its place.
    pub(super) replaced: AtomicBool,
    failed: AtomicBool,
}

/// What the writing task is to do.
pub(super) enum Token {
    /// A publication has something for the link.
    Ready(Arc<Publication>, Class),
    /// A credit goes at once.
    Credit(Arc<AccountCell>),
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
            publications: Lock::new(Some(BTreeMap::new())),
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

    /// Writes for a publication in the place of the task, if that rests. Else false.
    pub(super) fn write_alone(&self, publication: &Arc<Publication>, class: Class) -> bool {
        // Who holds the writer may wait for a lock that the caller's like holds, so this must
        // not wait.
        let Some(mut writer) = self.writer.try_lock() else { return false };
        let Some(writer) = &mut *writer else { return true };
        writer.rests() && {
            if !writer.write_alone(publication, class, self) {
                self.send(Token::Wake);
            }
            true
        }
    }

    pub(super) fn send(&self, token: Token) {
        // Without a writer the link is on its way out.
        let _ = self.tokens.send(token);
    }

    pub(super) fn ready(&self, publication: Arc<Publication>, class: Class) {
        self.send(Token::Ready(publication, class));
    }

    /// A credit that waits for company.
    pub(super) fn credit_later(&self, account: Arc<AccountCell>) {
        let _ = self.later.send(account);
        self.arm();
    }

    /// A frame that counts was taken off the link.
    pub(super) fn took(&self, now: Instant, bytes: u64) {
        self.taken_at.store(now.as_nanos(), SeqCst);
        let before = self.taken.fetch_add(bytes, SeqCst);
        let untold = before - self.told.load(SeqCst).min(before);
        if untold < RECEIVED_BYTES && untold + bytes >= RECEIVED_BYTES {
            self.send(Token::Wake);
        } else {
            self.arm();
        }
    }

    fn arm(&self) {
        if !self.armed.swap(true, SeqCst) {
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

    /// A publication got a route to the link. False if the link is gone.
    pub(super) fn add_publication(&self, publication: &Arc<Publication>) -> bool {
        match &mut *self.publications.lock() {
            Some(publications) => {
                publications.insert(publication.id, Arc::clone(publication));
                true
            }
            None => false,
        }
    }

    /// A publication has no route to the link any more.
    pub(super) fn remove_publication(&self, publication: u64) {
        if let Some(publications) = &mut *self.publications.lock() {
            publications.remove(&publication);
        }
    }

    /// Have publishers forgotten it, or are they about to?
    pub(super) fn is_forgotten(&self) -> bool {
        self.publications.lock().is_none()
    }

    pub(super) fn publication(&self, sequence: u64) -> Option<Arc<Publication>> {
        self.publications.lock().as_ref()?.get(&sequence).cloned()
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
        let publications = self.publications.lock().take();
        for publication in publications.into_iter().flat_map(BTreeMap::into_values) {
            publication.link_gone(self.id, left);
        }
    }
}

/// Waits for the first of several tokens. For the writer.
pub(super) fn poll_tokens(
    queue: &mut mpsc::UnboundedReceiver<Token>,
    cx: &mut Context<'_>,
    into: &mut VecDeque<Token>,
) {
    while let Poll::Ready(Some(token)) = queue.poll_recv(cx) {
        into.push_back(token);
        if into.len() >= TOKENS_A_TURN {
            cx.waker().wake_by_ref();
            break;
        }
    }
}

/// Most tokens that a writer looks at before it writes.
const TOKENS_A_TURN: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::data::limits::INITIAL_WINDOW;
    use crate::data::send::{Policy, SequenceConfig};
    use crate::data::{Credit, DataFrame, Headers, Origin};
    use crate::protocol::{InterestOptions, Key, Kind};
    use crate::transport::TransportError;

    struct Nowhere;

    impl DataSender for Nowhere {
        fn poll_send(
            &mut self,
            _: &mut Context<'_>,
            frame: &mut Option<DataFrame>,
        ) -> Poll<Result<(), TransportError>> {
            *frame = None;
            Poll::Ready(Ok(()))
        }
    }

    fn publication(policy: Policy) -> Arc<Publication> {
        let (node, key) = (NodeId::new("a").expect("an id"), Key::new("x").expect("a key"));
        let kind = if policy == Policy::Latest { Kind::State } else { Kind::Stream };
        let origin = Arc::new(Origin::new(node, key, Incarnation(1), kind, ""));
        let mut config = SequenceConfig::new(1, origin);
        (config.policy, config.stall_timeout) = (policy, Duration::from_secs(1));
        Publication::new(config, Clock::new(), Arc::default())
    }

    fn link(number: u64) -> Arc<Link> {
        let node = NodeId::new("b").expect("an id");
        let peer = (node, Incarnation(1));
        let (id, sender) = (LinkId(number), Box::new(Nowhere));
        Link::new(id, number, peer, Arc::default(), Clock::new(), sender)
    }

    #[tokio::test(start_paused = true)]
    async fn links_that_fell_leave_nothing_with_publishers_that_are_silent() {
        for policy in [Policy::Block, Policy::DropOldest, Policy::DropNewest, Policy::Latest] {
            let publication = publication(policy);
            for number in 1..=100 {
                let link = link(number);
                let fallen = Arc::downgrade(&link);
                let wants = || publication.attach(&link, InterestOptions::default());
                let publish = || {
                    let payload = Bytes::from_static(b"x");
                    publication.try_publish(Headers::new(), payload).expect("there is room");
                };
                // The peer wants the key, and may want it no more, before it falls or after.
                match number % 6 {
                    0 => wants(),
                    1 => {
                        wants();
                        publish();
                        publication.withdraw(link.id);
                        wants();
                    }
                    2 => {
                        wants();
                        let credit = Credit {
                            sequence: 1,
                            epoch: 0,
                            consumed_seq: 0,
                            samples: INITIAL_WINDOW.samples,
                            bytes: INITIAL_WINDOW.bytes,
                            missed: 0,
                            last: false,
                        };
                        publication.credit(&link, credit).expect("of another epoch");
                    }
                    _ => {}
                }
                link.stop_writing();
                if number % 6 == 3 {
                    wants();
                    publication.withdraw(link.id);
                }
                link.forget(number % 2 == 0);
                if number % 6 == 4 {
                    wants();
                }
                drop(link);
                assert!(fallen.upgrade().is_none(), "link {number} is held, {policy:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_publication_that_was_closed_is_not_held_by_links() {
        let (publication, link) = (publication(Policy::Block), link(1));
        publication.close();
        publication.attach(&link, InterestOptions::default());
        assert!(link.publication(1).is_none());
    }
}
