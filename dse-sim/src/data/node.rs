//! One node's data machines, put together as the runtime does it, without locks and tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::limits::{FRAGMENT_BYTES, LOWER_CLASS_SHARE, Window};
use dse_core::data::link::LinkSchedule;
use dse_core::data::receive::{Delivery, Feed, LinkReceiver, Output, Wanted};
use dse_core::data::send::{LinkProgress, Pulled, Report, Sequence, SequenceConfig};
use dse_core::data::{DataFrame, FrameWriter, Headers};
use dse_core::protocol::{
    Class, Incarnation, Instant, InterestOptions, LinkId, NodeId, SubscriptionId,
};

use super::cells::{AccountCell, AccountRef, NodeHost, Shared, TapRef};

/// A node's data machines.
#[derive(Debug)]
pub(super) struct DataNode {
    pub(super) incarnation: Incarnation,
    shared: Rc<Shared>,
    /// What it grants each sequence.
    window: Window,
    stall_timeout: Duration,
    pub(super) publishers: BTreeMap<u64, Publisher>,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    pub(super) links: BTreeMap<u64, NodeLink>,
    pub(super) counts: NodeCounts,
}

/// What a node counted.
#[derive(Clone, Copy, Default)]
pub(super) struct NodeCounts {
    pub(super) stalls: u64,
    pub(super) left_out: u64,
    pub(super) resumes: u64,
    pub(super) refusals: u64,
    pub(super) blocked: u64,
    pub(super) inversions: u64,
    pub(super) pulls: u64,
    pub(super) late_confirmations: u64,
}

impl fmt::Debug for NodeCounts {
    /// What was counted is no part of a node's state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCounts").finish_non_exhaustive()
    }
}

/// A publisher: its sequence, and what its application wants.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) sequence: Sequence<u64>,
    /// Payload lengths of samples that the application wants to publish next.
    pub(super) waiting: std::collections::VecDeque<usize>,
    /// Closed, and waits for its subscribers until then.
    pub(super) closing: Option<Instant>,
    pub(super) report: Option<Report>,
    /// No word of it is sent or taken any more.
    pub(super) done: bool,
    /// Links whose peers want it, and how.
    pub(super) routed: BTreeMap<u64, InterestOptions>,
    /// Links whose peers wanted it no more once: what they lack may be their wish.
    pub(super) withdrawn: std::collections::BTreeSet<u64>,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) wanted: Wanted,
    pub(super) feed: Feed<TapRef>,
}

/// A node's end of a link.
#[derive(Debug)]
pub(super) struct NodeLink {
    pub(super) peer: (NodeId, Incarnation),
    pub(super) schedule: LinkSchedule<u64>,
    receiver: LinkReceiver<AccountRef>,
    accounts: BTreeMap<u64, Rc<AccountCell>>,
    /// What the peer wants, as it has said.
    pub(super) wishes: Vec<Wanted>,
    review_at: Option<Instant>,
    pub(super) turns: Turns,
    /// A frame waits for the lane: until it has gone nothing is written.
    pub(super) is_full: bool,
}

/// Whose turn it was, held against law L9.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: [usize; 3],
    passed_over: [u32; 3],
}

impl DataNode {
    pub(super) fn new(incarnation: Incarnation, window: Window, stall_timeout: Duration) -> Self {
        Self {
            incarnation,
            shared: Rc::default(),
            window,
            stall_timeout,
            publishers: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            links: BTreeMap::new(),
            counts: NodeCounts::default(),
        }
    }

    /// All calls that follow are of this time.
    pub(super) fn set_now(&self, now: Instant) {
        self.shared.now.set(now);
    }

    fn now(&self) -> Instant {
        self.shared.now.get()
    }

    // ---- links and interest

    pub(super) fn open_link(&mut self, link: u64, peer: (NodeId, Incarnation)) {
        self.shared.keep_instance(&peer.0, peer.1);
        let mut receiver = LinkReceiver::new(peer.0.clone(), peer.1, link);
        receiver.set_subscriptions(&self.wanted());
        let link_state = NodeLink {
            peer,
            schedule: LinkSchedule::default(),
            receiver,
            accounts: BTreeMap::new(),
            wishes: Vec::new(),
            review_at: None,
            turns: Turns::default(),
            is_full: false,
        };
        self.links.insert(link, link_state);
    }

    /// The link fell, or the peer left in order.
    pub(super) fn close_link(&mut self, link: u64, left: bool) {
        let now = self.now();
        for publisher in self.publishers.values_mut() {
            publisher.routed.remove(&link);
            if left {
                publisher.sequence.peer_left(LinkId(link));
            } else {
                publisher.sequence.link_lost(now, LinkId(link));
            }
        }
        if let Some(mut state) = self.links.remove(&link) {
            state.receiver.gone(left);
            self.deliver(&mut state);
        }
    }

    /// The peer of a link says what it wants.
    pub(super) fn set_wishes(&mut self, link: u64, wishes: Vec<Wanted>) {
        if let Some(state) = self.links.get_mut(&link) {
            state.wishes = wishes;
            self.reroute(link);
        }
    }

    fn reroute(&mut self, link: u64) {
        let now = self.now();
        let Some(state) = self.links.get(&link) else { return };
        let id = LinkId(link);
        for publisher in self.publishers.values_mut().filter(|it| !it.done) {
            let key = &publisher.sequence.config().origin.key;
            let options = state.wishes.iter().filter(|wish| wish.keys.matches(key));
            let options = options.map(|wish| wish.options).reduce(InterestOptions::merge);
            let before = publisher.routed.get(&link).copied();
            match (before, options) {
                (None, Some(options)) => {
                    publisher.sequence.attach(now, id, link, state.peer.clone(), options);
                }
                (Some(_), None) => {
                    publisher.withdrawn.insert(link);
                    publisher.sequence.withdraw(id, now);
                }
                (Some(old), Some(new)) if old != new => publisher.sequence.set_options(id, new),
                _ => {}
            }
            match options {
                Some(options) => {
                    publisher.routed.insert(link, options);
                }
                None => {
                    publisher.routed.remove(&link);
                }
            }
        }
    }

    // ---- subscriptions

    fn wanted(&self) -> Vec<Wanted> {
        self.subscriptions.values().map(|subscription| subscription.wanted.clone()).collect()
    }

    pub(super) fn subscribe(&mut self, wanted: Wanted) -> Vec<Wanted> {
        let feed = Feed::new(wanted.options);
        self.subscriptions.insert(wanted.id.0, Subscription { wanted, feed });
        self.subscriptions_changed()
    }

    pub(super) fn unsubscribe(&mut self, id: u64) -> Vec<Wanted> {
        self.subscriptions.remove(&id);
        let wanted = self.subscriptions_changed();
        let id = SubscriptionId(id);
        self.shared.unsubscribe(id);
        for state in self.links.values() {
            state.accounts.values().for_each(|account| account.remove(id));
        }
        wanted
    }

    fn subscriptions_changed(&mut self) -> Vec<Wanted> {
        let wanted = self.wanted();
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(mut state) = self.links.remove(&link) else { continue };
            state.receiver.set_subscriptions(&wanted);
            self.deliver(&mut state);
            self.links.insert(link, state);
        }
        wanted
    }

    pub(super) fn next_delivery(&mut self, subscription: u64) -> Option<Delivery> {
        let now = self.now();
        self.subscriptions.get_mut(&subscription)?.feed.next(now)
    }

    // ---- publishers

    pub(super) fn declare(&mut self, config: SequenceConfig) {
        let id = config.id;
        let publisher = Publisher {
            sequence: Sequence::new(config),
            waiting: std::collections::VecDeque::new(),
            closing: None,
            report: None,
            done: false,
            routed: BTreeMap::new(),
            withdrawn: std::collections::BTreeSet::new(),
        };
        self.publishers.insert(id, publisher);
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.reroute(link);
        }
    }

    /// Publishes what the application of a publisher wants, as far as nobody is waited for.
    /// Calls back with the number and length of each sample, which gives the payload.
    pub(super) fn publish(
        &mut self,
        id: u64,
        time_ns: u64,
        mut payload: impl FnMut(u64, usize) -> (Headers, Bytes),
    ) {
        let now = self.now();
        let links = &self.links;
        let Some(publisher) = self.publishers.get_mut(&id) else { return };
        let sequence = &mut publisher.sequence;
        let mut waited = false;
        while let Some(len) = publisher.waiting.front().copied() {
            if sequence.blocked(len, now, |link| progress(links, *link)).is_some() {
                self.counts.blocked += 1;
                return;
            }
            publisher.waiting.pop_front();
            let (headers, payload) = payload(sequence.last_seq() + 1, len);
            sequence.append(now, time_ns, headers, payload);
            waited = true;
        }
        if waited && publisher.closing.is_none() {
            sequence.stop_waiting(now);
        }
    }

    pub(super) fn close(&mut self, id: u64, deadline: Instant) {
        let now = self.now();
        if let Some(publisher) = self.publishers.get_mut(&id)
            && publisher.closing.is_none()
        {
            publisher.waiting.clear();
            publisher.sequence.close(now);
            publisher.closing = Some(deadline);
        }
    }

    /// Looks whether a closed publisher has everything confirmed, or its deadline came.
    pub(super) fn settle(&mut self, id: u64) -> bool {
        let now = self.now();
        let links = &self.links;
        let Some(publisher) = self.publishers.get_mut(&id) else { return false };
        let Some(deadline) = publisher.closing.filter(|_| publisher.report.is_none()) else {
            return false;
        };
        let last = publisher.sequence.last_seq();
        let awaited =
            publisher.sequence.await_confirmed(last, now, |link| progress(links, *link)).is_some();
        if awaited && now < deadline {
            return false;
        }
        publisher.report = Some(publisher.sequence.report(last));
        true
    }

    // ---- the lanes

    /// Gives the links what became ready, and the peers their credits.
    pub(super) fn pump(&mut self) {
        let now = self.now();
        for (id, publisher) in &mut self.publishers {
            for (link, class) in publisher.sequence.take_ready() {
                if let Some(state) = self.links.get_mut(&link) {
                    state.schedule.ready(*id, class);
                }
            }
        }
        let dirty = std::mem::take(&mut *self.shared.dirty.borrow_mut());
        for ((link, sequence), cell) in dirty {
            let Some(state) = self.links.get_mut(&link) else { continue };
            let is_current =
                state.accounts.get(&sequence).is_some_and(|current| Rc::ptr_eq(current, &cell));
            if !is_current {
                continue;
            }
            let (out, again) = cell.review(self.stall_timeout / 2);
            self.counts.left_out += out as u64;
            if let Some(again) = again {
                state.review_at = Some(state.review_at.map_or(again, |at| at.min(again)));
            }
            if let Some(credit) = cell.credit(self.window) {
                let urgent = cell.urgent.get() || credit.last;
                state.schedule.credit(now, credit, urgent);
                cell.told();
            }
        }
        // A review marks what it changed.
        self.shared.dirty.borrow_mut().clear();
    }

    /// The next frame of a link, if one is due.
    pub(super) fn write(&mut self, link: u64) -> Option<DataFrame> {
        let now = self.now();
        let Self { links, publishers, counts, .. } = self;
        let state = links.get_mut(&link)?;
        let mut frame = FrameWriter::new();
        let due = state.schedule.poll_timeout().is_some_and(|at| at <= now);
        if state.schedule.is_idle() && !due {
            return None;
        }
        state.schedule.begin_frame(now, &mut frame);
        loop {
            state.turns.waiting = state.schedule.waiting();
            let Some((id, class, turn)) = state.schedule.next_turn(&frame) else { break };
            let before = frame.len();
            counts.pulls += 1;
            counts.inversions += u64::from(state.turns.taken(class));
            let pulled = match publishers.get_mut(&id) {
                Some(publisher) => publisher.sequence.pull(now, LinkId(link), &mut frame, turn),
                None => Pulled::Idle,
            };
            let wrote = frame.len() - before;
            assert!(
                wrote <= turn.budget + RECORD_BYTES,
                "L9: a turn of {} bytes wrote {wrote}",
                turn.budget
            );
            assert!(
                wrote <= FRAGMENT_BYTES + RECORD_BYTES || state.turns.is_alone(),
                "L9: {wrote} bytes while others wait"
            );
            // What does not fit into the rest of a frame begins the next.
            let may_wait = before > 0 && !turn.may_cut;
            if pulled == Pulled::More {
                assert!(wrote > 0 || may_wait, "a turn that wrote nothing asks for more");
            }
            state.schedule.end_turn(id, class, pulled);
        }
        let counts = frame.counts();
        let frame = frame.take()?;
        state.schedule.end_frame(now, frame.wire_len() as u64, counts);
        Some(frame)
    }

    /// Takes a frame off a link.
    pub(super) fn read(&mut self, link: u64, frame: DataFrame) -> Result<(), String> {
        let now = self.now();
        let Some(mut state) = self.links.remove(&link) else { return Ok(()) };
        let wire_len = frame.wire_len() as u64;
        let mut host = NodeHost {
            shared: &self.shared,
            peer: state.peer.clone(),
            link,
            accounts: &mut state.accounts,
        };
        let counts = state.receiver.frame(frame, &mut host);
        let _ = state.receiver.take_counters();
        if matches!(counts, Ok(true)) {
            state.schedule.took(now, wire_len);
        }
        let done = self.deliver(&mut state);
        self.links.insert(link, state);
        counts.map_err(|error| error.to_string())?;
        done.into_iter().try_for_each(|word| self.peer_said(link, word))
    }

    /// Hands out what the receiver of a link made. What is of this node's own sequences is
    /// left over.
    fn deliver(&mut self, state: &mut NodeLink) -> Vec<Output<TapRef>> {
        let mut rest = Vec::new();
        for output in state.receiver.outputs() {
            match output {
                Output::Deliver(id, item) => {
                    if let Some(subscription) = self.subscriptions.get_mut(&id.0) {
                        subscription.feed.push(item);
                    }
                }
                Output::SendResume(resume) => {
                    self.counts.resumes += 1;
                    state.schedule.resume(resume);
                }
                Output::SendRefuse(refuse) => {
                    self.counts.refusals += 1;
                    state.schedule.refuse(refuse);
                }
                other => rest.push(other),
            }
        }
        rest
    }

    fn peer_said(&mut self, link: u64, word: Output<TapRef>) -> Result<(), String> {
        let now = self.now();
        let id = LinkId(link);
        let result = match word {
            Output::Credit(credit) => match self.publishers.get_mut(&credit.sequence) {
                Some(publisher) => {
                    let is_late = publisher.done && credit.last;
                    self.counts.late_confirmations += u64::from(is_late);
                    publisher.sequence.credit(now, id, credit)
                }
                None => Ok(()),
            },
            Output::Resume(resume) => match self.publishers.get_mut(&resume.sequence) {
                Some(publisher) => publisher.sequence.resume(now, id, resume),
                None => Ok(()),
            },
            Output::Refuse(refuse) => {
                if let Some(publisher) = self.publishers.get_mut(&refuse.sequence) {
                    publisher.sequence.refuse(now, id, refuse);
                }
                Ok(())
            }
            Output::Received(received) => match self.links.get_mut(&link) {
                Some(state) => state.schedule.received(now, received),
                None => Ok(()),
            },
            Output::Deliver(..) | Output::SendResume(_) | Output::SendRefuse(_) => Ok(()),
        };
        result.map_err(|fault| fault.to_string())
    }

    // ---- time

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let publishers = self.publishers.values();
        let closing = publishers
            .clone()
            .filter(|publisher| publisher.report.is_none())
            .filter_map(|publisher| publisher.closing);
        let links = self.links.values();
        publishers
            .filter_map(|publisher| publisher.sequence.poll_timeout())
            .chain(closing)
            .chain(
                links.clone().filter(|it| !it.is_full).filter_map(|it| it.schedule.poll_timeout()),
            )
            .chain(links.filter_map(|link| link.review_at))
            .min()
    }

    pub(super) fn handle_timeout(&mut self) {
        let now = self.now();
        let links = &self.links;
        for publisher in self.publishers.values_mut() {
            if publisher.sequence.poll_timeout().is_some_and(|at| at <= now) {
                self.counts.stalls +=
                    publisher.sequence.handle_timeout(now, |link| progress(links, *link));
            }
        }
        for state in self.links.values_mut() {
            if state.review_at.is_some_and(|at| at <= now) {
                state.review_at = None;
                for (sequence, cell) in &state.accounts {
                    let key = (cell.link, *sequence);
                    self.shared.dirty.borrow_mut().insert(key, Rc::clone(cell));
                }
            }
        }
    }
}

impl NodeLink {
    /// How many sequences it knows that come in.
    pub(super) fn sequences(&self) -> usize {
        self.receiver.sequences()
    }
}

fn progress(links: &BTreeMap<u64, NodeLink>, link: u64) -> LinkProgress {
    links.get(&link).map_or_else(LinkProgress::default, |state| state.schedule.progress())
}

impl Turns {
    fn is_alone(&self) -> bool {
        self.waiting.iter().all(|waiting| *waiting == 0)
    }

    /// A sequence of this class has its turn. Tells whether a higher class waits.
    fn taken(&mut self, class: Class) -> bool {
        let place = usize::from(class.number());
        self.waiting[place] -= 1;
        let higher = self.waiting[..place].iter().any(|waiting| *waiting > 0);
        if higher {
            assert!(
                self.passed_over[place] + 1 >= LOWER_CLASS_SHARE,
                "L9: {class:?} has a turn after {} of higher classes that wait",
                self.passed_over[place]
            );
        }
        self.passed_over[place] = 0;
        for other in 0..3 {
            if other != place && self.waiting[other] > 0 {
                self.passed_over[other] += 1;
                assert!(
                    other <= place || self.passed_over[other] <= LOWER_CLASS_SHARE + 1,
                    "L9: a class {other} was passed over {} times",
                    self.passed_over[other]
                );
            }
        }
        higher
    }
}

/// What a record takes beside its payload, at most, with a Begin and a Skip before it.
const RECORD_BYTES: usize = 4096 + 1024;
