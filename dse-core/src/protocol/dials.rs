//! Whom this node dials, and when again (PROTOCOL.md §4.5).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;

use super::census::Start;
use super::config::Config;
use super::errors::DialError;
use super::ids::{DialId, LinkId};
use super::io::{Event, Output};
use super::limits;
use super::message::{Member, RejectReason};
use super::names::{Endpoint, Incarnation, NodeId};
use super::random::fingerprint;
use super::target::Target;
use super::time::Instant;

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

/// The node that dials, now.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) config: &'a Config,
    pub(super) now: Instant,
}

/// What is to be done for a dial, in order.
#[derive(Debug)]
pub(super) enum DialStep {
    /// Give this out.
    Out(Output),
    /// Go on with this dial after the pause for so many failures in a row.
    Pause { dial: DialId, failures: u32 },
    /// The end of this dial's pause is not awaited any more.
    EndPause(DialId),
    /// A member cannot be reached for now.
    Unreachable { node: NodeId, why: String },
}

impl Dials {
    pub(super) fn add_seed(&mut self, endpoint: Endpoint, here: Here<'_>) -> Vec<DialStep> {
        self.add(Target::Seed(endpoint.clone()), endpoint, Patience::Endless, here)
    }

    pub(super) fn add_hint(&mut self, endpoint: Endpoint, here: Here<'_>) -> Vec<DialStep> {
        self.add(Target::Hint(endpoint.clone()), endpoint, Patience::Tries, here)
    }

    fn add(
        &mut self,
        target: Target,
        endpoint: Endpoint,
        patience: Patience,
        here: Here<'_>,
    ) -> Vec<DialStep> {
        let own = here.config.endpoints.contains(&endpoint);
        if own || self.is_full() || self.targets.contains_key(&target) {
            return Vec::new();
        }
        self.start(&target, Course::new(alloc::vec![endpoint], patience), here)
    }

    fn is_full(&self) -> bool {
        self.targets.len() >= limits::PEERS_PER_BUS * 2
    }

    fn start(&mut self, target: &Target, course: Course, here: Here<'_>) -> Vec<DialStep> {
        self.targets.insert(target.clone(), course);
        self.connect(target, here)
    }

    /// Tries the present endpoint of a target, or the next that this node has a
    /// transport for.
    fn connect(&mut self, target: &Target, here: Here<'_>) -> Vec<DialStep> {
        let Some(course) = self.targets.get_mut(target) else { return Vec::new() };
        let mut left = course.at..course.endpoints.len();
        let Some(at) = left.find(|at| here.config.can_dial(&course.endpoints[*at])) else {
            return self.round_over(target, here);
        };
        self.last += 1;
        let (dial, endpoint) = (DialId(self.last), course.endpoints[at].clone());
        course.at = at;
        course.stage = Stage::Connecting(dial);
        self.attempts.insert(dial, target.clone());
        alloc::vec![DialStep::Out(Output::Connect { dial, endpoint })]
    }

    /// All endpoints of a target were tried: pause, or give up.
    fn round_over(&mut self, target: &Target, here: Here<'_>) -> Vec<DialStep> {
        let Some(course) = self.targets.get_mut(target) else { return Vec::new() };
        course.at = 0;
        course.failures = course.failures.saturating_add(1);
        course.stage = Stage::Resting;
        let goes_on = match &course.patience {
            Patience::Endless => true,
            Patience::Tries => course.failures < limits::HINT_TRIES,
            Patience::Listed { at, .. } => here.now.since(*at) < here.config.forget_after,
        };
        let (why, failures) = (course.why(), course.failures);
        let mut steps = Vec::new();
        if course.last_error.is_some() && goes_on {
            steps.extend(self.pause(target, failures));
        }
        if let Target::Peer(node) = target {
            steps.push(DialStep::Unreachable { node: node.clone(), why });
        }
        steps
    }

    fn pause(&mut self, target: &Target, failures: u32) -> Option<DialStep> {
        let course = self.targets.get_mut(target)?;
        self.last += 1;
        let dial = DialId(self.last);
        course.stage = Stage::Waiting(dial);
        self.attempts.insert(dial, target.clone());
        Some(DialStep::Pause { dial, failures })
    }

    /// Is this attempt still wanted?
    pub(super) fn is_wanted(&self, dial: DialId) -> bool {
        self.attempts.contains_key(&dial)
    }

    /// The pause before a target is over.
    pub(super) fn pause_over(&mut self, dial: DialId, here: Here<'_>) -> Vec<DialStep> {
        let target = self.attempts.remove(&dial);
        target.map_or_else(Vec::new, |target| self.connect(&target, here))
    }

    /// The driver has a link for a dial: gives what was dialled.
    pub(super) fn connected(&mut self, dial: DialId, link: LinkId) -> Option<Target> {
        let target = self.resolve(dial)?;
        self.targets.get_mut(&target)?.stage = Stage::Handshaking(link);
        Some(target)
    }

    /// The driver has no link for a dial.
    pub(super) fn not_connected(
        &mut self,
        dial: DialId,
        error: String,
        here: Here<'_>,
    ) -> Vec<DialStep> {
        let Some(target) = self.resolve(dial) else { return Vec::new() };
        self.failed(&target, DialError::Connect(error), here)
    }

    /// What was dialled on this attempt; the attempt is over.
    fn resolve(&mut self, dial: DialId) -> Option<Target> {
        let target = self.attempts.remove(&dial)?;
        let course = self.targets.get(&target)?;
        (course.stage == Stage::Connecting(dial)).then_some(target)
    }

    /// A node was found behind a dialled link.
    pub(super) fn met(
        &mut self,
        target: &Target,
        link: LinkId,
        node: &NodeId,
        here: Here<'_>,
    ) -> Vec<DialStep> {
        if let Target::Peer(expected) = target
            && expected != node
        {
            // Another node took over the endpoint. It is welcome as what it is; the
            // one that was sought is not there.
            let error = DialError::Connect(alloc::format!("node {node} is there instead"));
            return self.fell(target, link, error, false, here);
        }
        if let Some(course) = self.targets.get_mut(target) {
            course.node = Some(node.clone());
        }
        Vec::new()
    }

    /// This node itself is behind a dialled link, which ends now: a seed or hint is of no
    /// use. Of a member one endpoint is, as where two hosts call the same address theirs;
    /// the others are tried (PROTOCOL.md §4.1).
    pub(super) fn met_myself(&mut self, target: &Target) -> Option<DialStep> {
        if matches!(target, Target::Peer(_)) { None } else { self.drop_target(target) }
    }

    /// The node that was found behind a seed or hint.
    pub(super) fn node_behind(&self, target: &Target) -> Option<&NodeId> {
        self.targets.get(target)?.node.as_ref()
    }

    /// A dialled link ended before it opened. `stands` says whether the node behind it has
    /// a link that is open.
    pub(super) fn fell(
        &mut self,
        target: &Target,
        link: LinkId,
        error: DialError,
        stands: bool,
        here: Here<'_>,
    ) -> Vec<DialStep> {
        let course = self.targets.get(target);
        if course.is_none_or(|course| course.stage != Stage::Handshaking(link)) {
            return Vec::new();
        }
        // Two links of one pair: the other one stands.
        if stands && error == DialError::Rejected(RejectReason::Duplicate) {
            self.rest(target);
            return Vec::new();
        }
        self.failed(target, error, here)
    }

    fn rest(&mut self, target: &Target) {
        if matches!(target, Target::Seed(_)) {
            if let Some(course) = self.targets.get_mut(target) {
                course.failures = 0;
                course.at = 0;
                course.stage = Stage::Resting;
            }
        } else {
            self.drop_target(target);
        }
    }

    fn failed(&mut self, target: &Target, error: DialError, here: Here<'_>) -> Vec<DialStep> {
        let Some(course) = self.targets.get_mut(target) else { return Vec::new() };
        let mut steps = Vec::new();
        if let Some(endpoint) = course.endpoints.get(course.at).cloned() {
            let seed = matches!(target, Target::Seed(_));
            let event = Event::DialFailed { endpoint, seed, error: error.clone() };
            steps.push(DialStep::Out(Output::Event(event)));
        }
        course.stage = Stage::Resting;
        if let Some(endpoints) = course.listed_at.take() {
            course.listed(endpoints);
        } else {
            course.last_error = Some(error);
            course.at += 1;
        }
        steps.extend(self.connect(target, here));
        steps
    }

    /// A link with a node opened: whatever sought that node rests. The node was told which
    /// members are being dialled, so that it does not list them: it may well know them, so
    /// the link counts as one that lists them.
    pub(super) fn opened(&mut self, link: LinkId, node: &NodeId) -> Vec<DialStep> {
        let mut steps = Vec::from_iter(self.drop_target(&Target::Peer(node.clone())));
        for target in self.targets_of(node) {
            if let Some(Stage::Waiting(dial)) = self.targets.get(&target).map(|c| c.stage) {
                self.attempts.remove(&dial);
                steps.push(DialStep::EndPause(dial));
            }
            self.rest(&target);
        }
        for course in self.targets.values_mut() {
            if course.stage != Stage::Resting
                && let Patience::Listed { by, .. } = &mut course.patience
            {
                by.insert(link);
            }
        }
        steps
    }

    /// The seeds and hints behind which this node was found.
    fn targets_of(&self, node: &NodeId) -> Vec<Target> {
        // Sorted: they stand before all peers.
        let targets = self.targets.iter();
        let endpoints = targets.take_while(|(target, _)| !matches!(target, Target::Peer(_)));
        let found = endpoints.filter(|(_, course)| course.node.as_ref() == Some(node));
        found.map(|(target, _)| target.clone()).collect()
    }

    /// A peer that was reached is gone: the seeds that led to it are dialled again, and it
    /// itself at these `endpoints`; there are none of one that is not worth it, as it left.
    /// After many `brief` links in a row the pause is longer, or a peer that breaks each
    /// link would be dialled in a tight loop.
    pub(super) fn lost(
        &mut self,
        node: &NodeId,
        mut endpoints: Vec<Endpoint>,
        brief: u32,
        here: Here<'_>,
    ) -> Vec<DialStep> {
        let mut steps = Vec::new();
        for target in self.targets_of(node) {
            let Some(course) = self.targets.get(&target) else { continue };
            endpoints.retain(|endpoint| !course.endpoints.contains(endpoint));
            if course.stage == Stage::Resting {
                steps.extend(self.pause(&target, brief));
            }
        }
        if endpoints.iter().any(|endpoint| here.config.can_dial(endpoint)) {
            let target = Target::Peer(node.clone());
            self.targets.insert(target.clone(), Course::new(endpoints, Patience::Endless));
            steps.extend(self.pause(&target, brief));
        }
        steps
    }

    /// A link tells of a member that this node has no link with.
    pub(super) fn listed(&mut self, link: LinkId, member: Member, here: Here<'_>) -> Vec<DialStep> {
        let print = fingerprint(&member.node, member.incarnation);
        let listed_as = Some((member.incarnation, print));
        let target = Target::Peer(member.node);
        let full = self.is_full();
        let Some(course) = self.targets.get_mut(&target) else {
            if full {
                return Vec::new();
            }
            let patience = Patience::Listed { by: BTreeSet::from([link]), at: here.now };
            let course = Course { listed_as, ..Course::new(member.endpoints, patience) };
            return self.start(&target, course, here);
        };
        course.listed_as = listed_as;
        if let Patience::Listed { by, at } = &mut course.patience {
            by.insert(link);
            *at = here.now;
        }
        // Somebody reached it just now: a long pause is out of place.
        course.failures = 0;
        let mut steps = Vec::new();
        let under_way = matches!(course.stage, Stage::Connecting(_) | Stage::Handshaking(_));
        if under_way {
            let elsewhere = course.endpoints != member.endpoints;
            course.listed_at = elsewhere.then_some(member.endpoints);
        } else {
            course.listed(member.endpoints);
            if let Stage::Waiting(dial) = course.stage {
                self.attempts.remove(&dial);
                steps.push(DialStep::EndPause(dial));
            }
            steps.extend(self.connect(&target, here));
        }
        steps
    }

    /// A link closed: what it alone had listed is no more.
    pub(super) fn unlisted(&mut self, link: LinkId) -> Vec<DialStep> {
        let mut orphans = Vec::new();
        for (target, course) in &mut self.targets {
            if let Patience::Listed { by, .. } = &mut course.patience
                && by.remove(&link)
                && by.is_empty()
            {
                orphans.push(target.clone());
            }
        }
        let mut steps = Vec::new();
        for target in orphans {
            steps.extend(self.drop_target(&target));
            if let Target::Peer(node) = target {
                let why = "no peer has a link with it any more".into();
                steps.push(DialStep::Unreachable { node, why });
            }
        }
        steps
    }

    /// Whatever it is, it is dialled no more; an attempt under way becomes a link like any
    /// other.
    pub(super) fn drop_target(&mut self, target: &Target) -> Option<DialStep> {
        match self.targets.remove(target)?.stage {
            Stage::Waiting(dial) | Stage::Connecting(dial) => {
                self.attempts.remove(&dial);
                Some(DialStep::EndPause(dial))
            }
            Stage::Resting | Stage::Handshaking(_) => None,
        }
    }

    /// Nothing is dialled any more.
    pub(super) fn drop_all(&mut self) {
        for target in self.targets.keys().cloned().collect::<Vec<Target>>() {
            self.drop_target(&target);
        }
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
}
