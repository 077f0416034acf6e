//! Whom this node dials, and when again (PROTOCOL.md §4.5).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;

use super::bus::ControlBus;
use super::census::Start;
use super::errors::DialError;
use super::ids::{DialId, LinkId};
use super::io::{Event, Output};
use super::limits;
use super::message::{Member, RejectReason};
use super::names::{Endpoint, Incarnation, NodeId};
use super::random::fingerprint;
use super::time::Instant;
use super::timers::Timer;

/// Something to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Target {
    /// An endpoint where somebody on the bus is: tried for ever.
    Seed(Endpoint),
    /// An endpoint where somebody may be: tried a few times.
    Hint(Endpoint),
    /// A member that this node has no link with.
    Peer(NodeId),
}

/// How it goes with one target.
#[derive(Clone, Debug, Serialize)]
struct Course {
    endpoints: Vec<Endpoint>,
    /// Which of the endpoints is tried now.
    at: usize,
    /// Rounds over all endpoints that led nowhere.
    failures: u32,
    /// What the last attempt at one of the endpoints came to.
    last_error: Option<DialError>,
    stage: Stage,
    /// The node that was found behind a seed or hint.
    node: Option<NodeId>,
    /// Other endpoints, listed while an attempt is under way: those to try after it.
    listed_at: Option<Vec<Endpoint>>,
    /// Of a listed member: the start that was listed, and its fingerprint.
    listed_as: Option<(Incarnation, u64)>,
    patience: Patience,
}

impl Course {
    fn new(endpoints: Vec<Endpoint>, patience: Patience) -> Self {
        Self {
            endpoints,
            at: 0,
            failures: 0,
            last_error: None,
            stage: Stage::Resting,
            node: None,
            listed_at: None,
            listed_as: None,
            patience,
        }
    }

    /// It is listed at these endpoints: what became of others says nothing of them.
    fn listed(&mut self, endpoints: Vec<Endpoint>) {
        (self.endpoints, self.at, self.last_error) = (endpoints, 0, None);
    }

    /// Why it could not be reached.
    fn why(&self) -> String {
        let none = || "it tells no endpoint that this node has a transport for".into();
        self.last_error.as_ref().map_or_else(none, ToString::to_string)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Stage {
    /// No timer, no attempt.
    Resting,
    /// A pause.
    Waiting(DialId),
    /// The driver tries.
    Connecting(DialId),
    /// A link stands and is not open yet.
    Handshaking(LinkId),
}

/// When to give up.
#[derive(Clone, Debug, Serialize)]
enum Patience {
    /// Never.
    Endless,
    /// After [`limits::HINT_TRIES`] rounds: a hint.
    Tries,
    /// When nobody has listed it for `forget_after`: a member never reached. Dropped with
    /// the last link that listed it.
    Listed { by: BTreeSet<LinkId>, at: Instant },
}

/// All targets.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Dials {
    targets: BTreeMap<Target, Course>,
    attempts: BTreeMap<DialId, Target>,
    last: u64,
}

impl Dials {
    fn next_id(&mut self) -> DialId {
        self.last += 1;
        DialId(self.last)
    }

    /// Listed members that are being dialled. Those that were given up may be gone for
    /// everybody; where they are not, the membership hashes differ and the list is
    /// pulled.
    pub(super) fn coming(&self) -> impl Iterator<Item = &NodeId> {
        self.targets.iter().filter_map(|(target, course)| match (target, &course.patience) {
            (Target::Peer(node), Patience::Listed { .. }) if course.failures == 0 => Some(node),
            _ => None,
        })
    }

    /// Is a listed member being dialled?
    pub(super) fn joining(&self) -> bool {
        let listed = |course: &Course| matches!(course.patience, Patience::Listed { .. });
        self.targets.values().any(|course| listed(course) && course.stage != Stage::Resting)
    }

    /// The starts of listed members that are being dialled, without `except`.
    pub(super) fn starts<'a>(&'a self, except: &'a NodeId) -> impl Iterator<Item = Start<'a>> {
        let active = self.targets.iter().filter(|(_, course)| course.stage != Stage::Resting);
        active.filter_map(move |(target, course)| match (target, course.listed_as) {
            (Target::Peer(node), Some((incarnation, print))) if node != except => {
                Some(Start { node, incarnation, print })
            }
            _ => None,
        })
    }

    /// Is a seed or hint under way for the first time?
    pub(super) fn first_attempts(&self) -> bool {
        self.targets.iter().any(|(target, course)| {
            !matches!(target, Target::Peer(_))
                && course.failures == 0
                && course.stage != Stage::Resting
        })
    }

    /// Is anything tried at all, now or after a pause?
    pub(super) fn active(&self) -> bool {
        self.targets.values().any(|course| course.stage != Stage::Resting)
    }

    /// Is there nobody whom this node could have missed?
    pub(super) fn none(&self) -> bool {
        self.targets.is_empty()
    }

    /// What was dialled on this attempt; the attempt is over.
    fn resolve(&mut self, dial: DialId) -> Option<Target> {
        let target = self.attempts.remove(&dial)?;
        let course = self.targets.get(&target)?;
        (course.stage == Stage::Connecting(dial)).then_some(target)
    }

    /// Drops a target; an attempt under way becomes a link like any other.
    fn drop_target(&mut self, target: &Target) -> Option<DialId> {
        match self.targets.remove(target)?.stage {
            Stage::Waiting(dial) | Stage::Connecting(dial) => {
                self.attempts.remove(&dial);
                Some(dial)
            }
            Stage::Resting | Stage::Handshaking(_) => None,
        }
    }
}

impl ControlBus {
    pub(super) fn add_seed(&mut self, endpoint: Endpoint) {
        self.add_endpoint(Target::Seed(endpoint.clone()), endpoint, Patience::Endless);
    }

    pub(super) fn add_hint(&mut self, endpoint: Endpoint) {
        self.add_endpoint(Target::Hint(endpoint.clone()), endpoint, Patience::Tries);
    }

    fn add_endpoint(&mut self, target: Target, endpoint: Endpoint, patience: Patience) {
        let own = self.config.endpoints.contains(&endpoint);
        let full = self.dials.targets.len() >= limits::PEERS_PER_BUS * 2;
        if own || full || self.dials.targets.contains_key(&target) {
            return;
        }
        self.start_course(&target, Course::new(alloc::vec![endpoint], patience));
    }

    fn start_course(&mut self, target: &Target, course: Course) {
        self.dials.targets.insert(target.clone(), course);
        self.connect(target);
    }

    /// Tries the present endpoint of a target, or the next that this node has a
    /// transport for.
    fn connect(&mut self, target: &Target) {
        let Some(course) = self.dials.targets.get(target) else { return };
        let usable = |endpoint: &Endpoint| {
            self.config.schemes.iter().any(|scheme| **scheme == *endpoint.scheme())
        };
        let found = (course.at..course.endpoints.len()).find(|at| usable(&course.endpoints[*at]));
        let Some(at) = found else { return self.round_over(target) };
        let endpoint = course.endpoints[at].clone();
        let dial = self.dials.next_id();
        self.dials.attempts.insert(dial, target.clone());
        if let Some(course) = self.dials.targets.get_mut(target) {
            course.at = at;
            course.stage = Stage::Connecting(dial);
        }
        self.outbox.push(Output::Connect { dial, endpoint });
    }

    /// Is a [`Connect`](Output::Connect) still wanted? One that is carried out all the same
    /// makes a link like any other.
    pub fn is_dialling(&self, dial: DialId) -> bool {
        self.dials.attempts.contains_key(&dial)
    }

    /// The pause before a target is over.
    pub(super) fn redial(&mut self, dial: DialId) {
        if let Some(target) = self.dials.attempts.remove(&dial) {
            self.connect(&target);
        }
    }

    /// The driver has a link for a dial.
    pub(super) fn dial_up(&mut self, dial: DialId, link: LinkId) -> Option<Target> {
        let target = self.dials.resolve(dial)?;
        self.dials.targets.get_mut(&target)?.stage = Stage::Handshaking(link);
        Some(target)
    }

    /// The driver has no link for a dial.
    pub(super) fn connect_failed(&mut self, dial: DialId, error: String) {
        if let Some(target) = self.dials.resolve(dial) {
            self.dial_failed(&target, DialError::Connect(error));
        }
    }

    /// A node was found behind a dialled link.
    pub(super) fn dial_met(&mut self, target: &Target, link: LinkId, node: &NodeId) {
        if let Target::Peer(expected) = target
            && expected != node
        {
            // Another node took over the endpoint. It is welcome as what it is; the
            // one that was sought is not there.
            let error = DialError::Connect(alloc::format!("node {node} is there instead"));
            self.dial_fell(target, link, error);
        } else if let Some(course) = self.dials.targets.get_mut(target) {
            course.node = Some(node.clone());
        }
    }

    /// This node itself is behind a dialled link, which ends now: a seed or hint is of no
    /// use. Of a member one endpoint is, as where two hosts call the same address theirs;
    /// the others are tried (PROTOCOL.md §4.1).
    pub(super) fn dial_met_myself(&mut self, target: &Target) {
        if !matches!(target, Target::Peer(_)) {
            self.drop_dial(target);
        }
    }

    /// A dialled link ended before it opened.
    pub(super) fn dial_fell(&mut self, target: &Target, link: LinkId, error: DialError) {
        let Some(course) = self.dials.targets.get(target) else { return };
        if course.stage != Stage::Handshaking(link) {
            return;
        }
        // Two links of one pair: the other one stands.
        let stands = course.node.as_ref().is_some_and(|node| self.peers.is_open(node));
        if stands && error == DialError::Rejected(RejectReason::Duplicate) {
            self.dial_rests(target);
        } else {
            self.dial_failed(target, error);
        }
    }

    fn dial_rests(&mut self, target: &Target) {
        if matches!(target, Target::Seed(_)) {
            if let Some(course) = self.dials.targets.get_mut(target) {
                course.failures = 0;
                course.at = 0;
                course.stage = Stage::Resting;
            }
        } else {
            self.dials.drop_target(target);
        }
    }

    fn dial_failed(&mut self, target: &Target, error: DialError) {
        let Some(course) = self.dials.targets.get_mut(target) else { return };
        if let Some(endpoint) = course.endpoints.get(course.at).cloned() {
            let seed = matches!(target, Target::Seed(_));
            self.outbox.event(Event::DialFailed { endpoint, seed, error: error.clone() });
        }
        course.stage = Stage::Resting;
        if let Some(endpoints) = course.listed_at.take() {
            course.listed(endpoints);
        } else {
            course.last_error = Some(error);
            course.at += 1;
        }
        self.connect(target);
    }

    /// All endpoints of a target were tried: pause, or give up.
    fn round_over(&mut self, target: &Target) {
        let Some(course) = self.dials.targets.get_mut(target) else { return };
        course.at = 0;
        course.failures = course.failures.saturating_add(1);
        course.stage = Stage::Resting;
        let goes_on = match &course.patience {
            Patience::Endless => true,
            Patience::Tries => course.failures < limits::HINT_TRIES,
            Patience::Listed { at, .. } => self.now.since(*at) < self.config.forget_after,
        };
        let why = course.why();
        if course.last_error.is_some() && goes_on {
            let failures = course.failures;
            let pause = self.pause_after(failures);
            self.dial_after(target, pause);
        }
        if let Target::Peer(node) = target {
            self.request_unreachable(node, why);
        }
    }

    /// The pause after so many failures in a row.
    fn pause_after(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let pause = self.config.redial_min.saturating_mul(1 << doublings);
        self.random.jitter(pause.min(self.config.redial_max))
    }

    fn dial_after(&mut self, target: &Target, pause: Duration) {
        let dial = self.dials.next_id();
        let Some(course) = self.dials.targets.get_mut(target) else { return };
        course.stage = Stage::Waiting(dial);
        self.dials.attempts.insert(dial, target.clone());
        self.timers.set(Timer::Redial(dial), self.now + pause);
    }

    /// A link with a node opened: whatever sought that node rests.
    pub(super) fn dial_opened(&mut self, node: &NodeId) {
        self.drop_dial(&Target::Peer(node.clone()));
        for target in self.targets_of(node) {
            if let Some(Stage::Waiting(dial)) = self.dials.targets.get(&target).map(|c| c.stage) {
                self.dials.attempts.remove(&dial);
                self.timers.clear(&Timer::Redial(dial));
            }
            self.dial_rests(&target);
        }
    }

    /// The seeds and hints behind which this node was found.
    fn targets_of(&self, node: &NodeId) -> Vec<Target> {
        // Sorted: they stand before all peers.
        let targets = self.dials.targets.iter();
        let endpoints = targets.take_while(|(target, _)| !matches!(target, Target::Peer(_)));
        let found = endpoints.filter(|(_, course)| course.node.as_ref() == Some(node));
        found.map(|(target, _)| target.clone()).collect()
    }

    /// A peer that was reached is gone: dial it again, and the seeds that led to it.
    /// `keep` says whether the peer itself is worth it; one that left is not. After many
    /// `brief` links in a row the pause is longer, or a peer that breaks each link would
    /// be dialled in a tight loop.
    pub(super) fn dial_lost(
        &mut self,
        node: &NodeId,
        mut endpoints: Vec<Endpoint>,
        keep: bool,
        brief: u32,
    ) {
        for target in self.targets_of(node) {
            let Some(course) = self.dials.targets.get(&target) else { continue };
            endpoints.retain(|endpoint| !course.endpoints.contains(endpoint));
            if course.stage == Stage::Resting {
                let pause = self.pause_after(brief);
                self.dial_after(&target, pause);
            }
        }
        let usable = |e: &Endpoint| self.config.schemes.iter().any(|s| **s == *e.scheme());
        if keep && endpoints.iter().any(usable) {
            let target = Target::Peer(node.clone());
            let pause = self.pause_after(brief);
            let course = Course::new(endpoints, Patience::Endless);
            self.dials.targets.insert(target.clone(), course);
            self.dial_after(&target, pause);
        }
    }

    /// A link tells of a member that this node has no link with.
    pub(super) fn dial_listed(&mut self, link: LinkId, member: Member) {
        self.request_expects(&member.node);
        let print = fingerprint(&member.node, member.incarnation);
        let listed_as = Some((member.incarnation, print));
        let target = Target::Peer(member.node);
        let Some(course) = self.dials.targets.get_mut(&target) else {
            if self.dials.targets.len() < limits::PEERS_PER_BUS * 2 {
                let patience = Patience::Listed { by: BTreeSet::from([link]), at: self.now };
                let mut course = Course::new(member.endpoints, patience);
                course.listed_as = listed_as;
                self.start_course(&target, course);
            }
            return;
        };
        course.listed_as = listed_as;
        if let Patience::Listed { by, at } = &mut course.patience {
            by.insert(link);
            *at = self.now;
        }
        // Somebody reached it just now: a long pause is out of place.
        course.failures = 0;
        let under_way = matches!(course.stage, Stage::Connecting(_) | Stage::Handshaking(_));
        if under_way {
            let elsewhere = course.endpoints != member.endpoints;
            course.listed_at = elsewhere.then_some(member.endpoints);
        } else {
            course.listed(member.endpoints);
            if let Stage::Waiting(dial) = course.stage {
                self.dials.attempts.remove(&dial);
                self.timers.clear(&Timer::Redial(dial));
            }
            self.connect(&target);
        }
    }

    /// A link opened whose other end was told that these members are being dialled, so
    /// that it did not list them: it may well know them.
    pub(super) fn dial_may_be_listed(&mut self, link: LinkId) {
        for course in self.dials.targets.values_mut() {
            if course.stage != Stage::Resting
                && let Patience::Listed { by, .. } = &mut course.patience
            {
                by.insert(link);
            }
        }
    }

    /// A link closed: what it alone had listed is no more.
    pub(super) fn dial_unlisted(&mut self, link: LinkId) {
        let mut orphans = Vec::new();
        for (target, course) in &mut self.dials.targets {
            if let Patience::Listed { by, .. } = &mut course.patience
                && by.remove(&link)
                && by.is_empty()
            {
                orphans.push(target.clone());
            }
        }
        for target in orphans {
            self.drop_dial(&target);
            if let Target::Peer(node) = &target {
                self.request_unreachable(node, "no peer has a link with it any more".into());
            }
        }
    }

    /// Whatever it is, it is dialled no more.
    pub(super) fn drop_dial(&mut self, target: &Target) {
        if let Some(dial) = self.dials.drop_target(target) {
            self.timers.clear(&Timer::Redial(dial));
        }
    }

    pub(super) fn drop_all_dials(&mut self) {
        let targets: Vec<Target> = self.dials.targets.keys().cloned().collect();
        for target in targets {
            self.drop_dial(&target);
        }
    }
}
