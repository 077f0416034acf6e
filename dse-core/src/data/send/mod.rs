//! The sending machine of one publisher: its log, and a route for each node that wants it.
//!
//! # Who owns a sample at which moment
//!
//! 1. [`Sequence::append`] numbers a sample and puts it into the **log**; the payload is shared
//!    from here on and never copied by this machine.
//! 2. A **route** is a cursor into the log. Nothing is copied to it: [`Sequence::pull`], called
//!    by the link's writer, encodes from the log into the link's frame.
//! 3. What was written is **in flight** until the peer's node has received it, and
//!    **unconfirmed** until [`Credit`] says that the application took it. Until then the log of
//!    a `Block` stream keeps it, also when the link falls: a new link goes on where the
//!    subscriber's node says ([`Resume`]). A state begins with its latest value on each link.
//! 4. The log lets go of a sample when no route holds it, or when it is full and only *soft*
//!    holds are left: of routes that nobody waits for. Those learn their gap by a Skip.
//!
//! `Block`, the drop policies, conflation, stalls, resuming and the report are statements about
//! cursors; see the module `route`. The machine has no clock, no lock and no I/O: time is an
//! argument, and what is to be done comes out as values.

mod flight;
mod log;
mod report;
mod route;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

pub(crate) use flight::Flight;
pub use report::{Report, Unconfirmed, UnconfirmedCause, Waited};
pub use route::Turn;

use log::{Entry, Hold, Log};
use report::{Departed, LastFate, Losses};
use route::Route;

use super::frame_writer::FrameWriter;
use super::headers::Headers;
use super::limits::{HISTORY_SAMPLES, PAYLOAD_BYTES};
use super::record::{Credit, EndReason, Refuse, Resume};
use super::{Origin, SequenceFault};
use crate::protocol::{Class, Incarnation, Instant, InterestOptions, Kind, LinkId, NodeId};

/// What a stream does for a subscriber that is slower than its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A state: the latest waits, earlier ones are of no use any more.
    Latest,
    /// The publisher waits.
    Block,
    /// Some wait, the oldest are dropped.
    DropOldest,
    /// Some wait, the newest are dropped.
    DropNewest,
}

/// What a sequence is set up with.
#[derive(Clone, Debug, Hash)]
#[non_exhaustive]
pub struct SequenceConfig {
    /// Its id: one for each publisher of a node.
    pub id: u64,
    /// What it is of.
    pub origin: Arc<Origin>,
    /// What happens to a subscriber that is slow.
    pub policy: Policy,
    /// How urgent its samples are.
    pub class: Class,
    /// How many samples are kept for late joiners.
    pub history: usize,
    /// Most samples that the log holds, beside those of the history: the policy's own bound, if
    /// none is set.
    pub log_samples: Option<usize>,
    /// For how long a subscriber is waited for that makes no progress.
    pub stall_timeout: Duration,
    /// Who takes fewer bytes a second while it is waited for is stalled, too. 0 is no floor.
    pub min_rate: u64,
    /// After this time a sample is not sent any more. Of streams only.
    pub lifetime: Option<Duration>,
    /// The number of the last sample before.
    pub last_seq: u64,
    /// What sample times are counted from, in nanoseconds since 1970.
    pub base_time_ns: u64,
}

impl SequenceConfig {
    /// A sequence that waits for its subscribers, if it is a stream.
    pub fn new(id: u64, origin: Arc<Origin>) -> Self {
        let policy = if origin.kind == Kind::State { Policy::Latest } else { Policy::Block };
        Self {
            id,
            origin,
            policy,
            class: Class::Normal,
            history: 0,
            log_samples: None,
            stall_timeout: Duration::from_secs(5),
            min_rate: 0,
            lifetime: None,
            last_seq: 0,
            base_time_ns: 0,
        }
    }
}

/// How far the peer's node has received what a link carried, as the sending side knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkProgress {
    /// Bytes of frames that count, since the link began.
    pub received: u64,
    /// When that grew last.
    pub at: Instant,
}

/// What [`Sequence::pull`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// There is more to write: the route takes another turn.
    More,
    /// Nothing to write until the machine says that the route is ready.
    Idle,
    /// Nothing to write before this time.
    Later(Instant),
}

/// A sample cannot be appended: it would push out what a subscriber has not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// When a subscriber that is waited for counts as stalled, unless it makes progress.
    pub until: Instant,
}

/// One publisher's samples, and the routes to those who want them. `L` is what the caller
/// knows a link by.
#[derive(Clone, Debug, Hash)]
pub struct Sequence<L> {
    config: SequenceConfig,
    log: Log,
    /// Those with a link.
    routes: BTreeMap<LinkId, Route<L>>,
    /// Those whose link fell, while what they have not confirmed is kept.
    detached: BTreeMap<NodeId, Route<L>>,
    /// Those that want it again and have not yet said their last word of before.
    deferred: BTreeMap<LinkId, Deferred<L>>,
    departed: Departed,
    epochs: u64,
    /// Routes that have everything and wait for the next sample.
    parked: Vec<LinkId>,
    /// Routes that wait for credit and were not told of a gap.
    starved: Vec<LinkId>,
    /// Routes that became ready to be pulled from, for the caller to take.
    ready: Vec<(L, Class)>,
    /// What late joiners do not get any more.
    forgotten: u64,
    closed: bool,
    dropped: u64,
}

/// A route that begins once the one before it has ended. Nobody waits for it.
#[derive(Clone, Debug, Hash)]
struct Deferred<L> {
    link: L,
    options: InterestOptions,
    /// What it begins with is kept.
    hold: Hold,
}

impl<L: Clone> Sequence<L> {
    /// A sequence without routes.
    pub fn new(mut config: SequenceConfig) -> Self {
        config.history = match config.policy {
            Policy::Latest => 1,
            _ => config.history.min(HISTORY_SAMPLES),
        };
        let log = Log::new(&config);
        Self {
            forgotten: config.last_seq,
            config,
            log,
            routes: BTreeMap::new(),
            detached: BTreeMap::new(),
            deferred: BTreeMap::new(),
            departed: Departed::default(),
            epochs: 0,
            parked: Vec::new(),
            starved: Vec::new(),
            ready: Vec::new(),
            closed: false,
            dropped: 0,
        }
    }

    /// What it was set up with.
    pub fn config(&self) -> &SequenceConfig {
        &self.config
    }

    /// The last number that was given.
    pub fn last_seq(&self) -> u64 {
        self.log.last()
    }

    /// The number of the first sample that is kept, or of the next one.
    pub fn first_seq(&self) -> u64 {
        self.log.first()
    }

    /// Was it closed?
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many nodes are being sent the samples.
    pub fn subscribers(&self) -> usize {
        self.routes.values().filter(|route| route.is_open()).count()
    }

    /// Payload bytes in the log.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    /// Numbers a sample, the caller having looked that it is not [`blocked`](Self::blocked).
    /// `time_ns` is the publication time in nanoseconds since 1970. Routes that become ready
    /// are taken by [`take_ready`](Self::take_ready).
    #[inline]
    pub fn append(&mut self, now: Instant, time_ns: u64, headers: Headers, payload: Bytes) {
        debug_assert!(!self.closed, "a closed sequence takes no samples");
        debug_assert!(payload.len() <= PAYLOAD_BYTES, "the caller checks the length");
        let time_ns = time_ns.wrapping_sub(self.config.base_time_ns).cast_signed();
        if self.config.policy == Policy::DropNewest && self.log.is_full_with(payload.len()) {
            self.keep_backlogs();
        }
        let first = self.log.first();
        self.log.append(Entry { headers, payload, time_ns, at: now });
        if self.log.first() > first && !self.starved.is_empty() {
            self.call_overtaken();
        }
        if !self.parked.is_empty() {
            self.unpark();
        }
    }

    /// Routes that waited for the next sample have something to write.
    fn unpark(&mut self) {
        for link in self.parked.drain(..) {
            if let Some(route) = self.routes.get_mut(&link) {
                route.unpark();
                self.ready.extend(route.call());
            }
        }
    }

    /// Does [`append`](Self::append) look at the time? Else it may be given any.
    pub fn needs_time(&self) -> bool {
        self.config.lifetime.is_some()
    }

    /// Can a sample of this length be appended without waiting?
    pub fn has_room(&self, payload: usize) -> bool {
        self.config.policy != Policy::Block || self.log.has_room(payload)
    }

    /// Must a publisher wait before it appends a sample of this length? Tells until when at
    /// most: then [`handle_timeout`](Self::handle_timeout) gives up those that stalled.
    pub fn blocked(
        &mut self,
        payload: usize,
        now: Instant,
        progress: impl Fn(&L) -> LinkProgress,
    ) -> Option<Blocked> {
        if self.has_room(payload) {
            return None;
        }
        let after = self.log.firm_after()?;
        let Self { routes, detached, config, .. } = self;
        let holding = routes.values_mut().chain(detached.values_mut());
        let holding = holding.filter(|route| route.holds_firmly(after));
        let until = holding.map(|route| route.wait(now, config, &progress)).min()?;
        Some(Blocked { until })
    }

    /// A publisher that was blocked waits no more: nobody is held up.
    pub fn stop_waiting(&mut self, now: Instant) {
        let routes = self.routes.values_mut().chain(self.detached.values_mut());
        routes.for_each(|route| route.stop_waiting(now));
    }

    /// Did routes become ready since [`take_ready`](Self::take_ready) was called last?
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The routes that became ready since the last call: the caller has their links pull.
    pub fn take_ready(&mut self) -> impl Iterator<Item = (L, Class)> + '_ {
        self.ready.drain(..)
    }

    /// Is the only route ready, and its subscriber close behind? Then a publisher may write in
    /// the place of the link's task.
    pub fn take_ready_alone(&mut self) -> Option<(L, Class)> {
        if self.ready.len() != 1 || self.routes.len() != 1 {
            return None;
        }
        let is_close = self.routes.values().next().is_some_and(Route::is_close);
        if is_close { self.ready.pop() } else { None }
    }

    /// Does a route to this link exist?
    pub fn has_route(&self, id: LinkId) -> bool {
        self.routes.contains_key(&id)
    }

    /// How many samples were left out on routes since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        core::mem::take(&mut self.dropped)
    }

    /// A node wants the samples from now on and those that are kept, over this link. If its
    /// last link fell a moment ago it goes on where it was.
    pub fn attach(
        &mut self,
        now: Instant,
        id: LinkId,
        link: L,
        (node, incarnation): (NodeId, Incarnation),
        options: InterestOptions,
    ) {
        if let Some(route) = self.routes.get(&id) {
            if !route.is_open() && !self.closed {
                self.defer(id, link, options);
            }
            return;
        }
        self.attach_after(now, id, link, (node, incarnation), options, self.log.last());
    }

    /// Attaches; a route that is new begins after this number, or before with what is kept for
    /// late joiners. One that begins after the close is only for who wanted something before it.
    fn attach_after(
        &mut self,
        now: Instant,
        id: LinkId,
        link: L,
        (node, incarnation): (NodeId, Incarnation),
        options: InterestOptions,
        after: u64,
    ) {
        let before = self.routes.iter().find(|(_, it)| it.node == node).map(|(id, _)| *id);
        if let Some(before) = before {
            self.link_lost(now, before);
        }
        self.epochs += 1;
        let class = options.class.unwrap_or(self.config.class);
        let mut route = match self.detached.remove(&node) {
            Some(mut route) if route.incarnation == incarnation => {
                let is_state = self.config.policy == Policy::Latest;
                let latest = is_state.then(|| self.log.first());
                route.reattach(link, self.epochs, now, (self.log.last(), latest));
                route
            }
            old => {
                if let Some(old) = old {
                    self.finish(old, Some(UnconfirmedCause::Restarted));
                }
                let last = self.log.last();
                if self.closed && after >= last {
                    return;
                }
                let start = self.start(after);
                let mut route = Route::new(node, incarnation, link, self.epochs, start, now);
                if self.closed {
                    route.end(EndReason::Closed, last, now);
                }
                route
            }
        };
        route.set_options(options, class);
        route.update_hold(&self.config, &mut self.log);
        self.ready.extend(route.call());
        self.routes.insert(id, route);
    }

    /// A subscriber asks for something else of its route.
    pub fn set_options(&mut self, id: LinkId, options: InterestOptions) {
        let class = options.class.unwrap_or(self.config.class);
        if let Some(deferred) = self.deferred.get_mut(&id) {
            deferred.options = options;
        } else if let Some(route) = self.routes.get_mut(&id) {
            route.set_options(options, class);
            route.update_hold(&self.config, &mut self.log);
        }
    }

    /// A node wants the samples no more, nor those that it has not taken yet.
    pub fn withdraw(&mut self, id: LinkId, now: Instant) {
        let last = self.log.last();
        self.take_deferred(id);
        self.change(id, |route, config, log| {
            route.end(EndReason::NoInterest, last, now);
            route.update_hold(config, log);
        });
    }

    /// A link fell. What is unconfirmed of a `Block` stream or a state is kept for a while.
    pub fn link_lost(&mut self, now: Instant, id: LinkId) {
        let Some(mut route) = self.routes.remove(&id) else { return };
        self.parked.retain(|parked| *parked != id);
        let deferred = self.deferred.remove(&id);
        let keeps = matches!(self.config.policy, Policy::Block | Policy::Latest);
        if route.outlives_link() && keeps {
            route.detach(now);
            self.keep_detached(route);
        } else {
            let peer = (route.node.clone(), route.incarnation);
            self.finish(route, Some(UnconfirmedCause::Lost));
            if let Some(deferred) = deferred {
                self.lose_deferred(now, deferred, peer);
            }
        }
    }

    /// The link fell of a route that was to begin.
    fn lose_deferred(
        &mut self,
        now: Instant,
        Deferred { link, options, hold }: Deferred<L>,
        (node, incarnation): (NodeId, Incarnation),
    ) {
        let last = self.log.last();
        if matches!(self.config.policy, Policy::Block | Policy::Latest) {
            let mut route = Route::new(node, incarnation, link, self.epochs, hold.after, now);
            route.set_options(options, options.class.unwrap_or(self.config.class));
            if self.closed {
                route.end(EndReason::Closed, last, now);
            }
            route.detach(now);
            self.keep_detached(route);
        } else if hold.after < last {
            let fate = LastFate::Unconfirmed(UnconfirmedCause::Lost);
            self.departed.add(node, fate, &Losses::default());
        }
        self.log.release(hold);
    }

    fn keep_detached(&mut self, mut route: Route<L>) {
        route.update_hold(&self.config, &mut self.log);
        if let Some(old) = self.detached.insert(route.node.clone(), route) {
            self.finish(old, Some(UnconfirmedCause::Lost));
        }
    }

    /// The peer of a link has left: what it has not confirmed by now it never will.
    pub fn peer_left(&mut self, id: LinkId) {
        let deferred = self.deferred.remove(&id);
        let Some(route) = self.routes.remove(&id) else { return };
        self.parked.retain(|parked| *parked != id);
        let node = route.node.clone();
        self.finish(route, Some(UnconfirmedCause::Left));
        if let Some(Deferred { hold, .. }) = deferred {
            self.log.release(hold);
            if hold.after < self.log.last() {
                let fate = LastFate::Unconfirmed(UnconfirmedCause::Left);
                self.departed.add(node, fate, &Losses::default());
            }
        }
    }

    /// A subscriber's node says how far it has come and how much may be sent.
    ///
    /// # Errors
    /// It confirms what was not sent.
    pub fn credit(
        &mut self,
        now: Instant,
        id: LinkId,
        credit: Credit,
    ) -> Result<(), SequenceFault> {
        let Some(route) = self.routes.get_mut(&id) else { return Ok(()) };
        if route.epoch != credit.epoch {
            // A word from before the sequence began anew here.
            return Ok(());
        }
        if route.credit(now, credit)? {
            if let Some(route) = self.routes.remove(&id) {
                let peer = (route.node.clone(), route.incarnation);
                self.finish(route, None);
                if let Some(Deferred { link, options, hold }) = self.deferred.remove(&id) {
                    self.attach_after(now, id, link, peer, options, hold.after);
                    self.log.release(hold);
                }
            }
            return Ok(());
        }
        route.update_hold(&self.config, &mut self.log);
        if route.waits_for_credit() {
            self.ready.extend(route.call());
        }
        Ok(())
    }

    /// A subscriber's node says where it goes on.
    ///
    /// # Errors
    /// It goes on beyond what was sent.
    pub fn resume(
        &mut self,
        now: Instant,
        id: LinkId,
        resume: Resume,
    ) -> Result<(), SequenceFault> {
        let Some(route) = self.routes.get_mut(&id).filter(|it| it.epoch == resume.epoch) else {
            return Ok(());
        };
        route.may_resume(resume)?;
        if resume.next_seq > 0 {
            route.resume(now, resume, &self.log);
            route.update_hold(&self.config, &mut self.log);
            self.ready.extend(route.call());
        } else if let Some(mut old) = self.routes.remove(&id) {
            // Its subscription is new: what came before it was withdrawn. It may be gone, too.
            let deferred = self.deferred.remove(&id);
            let is_wanted = old.outlives_link();
            old.withdrawn(self.log.last());
            let peer = (old.node.clone(), old.incarnation);
            let again = old.link.clone().filter(|_| is_wanted).map(|link| (link, old.options));
            // What was published since this link began is for the new one.
            let hold = Hold { after: self.start(old.attached_after()), firm: false };
            self.log.hold(hold);
            self.finish(old, None);
            match (deferred, again) {
                (Some(Deferred { link, options, hold }), _) => {
                    self.attach_after(now, id, link, peer, options, hold.after);
                    self.log.release(hold);
                }
                (None, Some((link, options))) => {
                    self.attach_after(now, id, link, peer, options, hold.after);
                }
                (None, None) => {}
            }
            self.log.release(hold);
        }
        Ok(())
    }

    /// A subscriber's node cannot follow the sequence: it gets no more of it.
    pub fn refuse(&mut self, now: Instant, id: LinkId, refuse: Refuse) {
        let last = self.log.last();
        self.change(id, |route, config, log| {
            if route.epoch == refuse.epoch {
                route.end(EndReason::Refused, last, now);
                route.update_hold(config, log);
            }
        });
    }

    /// Writes what is due for a link into its frame, as much as fits the turn.
    pub fn pull(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: &mut FrameWriter,
        turn: Turn,
    ) -> Pulled {
        let Some(route) = self.routes.get_mut(&id) else { return Pulled::Idle };
        let before = route.losses.dropped();
        let pulled = route.pull(now, &self.config, &self.log, frame, turn);
        self.dropped += route.losses.dropped() - before;
        route.update_hold(&self.config, &mut self.log);
        if route.park() {
            self.parked.push(id);
        } else if route.is_starved() && !self.starved.contains(&id) {
            self.starved.push(id);
        }
        pulled
    }

    /// Nothing of what was published so far is kept for late joiners.
    pub fn forget(&mut self) {
        self.forgotten = self.log.last();
        self.log.forget();
    }

    /// Takes no more samples: End follows on every route.
    pub fn close(&mut self, now: Instant) {
        if core::mem::replace(&mut self.closed, true) {
            return;
        }
        self.parked.clear();
        let last = self.log.last();
        for route in self.routes.values_mut().chain(self.detached.values_mut()) {
            route.end(EndReason::Closed, last, now);
            self.ready.extend(route.call());
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, if nothing else
    /// happens: somebody is waited for, or what a lost link left behind is kept.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let routes = self.routes.values().chain(self.detached.values());
        routes.filter_map(|route| route.deadline(&self.config)).min()
    }

    /// Gives up routes that made no progress for the stall timeout while they were waited for.
    pub fn handle_timeout(&mut self, now: Instant, progress: impl Fn(&L) -> LinkProgress) -> u64 {
        let mut stalled = 0;
        let Self { routes, config, log, ready, .. } = self;
        for route in routes.values_mut() {
            if route.stalls(now, config, &progress) {
                stalled += 1;
                route.stall(now, config);
                route.update_hold(config, log);
                ready.extend(route.call());
            }
        }
        let over: Vec<NodeId> = self
            .detached
            .iter_mut()
            .filter_map(|(node, route)| {
                route.stalls(now, &self.config, &progress).then(|| node.clone())
            })
            .collect();
        for node in over {
            if let Some(route) = self.detached.remove(&node) {
                self.finish(route, Some(UnconfirmedCause::Lost));
            }
        }
        stalled
    }

    /// Has everybody up to here what was published, or is known not to get it? If not, who is
    /// waited for is from now on held to the stall timeout. Tells when to look again.
    pub fn await_confirmed(
        &mut self,
        seq: u64,
        now: Instant,
        progress: impl Fn(&L) -> LinkProgress,
    ) -> Option<Instant> {
        let Self { routes, detached, config, .. } = self;
        let routes = routes.values_mut().chain(detached.values_mut());
        let awaited = routes.filter(|route| route.is_awaited(seq));
        awaited.map(|route| route.wait(now, config, &progress)).min()
    }

    /// Who is waited for at the moment, and since when.
    pub fn waited(&self) -> Vec<Waited> {
        let routes = self.routes.values().chain(self.detached.values());
        routes.filter_map(Route::waited).collect()
    }

    /// Who has what was published up to here, and who has not. What a report says of nodes that
    /// are gone the next one does not repeat.
    pub fn report(&mut self, seq: u64) -> Report {
        let with_route = self.routes.values().chain(self.detached.values()).map(|it| &it.node);
        let mut report = self.departed.take(seq, with_route);
        for (id, route) in &self.routes {
            let fate = route.fate(seq, None);
            let deferred = self.deferred.get(id).filter(|deferred| deferred.hold.after < seq);
            report.add(&route.node, deferred.map_or(fate, |_| route.pending()), &route.losses);
        }
        for route in self.detached.values() {
            report.add(&route.node, route.fate(seq, None), &route.losses);
        }
        report
    }

    fn change(
        &mut self,
        id: LinkId,
        change: impl FnOnce(&mut Route<L>, &SequenceConfig, &mut Log),
    ) {
        let Self { routes, config, log, ready, parked, .. } = self;
        if let Some(route) = routes.get_mut(&id) {
            change(route, config, log);
            parked.retain(|parked| *parked != id);
            ready.extend(route.call());
        }
    }

    /// The number after which a route begins that is new since this one.
    fn start(&self, after: u64) -> u64 {
        let last = self.log.last();
        let kept = last.saturating_sub(self.config.history as u64).min(after);
        kept.max(self.forgotten).max(self.log.first() - 1).min(last)
    }

    fn defer(&mut self, id: LinkId, link: L, options: InterestOptions) {
        if let Some(deferred) = self.deferred.get_mut(&id) {
            deferred.options = options;
            return;
        }
        let hold = Hold { after: self.start(self.log.last()), firm: false };
        self.log.hold(hold);
        self.deferred.insert(id, Deferred { link, options, hold });
    }

    fn take_deferred(&mut self, id: LinkId) {
        if let Some(deferred) = self.deferred.remove(&id) {
            self.log.release(deferred.hold);
        }
    }

    fn finish(&mut self, mut route: Route<L>, cause: Option<UnconfirmedCause>) {
        route.let_go(&mut self.log);
        self.departed.add(
            route.node.clone(),
            route.last_fate(self.log.last(), cause),
            &route.losses,
        );
    }

    /// Routes of which the log gave up what waits for credit: they are told that there is a gap.
    fn call_overtaken(&mut self) {
        let Self { routes, log, ready, starved, .. } = self;
        starved.retain(|id| match routes.get_mut(id) {
            Some(route) if route.is_overtaken(log) && route.is_starved() => {
                ready.extend(route.call());
                false
            }
            Some(route) => route.is_starved(),
            None => false,
        });
    }

    /// Routes that are to lose the newest samples keep what they have not sent by themselves.
    fn keep_backlogs(&mut self) {
        let Self { routes, config, log, .. } = self;
        for route in routes.values_mut() {
            route.keep_backlog(log);
            route.update_hold(config, log);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::link::LinkSchedule;
    use crate::data::{DataFrame, End, Record, SkipReason};
    use crate::protocol::Key;

    const STALL: Duration = Duration::from_secs(5);
    const LINK: LinkId = LinkId(1);

    fn sequence() -> Sequence<()> {
        let (node, key) = (NodeId::new("a").expect("an id"), Key::new("x").expect("a key"));
        let origin = Origin::new(node, key, Incarnation(1), Kind::Stream, "");
        Sequence::new(SequenceConfig::new(1, Arc::new(origin)))
    }

    fn frame(sequence: &mut Sequence<()>, now: Instant) -> DataFrame {
        let (mut frame, mut schedule) = (FrameWriter::new(), LinkSchedule::default());
        schedule.ready((), Class::Normal);
        while let Some(((), class, turn)) = schedule.next_turn(&frame) {
            let pulled = sequence.pull(now, LINK, &mut frame, turn);
            schedule.end_turn((), class, pulled);
        }
        frame.take().expect("something is due")
    }

    #[test]
    fn what_is_published_after_a_withdrawal_is_no_loss_of_one_that_stalls() {
        let mut sequence = sequence();
        let mut now = Instant::ZERO;
        let peer = (NodeId::new("b").expect("an id"), Incarnation(1));
        let append = |sequence: &mut Sequence<()>, now| {
            sequence.append(now, 0, Headers::new(), Bytes::from_static(b"x"));
        };
        sequence.attach(now, LINK, (), peer, InterestOptions::default());
        append(&mut sequence, now);
        sequence.withdraw(LINK, now);
        append(&mut sequence, now);
        let progress = |_: &()| LinkProgress::default();
        let until = sequence.await_confirmed(2, now, progress).expect("it may have all");
        now = now.max(until).max(now + STALL);
        assert_eq!(sequence.handle_timeout(now, progress), 1);
        let frame = frame(&mut sequence, now);
        let read: Vec<_> = frame.records().map(|record| record.expect("a record")).collect();
        let [Record::Begin(begin), Record::End(End { last_seq: 1, .. })] = read[..] else {
            panic!("{read:?}");
        };
        assert_eq!(begin.next_seq, 2);
        let report = sequence.report(2);
        assert_eq!((report.withdrawn, report.dropped_by(SkipReason::Stalled)), (1, 0));
    }
    #[test]
    fn a_peer_goes_on_where_it_may_have_come_to() {
        let mut sequence = sequence();
        let peer = (NodeId::new("b").expect("an id"), Incarnation(1));
        let now = Instant::ZERO;
        for _ in 0..2 {
            sequence.append(now, 0, Headers::new(), Bytes::from_static(b"x"));
            sequence.attach(now, LINK, (), peer.clone(), InterestOptions::default());
        }
        frame(&mut sequence, now);
        sequence.link_lost(now, LINK);
        sequence.append(now, 0, Headers::new(), Bytes::from_static(b"x"));
        sequence.attach(now, LINK, (), peer, InterestOptions::default());
        let resume = |next_seq| Resume { sequence: 1, epoch: 2, next_seq };
        // Unasked: Begin was not sent.
        assert!(sequence.resume(now, LINK, resume(3)).is_err());
        frame(&mut sequence, now);
        // Two samples were sent to it.
        let ahead = SequenceFault::ResumeAhead { sequence: 1, next_seq: 4, sent_seq: 2 };
        assert_eq!(sequence.resume(now, LINK, resume(4)), Err(ahead));
        assert_eq!(sequence.resume(now, LINK, resume(3)), Ok(()));
    }
}
