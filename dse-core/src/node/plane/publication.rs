//! What a publisher shares with the links that carry its samples: the sending machine under one
//! lock.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::clock::{Clock, unix_ns};
use super::counters::{Counters, count};
use super::link::{Link, Outgoing};
use super::lock::Lock;
use crate::data::limits::PAYLOAD_BYTES;
use crate::data::send::{Policy, Pulled, Report, Sequence, SequenceConfig, Turn, Waited};
use crate::data::{Credit, FrameWriter, Headers, Origin, Refuse, Resume, SequenceFault};
use crate::node::options::Overflow;
use crate::protocol::{Declaration, Instant, InterestOptions, Key, Kind, LinkId, NodeId};

/// One publisher's samples, as its handle and the links share them.
pub(in crate::node) struct Publication {
    pub(super) id: u64,
    pub(in crate::node) origin: Arc<Origin>,
    clock: Clock,
    counters: Arc<Counters>,
    /// Who wants the samples?
    pub(in crate::node) interest: watch::Sender<Interest>,
    /// Something changed for those who wait.
    changed: Notify,
    state: Lock<State>,
}

struct State {
    sequence: Sequence<Arc<Link>>,
    /// Somebody waits for `changed`.
    awaited: bool,
    /// How many publishes wait.
    waiting: usize,
}

/// A sample for which there is no room, and until when to wait for it at most.
struct Blocked {
    sample: (Headers, Bytes),
    until: Instant,
}

/// A publish that waits. Dropping it ends the wait, whether it is over or given up.
struct Waiting<'a>(&'a Publication);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.sequence.stop_waiting(self.0.clock.now());
        }
    }
}

/// A subscriber's node that a publisher waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// The node.
    pub node: NodeId,
    /// For how long it has been waited for.
    pub since: Duration,
    /// For how long of that it has made no progress.
    pub idle: Duration,
}

/// Who wants a publisher's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Interest {
    pub(in crate::node) wanted: bool,
    pub(in crate::node) subscribers: usize,
    pub(in crate::node) closed: bool,
}

/// Why a sample was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The payload is longer than a sample may be.
    #[error("the payload has {len} bytes, more than the {max} that a sample may have")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A subscriber is behind.
    #[error("a subscriber of {0} is behind; publish() waits for it")]
    WouldBlock(Key),
    /// The node has left or stopped.
    #[error("{0} is published no more: its node has left the bus")]
    Closed(Key),
}

impl Publication {
    pub(super) fn new(config: SequenceConfig, clock: Clock, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            id: config.id,
            origin: Arc::clone(&config.origin),
            clock,
            counters,
            interest: watch::Sender::default(),
            changed: Notify::new(),
            state: Lock::new(State { sequence: Sequence::new(config), awaited: false, waiting: 0 }),
        })
    }

    /// Publishes one sample, if that can be done without waiting. Else it is given back.
    pub(in crate::node) fn try_publish(
        self: &Arc<Self>,
        headers: Headers,
        payload: Bytes,
    ) -> Result<Option<(Headers, Bytes)>, PublishError> {
        let mut state = self.state.lock();
        if let Some(Blocked { sample, .. }) = self.append(&mut state, (headers, payload))? {
            return Ok(Some(sample));
        }
        let alone = state.sequence.take_ready_alone();
        self.call_links(&mut state);
        drop(state);
        if let Some((link, class)) = alone
            && !link.write_alone(self, class)
        {
            link.ready(Arc::clone(self) as Arc<dyn Outgoing>, class);
        }
        Ok(None)
    }

    /// Publishes samples in order, waiting for subscribers where the policy says so. Tells how
    /// many were published; all of them unless there is an error.
    pub(in crate::node) async fn publish(
        self: &Arc<Self>,
        samples: &mut impl Iterator<Item = (Headers, Bytes)>,
    ) -> (usize, Result<(), PublishError>) {
        let mut published = 0;
        let mut next = samples.next();
        match self.offer(&mut next, samples, &mut published, false) {
            Ok(None) => return (published, Ok(())),
            Ok(Some(_)) => {}
            Err(error) => return (published, Err(error)),
        }
        self.state.lock().waiting += 1;
        let _waiting = Waiting(self);
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.offer(&mut next, samples, &mut published, true) {
                Ok(None) => return (published, Ok(())),
                Ok(Some(until)) => self.wait(changed, until).await,
                Err(error) => return (published, Err(error)),
            }
        }
    }

    /// Appends as many samples as there is room for. None if there are no more; else until when
    /// to wait at most.
    fn offer(
        self: &Arc<Self>,
        next: &mut Option<(Headers, Bytes)>,
        samples: &mut impl Iterator<Item = (Headers, Bytes)>,
        published: &mut usize,
        waits: bool,
    ) -> Result<Option<Instant>, PublishError> {
        let mut state = self.state.lock();
        let mut blocked = None;
        let mut refused = Ok(());
        while let Some(sample) = next.take() {
            match self.append(&mut state, sample) {
                Ok(None) => {
                    *published += 1;
                    *next = samples.next();
                }
                Ok(Some(Blocked { sample, until })) => {
                    *next = Some(sample);
                    state.awaited |= waits;
                    blocked = Some(until);
                    break;
                }
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        self.call_links(&mut state);
        refused.map(|()| blocked)
    }

    /// Appends a sample if there is room for it. Else gives it back, and tells until when to
    /// wait at most.
    #[inline]
    fn append(
        &self,
        state: &mut State,
        (headers, payload): (Headers, Bytes),
    ) -> Result<Option<Blocked>, PublishError> {
        if state.sequence.is_closed() {
            return Err(PublishError::Closed(self.origin.key.clone()));
        }
        let len = payload.len();
        if len > PAYLOAD_BYTES {
            return Err(PublishError::TooLong { len, max: PAYLOAD_BYTES });
        }
        let blocks = !state.sequence.has_room(len);
        // To read a clock costs as much as to append.
        let needs_time = blocks || state.sequence.needs_time();
        let now = if needs_time { self.clock.now() } else { Instant::ZERO };
        if blocks && let Some(wait) = state.sequence.blocked(len, now, |link| link.progress()) {
            return Ok(Some(Blocked { sample: (headers, payload), until: wait.until }));
        }
        state.sequence.append(now, unix_ns(), headers, payload);
        Ok(None)
    }

    /// Has the links of routes that became ready pull from them.
    fn call_links(self: &Arc<Self>, state: &mut State) {
        if state.sequence.has_ready() {
            for (link, class) in state.sequence.take_ready() {
                link.ready(Arc::clone(self) as Arc<dyn Outgoing>, class);
            }
        }
    }

    /// A change that may make routes ready and that may be waited for.
    fn change<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Sequence<Arc<Link>>, Instant) -> T,
    ) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state.sequence, self.clock.now());
        self.call_links(&mut state);
        self.tell(&mut state);
        changed
    }

    /// Wakes those who wait for a change.
    fn tell(&self, state: &mut State) {
        let subscribers = state.sequence.subscribers();
        self.interest.send_if_modified(|interest| {
            std::mem::replace(&mut interest.subscribers, subscribers) != subscribers
        });
        if std::mem::take(&mut state.awaited) {
            self.changed.notify_waiters();
        }
    }

    /// A link wants the samples from now on and those that are kept.
    pub(super) fn attach(self: &Arc<Self>, link: &Arc<Link>, options: InterestOptions) {
        if !link.add(self.id, Arc::clone(self) as Arc<dyn Outgoing>) {
            return;
        }
        let peer = (link.node.clone(), link.peer_incarnation);
        self.change(|sequence, now| {
            sequence.attach(now, link.id, Arc::clone(link), peer, options);
            if !sequence.has_route(link.id) {
                // It was closed before.
                link.remove(self.id);
            }
        });
        if link.is_forgotten() {
            // Its reader may have gone through its publications before the route was there.
            Arc::clone(self).link_gone(link.id, false);
        }
    }

    /// A link asks for something else.
    pub(super) fn set_options(self: &Arc<Self>, link: LinkId, options: InterestOptions) {
        self.change(|sequence, _| sequence.set_options(link, options));
    }

    /// A link wants the samples no more.
    pub(super) fn withdraw(self: &Arc<Self>, link: LinkId) {
        self.change(|sequence, now| sequence.withdraw(link, now));
    }

    fn handle_timeout(self: &Arc<Self>) {
        let stalled =
            self.change(|sequence, now| sequence.handle_timeout(now, |link| link.progress()));
        count(&self.counters.stalls, stalled);
    }

    /// Keeps nothing of what was published so far for late joiners.
    pub(in crate::node) fn forget(&self) {
        self.state.lock().sequence.forget();
    }

    /// Takes no more samples: End follows on every route.
    pub(in crate::node) fn close(self: &Arc<Self>) {
        self.change(Sequence::close);
        self.interest.send_modify(|interest| interest.closed = true);
    }

    /// The last number that was given.
    pub(super) fn last_seq(&self) -> u64 {
        self.state.lock().sequence.last_seq()
    }

    /// Waits until every subscriber has confirmed all that was published so far, or is known
    /// not to.
    pub(in crate::node) async fn confirmed(self: &Arc<Self>) -> Report {
        let seq = self.last_seq();
        let _waiting = {
            self.state.lock().waiting += 1;
            Waiting(self)
        };
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = {
                let mut state = self.state.lock();
                let now = self.clock.now();
                let until = state.sequence.await_confirmed(seq, now, |link| link.progress());
                state.awaited |= until.is_some();
                match until {
                    Some(until) => until,
                    None => return state.sequence.report(seq),
                }
            };
            self.wait(changed, until).await;
        }
    }

    /// Waits for a change; at the given time those are given up that stalled.
    async fn wait(self: &Arc<Self>, changed: impl Future<Output = ()>, until: Instant) {
        if tokio::time::timeout_at(self.clock.at(until), changed).await.is_err() {
            self.handle_timeout();
        }
    }

    /// What is known now, without waiting.
    pub(in crate::node) fn report(&self) -> Report {
        let mut state = self.state.lock();
        let seq = state.sequence.last_seq();
        state.sequence.report(seq)
    }

    /// Who is waited for at the moment.
    pub(in crate::node) fn waits_for(&self) -> Vec<Waiter> {
        let now = self.clock.now();
        let waited = self.state.lock().sequence.waited();
        let waiter = |waited: Waited| Waiter {
            node: waited.node,
            since: now.since(waited.since),
            idle: now.since(waited.idle_since),
        };
        waited.into_iter().map(waiter).collect()
    }

    /// What is declared, with other metadata.
    pub(in crate::node) fn described(&self, meta: Vec<(Box<str>, Box<str>)>) -> Declaration {
        let Origin { key, kind, encoding, .. } = &*self.origin;
        let mut declaration = Declaration::new(key.clone(), *kind, encoding);
        declaration.meta = meta;
        declaration
    }
}

impl Outgoing for Publication {
    fn pull(&self, now: Instant, link: LinkId, frame: &mut FrameWriter, turn: Turn) -> Pulled {
        let mut state = self.state.lock();
        let kept = state.sequence.first_seq();
        let pulled = state.sequence.pull(now, link, frame, turn);
        // What a route leaves out makes room for who waits.
        if state.sequence.first_seq() > kept && std::mem::take(&mut state.awaited) {
            self.changed.notify_waiters();
        }
        count(&self.counters.drops, state.sequence.take_dropped());
        pulled
    }

    fn credit(
        self: Arc<Self>,
        now: Instant,
        link: &Link,
        credit: Credit,
    ) -> Result<(), SequenceFault> {
        let mut state = self.state.lock();
        let credited = state.sequence.credit(now, link.id, credit);
        self.call_links(&mut state);
        if credit.last {
            self.tell(&mut state);
            if !state.sequence.has_route(link.id) {
                link.remove(self.id);
            }
        } else if std::mem::take(&mut state.awaited) {
            self.changed.notify_waiters();
        }
        credited
    }

    fn resume(self: Arc<Self>, link: LinkId, resume: Resume) -> Result<(), SequenceFault> {
        self.change(|sequence, now| sequence.resume(now, link, resume))
    }

    fn refuse(self: Arc<Self>, link: LinkId, refuse: Refuse) {
        self.change(|sequence, now| sequence.refuse(now, link, refuse));
    }

    fn link_gone(self: Arc<Self>, link: LinkId, left: bool) {
        self.change(|sequence, now| match left {
            true => sequence.peer_left(link),
            false => sequence.link_lost(now, link),
        });
    }
}

/// The policy of a declaration.
pub(super) fn policy(kind: Kind, overflow: Overflow) -> Policy {
    match (kind, overflow) {
        (Kind::State, _) => Policy::Latest,
        (_, Overflow::Block) => Policy::Block,
        (_, Overflow::DropOldest) => Policy::DropOldest,
        (_, Overflow::DropNewest) => Policy::DropNewest,
    }
}
