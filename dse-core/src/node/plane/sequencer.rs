//! The sequencer of one publisher: next number, retained samples and routes under one
//! lock that control never takes (RULES 1).

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::counters::{Counters, count};
use super::flow::Policy;
use super::limits::{HISTORY_BYTES, HISTORY_SAMPLES, PAYLOAD_BYTES, ROUTES_PER_LINK};
use super::link::Link;
use super::lock;
use super::reader::RecordFault;
use super::route::{Errand, Route, Stamped};
use super::standing::{Standing, Tally};
use crate::data::{Begin, Credit, EndReason};
use crate::node::publisher::{Interest, Overflow, PublishError};
use crate::protocol::{Declaration, Incarnation, Key, Kind, LinkId};

/// What a publisher shares with the links that carry its samples.
pub(in crate::node) struct Sequencer {
    pub(in crate::node) key: Key,
    pub(super) kind: Kind,
    encoding: Box<str>,
    incarnation: Incarnation,
    policy: Policy,
    /// How many samples are kept for late joiners.
    retain: usize,
    pub(super) stall_timeout: Duration,
    counters: Arc<Counters>,
    /// Who wants the samples?
    pub(in crate::node) interest: watch::Sender<Interest>,
    /// Something changed for those who wait.
    pub(in crate::node) changed: Notify,
    state: Mutex<State>,
    /// What control wants changed. Held for one push or one take only.
    changes: Mutex<Vec<RouteChange>>,
    has_changes: AtomicBool,
}

/// A route that is to begin or to end.
struct RouteChange {
    link: Arc<Link>,
    wanted: bool,
}

pub(super) struct State {
    pub(super) last_seq: u64,
    retained: VecDeque<Stamped>,
    retained_bytes: usize,
    pub(super) routes: Vec<Route>,
    /// How many routes there ever were.
    routes_begun: u64,
    /// How far those came whose routes are no more, the last ones last.
    pub(super) departed: VecDeque<Standing>,
    /// Links that want the samples once they have confirmed ends of routes that were.
    deferred: Vec<Arc<Link>>,
    /// Closed: no more samples.
    pub(super) shut: bool,
    /// How many publishes wait.
    waiting: usize,
    /// Somebody waits for `changed`.
    pub(super) awaited: bool,
    /// What close() found out so far.
    pub(super) closed: Tally,
}

/// A publish that waits. Dropping it ends the wait, whether it is over or given up.
pub(in crate::node) struct Waiting<'a> {
    sequencer: &'a Sequencer,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.sequencer.state();
        state.waiting -= 1;
        if state.waiting == 0 && !state.shut {
            let now = Instant::now();
            state.routes.iter_mut().for_each(|route| route.patience.relieve(now));
        }
    }
}

/// What became of a sample.
pub(in crate::node) enum Offered {
    /// It is on its way, or is once this is done.
    Taken(Option<Errand>),
    /// A subscriber is behind: try again at a change, and at this time at the latest.
    Blocked(Instant),
}

impl Sequencer {
    pub(super) fn new(
        declaration: Declaration,
        overflow: Overflow,
        history: usize,
        last_seq: u64,
        plane: &super::PlaneConfig,
        counters: Arc<Counters>,
    ) -> Self {
        let policy = match (declaration.kind, overflow) {
            (Kind::State, _) => Policy::Latest,
            (_, Overflow::Block) => Policy::Block,
            (_, Overflow::DropOldest) => Policy::DropOldest,
            (_, Overflow::DropNewest) => Policy::DropNewest,
        };
        Self {
            key: declaration.key,
            kind: declaration.kind,
            encoding: declaration.encoding,
            incarnation: plane.incarnation,
            policy,
            retain: if policy == Policy::Latest { 1 } else { history.min(HISTORY_SAMPLES) },
            stall_timeout: plane.stall_timeout,
            counters,
            interest: watch::Sender::default(),
            changed: Notify::new(),
            state: Mutex::new(State {
                last_seq,
                retained: VecDeque::new(),
                retained_bytes: 0,
                routes: Vec::new(),
                routes_begun: 0,
                departed: VecDeque::new(),
                deferred: Vec::new(),
                shut: false,
                waiting: 0,
                awaited: false,
                closed: Tally::default(),
            }),
            changes: Mutex::default(),
            has_changes: AtomicBool::new(false),
        }
    }

    /// Numbers a sample and gives it to every route. Takes the payload only if it says so.
    pub(in crate::node) fn offer(
        self: &Arc<Self>,
        payload: &mut Bytes,
    ) -> Result<Offered, PublishError> {
        if payload.len() > PAYLOAD_BYTES {
            return Err(PublishError::TooLong { len: payload.len(), max: PAYLOAD_BYTES });
        }
        let mut state = self.state();
        if state.shut {
            return Err(PublishError::Closed(self.key.clone()));
        }
        self.apply_changes_to(&mut state);
        if self.policy == Policy::Block
            && let Some(until) = self.blocked(&mut state, payload.len())
        {
            return Ok(Offered::Blocked(until));
        }
        state.last_seq += 1;
        let sample =
            Stamped { seq: state.last_seq, time_ns: unix_ns(), payload: std::mem::take(payload) };
        Ok(Offered::Taken(self.distribute(&mut state, sample)))
    }

    /// Keeps nothing of what was published so far for late joiners.
    pub(in crate::node) fn forget(&self) {
        let mut state = self.state();
        state.retained.clear();
        state.retained_bytes = 0;
    }

    /// A publish was blocked and waits from now on, until this is dropped.
    pub(in crate::node) fn wait(&self) -> Waiting<'_> {
        self.state().waiting += 1;
        Waiting { sequencer: self }
    }

    /// What is declared, with other metadata.
    pub(in crate::node) fn described(&self, meta: Vec<(Box<str>, Box<str>)>) -> Declaration {
        let (key, encoding) = (self.key.clone(), self.encoding.clone());
        Declaration { key, kind: self.kind, encoding, meta }
    }

    /// What Begin says on a route.
    pub(super) fn begin(&self, alias: u32, next_seq: u64) -> Begin {
        Begin {
            alias,
            key: self.key.clone(),
            kind: self.kind,
            encoding: self.encoding.clone(),
            incarnation: self.incarnation,
            next_seq,
        }
    }

    /// A link wants the samples from now on and those that are retained, or wants them no
    /// more. Takes no lock that is ever held for long: whoever publishes next, or the
    /// link's writer, sees to it.
    pub(super) fn change_route(self: &Arc<Self>, link: &Arc<Link>, wanted: bool) {
        {
            let mut changes = lock(&self.changes);
            changes.retain(|change| change.link.id != link.id);
            changes.push(RouteChange { link: Arc::clone(link), wanted });
            self.has_changes.store(true, Release);
        }
        if !link.call(Arc::clone(self)) {
            lock(&self.changes).retain(|change| change.link.id != link.id);
        }
    }

    /// Changes the routes as control wants.
    pub(super) fn apply_changes(self: &Arc<Self>) {
        self.apply_changes_to(&mut self.state());
    }

    pub(super) fn apply_changes_to(self: &Arc<Self>, state: &mut State) {
        if !self.has_changes.swap(false, Acquire) {
            return;
        }
        let changes = std::mem::take(&mut *lock(&self.changes));
        for RouteChange { link, wanted } in changes {
            if wanted {
                self.attach(state, link);
            } else {
                self.detach(state, link.id);
            }
        }
        self.tell(state);
    }

    fn attach(self: &Arc<Self>, state: &mut State, link: Arc<Link>) {
        let attached = |route: &Route| route.link.id == link.id && route.is_open();
        if state.shut || state.routes.iter().any(attached) {
            return;
        }
        let State { routes, routes_begun, retained, last_seq, deferred, .. } = state;
        if routes.iter().filter(|route| route.link.id == link.id).count() >= ROUTES_PER_LINK {
            deferred.retain(|it| it.id != link.id);
            deferred.push(link);
        } else if let Some(alias) = link.take_alias(Arc::clone(self)) {
            *routes_begun += 1;
            let now = Instant::now();
            let mut route = Route::new(*routes_begun, link, alias, *last_seq, retained, now);
            route.pump(self, *last_seq, false);
            routes.push(route);
        }
    }

    fn detach(self: &Arc<Self>, state: &mut State, link: LinkId) {
        let State { routes, last_seq, deferred, .. } = state;
        deferred.retain(|it| it.id != link);
        for route in routes.iter_mut().filter(|route| route.link.id == link) {
            route.withdraw(self, *last_seq);
        }
    }

    /// A link takes nothing more: its peer has left. It may still confirm what it was sent.
    pub(super) fn link_severed(self: &Arc<Self>, link: &Link) {
        let mut state = self.state();
        let State { routes, last_seq, deferred, .. } = &mut *state;
        deferred.retain(|it| it.id != link.id);
        for route in routes.iter_mut().filter(|route| route.link.id == link.id) {
            route.sever(*last_seq);
        }
        for route in state.take_routes(|route| route.link.id == link.id && route.is_confirmed()) {
            // Its receipt may still come, and is for nobody then.
            link.free_alias(route.alias());
        }
        self.tell(&mut state);
    }

    /// A link is gone, and with it all that was under way on it.
    pub(super) fn link_gone(self: &Arc<Self>, link: LinkId) {
        let mut state = self.state();
        state.deferred.retain(|it| it.id != link);
        state.take_routes(|route| route.link.id == link);
        self.tell(&mut state);
    }

    /// There is room on a link for what waits.
    pub(super) fn take_turn(self: &Arc<Self>, link: LinkId, alias: u32) {
        let mut state = self.state();
        let last_seq = state.last_seq;
        if let Some(route) = find(&mut state.routes, link, alias) {
            route.take_turn(self, last_seq);
            relieve(route);
        }
        self.tell(&mut state);
    }

    /// A subscriber has come further.
    pub(super) fn credit(self: &Arc<Self>, link: &Link, credit: Credit) -> Result<(), RecordFault> {
        let mut state = self.state();
        look_at_waiting(&mut state);
        let last_seq = state.last_seq;
        let route = find(&mut state.routes, link.id, credit.alias)
            .ok_or(RecordFault::UnknownAlias(credit.alias))?;
        let done = route.credit(self, last_seq, credit)?;
        relieve(route);
        if done {
            let (link_id, alias) = (link.id, credit.alias);
            state.take_routes(|route| route.link.id == link_id && route.alias() == alias);
            link.free_alias(credit.alias);
            if let Some(next) = state.deferred.iter().position(|it| it.id == link.id) {
                let link = state.deferred.swap_remove(next);
                self.attach(&mut state, link);
            }
        }
        self.tell(&mut state);
        Ok(())
    }

    /// Takes no more samples: End follows on every route.
    pub(in crate::node) fn shut(self: &Arc<Self>) {
        let mut state = self.state();
        self.apply_changes_to(&mut state);
        if std::mem::replace(&mut state.shut, true) {
            return;
        }
        state.count_departed();
        let State { routes, last_seq, .. } = &mut *state;
        for route in routes {
            route.end(self, *last_seq, EndReason::Closed);
        }
        self.interest.send_modify(|interest| interest.closed = true);
        self.tell(&mut state);
    }

    /// The last number that was given.
    pub(super) fn last_seq(&self) -> u64 {
        self.state().last_seq
    }

    /// Does a subscriber hold the publisher up? Then until when it may, at most.
    fn blocked(&self, state: &mut State, payload: usize) -> Option<Instant> {
        if state.routes.iter().all(|route| route.is_ready(payload)) {
            return None;
        }
        look_at_waiting(state);
        let now = Instant::now();
        let mut until: Option<Instant> = None;
        // Who only tries to publish looks again when it likes.
        let timed = state.waiting > 0;
        for route in state.routes.iter_mut().filter(|route| !route.is_ready(payload)) {
            route.patience.wait(now);
            let left = route.patience.left(now, self.stall_timeout, timed);
            if left.is_zero() {
                route.stall(now);
                count(&self.counters.stalls, 1);
            } else {
                until = Some(until.map_or(now + left, |until| until.min(now + left)));
            }
        }
        state.awaited |= until.is_some();
        until
    }

    fn distribute(self: &Arc<Self>, state: &mut State, sample: Stamped) -> Option<Errand> {
        if self.retain > 0 {
            state.retain(sample.clone(), self.retain);
        }
        if let [only] = &mut state.routes[..]
            && let Some(errand) = only.offer_alone(self, &sample, self.policy)
        {
            return Some(errand);
        }
        let mut dropped = 0;
        if let Some((last, others)) = state.routes.split_last_mut() {
            for route in others {
                dropped += route.offer(self, sample.clone(), self.policy);
            }
            dropped += last.offer(self, sample, self.policy);
        }
        if dropped > 0 {
            count(&self.counters.drops, dropped);
        }
        None
    }

    /// Wakes those who wait for a change.
    fn tell(&self, state: &mut State) {
        let subscribers = state.routes.iter().filter(|route| route.is_open()).count();
        self.interest.send_if_modified(|interest| {
            std::mem::replace(&mut interest.subscribers, subscribers) != subscribers
        });
        if std::mem::take(&mut state.awaited) {
            self.changed.notify_waiters();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Takes out the routes that are no more.
    fn take_routes(&mut self, gone: impl Fn(&Route) -> bool) -> Vec<Route> {
        let taken: Vec<Route> = self.routes.extract_if(.., |route| gone(route)).collect();
        for route in &taken {
            self.depart(route);
        }
        taken
    }

    /// Keeps a sample for late joiners, with those before it as far as they fit.
    fn retain(&mut self, sample: Stamped, most: usize) {
        self.retained_bytes += sample.payload.len();
        self.retained.push_back(sample);
        let fits = |it: &Self| it.retained.len() <= most && it.retained_bytes <= HISTORY_BYTES;
        while self.retained.len() > 1
            && !fits(self)
            && let Some(oldest) = self.retained.pop_front()
        {
            self.retained_bytes -= oldest.payload.len();
        }
    }
}

fn find(routes: &mut [Route], link: LinkId, alias: u32) -> Option<&mut Route> {
    routes.iter_mut().find(|route| route.link.id == link && route.alias() == alias)
}

/// While a publish waits for one subscriber, another may have nothing to do.
fn look_at_waiting(state: &mut State) {
    if !state.awaited || state.shut {
        return;
    }
    let now = Instant::now();
    let another_idle = state.routes.iter().any(Route::is_idle);
    for route in &mut state.routes {
        route.patience.look(now, another_idle);
    }
}

/// Nobody waits for a route that could take a sample.
fn relieve(route: &mut Route) {
    if route.patience.is_waiting() && route.is_ready(0) {
        route.patience.relieve(Instant::now());
    }
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
