//! Plays a schedule in a world; what comes of it once all faults end is looked at in `calm`.

mod calm;

use std::collections::BTreeMap;
use std::time::Duration;

use dse_core::protocol::{
    Class, Command, Declaration, Endpoint, Incarnation, InterestOptions, Kind, Role,
};

use crate::schedule::{Act, GUESTS, LEAVES, PATTERNS, Who};
use crate::setup::{Seeding, Setup};
use crate::world::{Latency, Options, Random, World, endpoint, expr, id, key};

/// A schedule on its way.
pub struct Play {
    world: World,
    setup: Setup,
    /// The members that take part.
    cast: Vec<usize>,
    random: Random,
    /// The guest that stays when all faults have ended.
    guest: Option<Who>,
    /// The incarnation of each node's latest start.
    incarnations: BTreeMap<Who, u64>,
    starts: u64,
}

impl Play {
    /// An empty world of this setup, in which only these members take part.
    pub fn new(seed: u64, setup: Setup, cast: Vec<usize>, transcript: bool) -> Self {
        let (least, most) = setup.latency;
        let options = Options {
            latency: Latency::between(least, most),
            transcript,
            events: false,
            ..Options::default()
        };
        let mut world = World::with_options(seed, options);
        for member in &cast {
            world.set_clock(&Who::Member(*member).to_string(), setup.clocks[*member]);
        }
        let random = Random::new(seed ^ 0x9e37);
        Self { world, setup, cast, random, guest: None, incarnations: BTreeMap::new(), starts: 0 }
    }

    /// The world as it is now.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Does one act, if it makes sense now.
    pub fn act(&mut self, act: &Act) {
        if let Act::Wait(time) = act {
            return self.world.run_for(*time);
        }
        if !self.takes_part(act) {
            return;
        }
        self.world.remark(&format!("{act:?}"));
        match act {
            Act::Wait(_) => {}
            Act::Start(who, keys) => self.start(*who, keys),
            Act::Crash(who, notice) => self.if_runs(*who, |world, name| world.crash(name, *notice)),
            Act::Leave(who) => self.if_runs(*who, World::leave),
            Act::Pause(who) => self.if_runs(*who, World::pause),
            Act::Freeze(who) => self.if_runs(*who, World::freeze),
            Act::Resume(who) => self.if_runs(*who, World::resume),
            Act::Block(one, other) => self.between(*one, *other, World::block),
            Act::Break(one, other) => self.between(*one, *other, World::break_links),
            Act::HalfOpen(one, other) => self.between(*one, *other, World::half_open_links),
            Act::Lose(one, other) => self.between(*one, *other, World::lose_links),
            Act::Slow(one, other, extra) => {
                self.between(*one, *other, |world, one, other| world.slow(one, other, *extra));
            }
            Act::Partition(mask) => self.partition(*mask),
            Act::Heal => self.world.heal(),
            Act::Declare(who, leaf, form) => self.declare(*who, LEAVES[*leaf], *form),
            Act::Undeclare(who, leaf) => {
                let key = key(&format!("{}/{}", self.domain(*who), LEAVES[*leaf]));
                self.command(*who, |ticket| Command::Undeclare { ticket, key });
            }
            Act::Bulk(who, there) => self.bulk(*who, *there),
            Act::Subscribe(who, pattern) => self.subscribe(*who, *pattern),
            Act::Unsubscribe(who, nth) => self.unsubscribe(*who, *nth),
            Act::Request(who, pattern, timeout) => {
                let (keys, timeout) = (expr(PATTERNS[*pattern]), *timeout);
                self.command(*who, |ticket| Command::Request { ticket, keys, timeout });
            }
            Act::Stats(who, other) => {
                let (node, timeout) = (id(&other.to_string()), Duration::from_secs(3));
                self.command(*who, |ticket| Command::RequestStats { ticket, node, timeout });
            }
            Act::Hint(who, other) => {
                let endpoint = endpoint(&other.to_string());
                self.command(*who, |_| Command::AddHint { endpoint });
            }
        }
    }

    /// The members, and the guest if there is one.
    pub(super) fn everybody(&self) -> Vec<String> {
        let guest = self.guest.map(|guest| guest.to_string());
        self.names().into_iter().chain(guest).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.cast.iter().map(|member| Who::Member(*member).to_string()).collect()
    }

    fn takes_part(&self, act: &Act) -> bool {
        concerned(act).into_iter().filter_map(Who::member).all(|who| self.cast.contains(&who))
    }

    pub(super) fn if_runs(&mut self, who: Who, act: impl FnOnce(&mut World, &str)) {
        let name = who.to_string();
        if self.world.runs(&name) {
            act(&mut self.world, &name);
        }
    }

    fn between(&mut self, one: Who, other: Who, act: impl FnOnce(&mut World, &str, &str)) {
        let (one, other) = (one.to_string(), other.to_string());
        if one != other && self.world.has(&one) && self.world.has(&other) {
            act(&mut self.world, &one, &other);
        }
    }

    fn partition(&mut self, mask: u64) {
        let members = self.cast.iter().flat_map(|n| [Who::Member(*n), Who::Twin(*n)]);
        let all = members.chain((0..GUESTS).map(Who::Guest));
        let all: Vec<(Who, String)> = all.map(|who| (who, who.to_string())).collect();
        let side = |within: bool| -> Vec<&str> {
            let there = all.iter().filter(|(_, name)| self.world.has(name));
            let there = there.filter(|(who, _)| (mask >> who.place() & 1 == 1) == within);
            there.map(|(_, name)| name.as_str()).collect()
        };
        let (left, right) = (side(true), side(false));
        self.world.partition(&left, &right);
    }

    pub(super) fn start(&mut self, who: Who, keys: &[usize]) {
        let name = who.to_string();
        if self.world.runs(&name) {
            return;
        }
        let incarnation = self.incarnation(who);
        let tunables = self.setup.tunables(who);
        let (nodes, dead_endpoints) = (self.setup.nodes, self.setup.dead_endpoints);
        self.world.set_detect(&name, tunables.detect);
        self.world.start_with(&name, |config| {
            config.incarnation = Incarnation(incarnation);
            config.forget_after = tunables.forget_after;
            (config.redial_min, config.redial_max) = tunables.redial;
            config.guests_max = tunables.guests_max;
            if tunables.tight {
                config.peers_max = nodes.max(2);
            }
            match who {
                Who::Member(_) => {}
                Who::Twin(member) => config.node = id(&Who::Member(member).to_string()),
                Who::Guest(_) => {
                    config.role = Role::Guest;
                    config.endpoints.clear();
                }
            }
            if dead_endpoints && config.role == Role::Member {
                config.endpoints.insert(0, foreign());
                config.endpoints.push(endpoint("nowhere"));
            }
        });
        for seed in self.seeds(who) {
            let endpoint = endpoint(&Who::Member(seed).to_string());
            self.world.command(&name, Command::AddSeed { endpoint });
        }
        for leaf in keys {
            self.declare(who, LEAVES[*leaf], 0);
        }
    }

    /// Grows with each start, unless clocks go back.
    fn incarnation(&mut self, who: Who) -> u64 {
        self.starts += 1;
        let next = 1000 + self.starts;
        let before = self.incarnations.get(&who).copied();
        let next = match self.random.below(10) {
            0..2 if self.setup.clocks_go_back => 1000 - self.starts.min(999),
            2 if self.setup.clocks_go_back => before.unwrap_or(next),
            _ => next,
        };
        self.incarnations.insert(who, next);
        next
    }

    fn seeds(&self, who: Who) -> Vec<usize> {
        let first = self.cast.first().copied().into_iter().collect();
        let Some(member) = who.member() else { return first };
        match self.setup.seeding {
            Seeding::All => self.cast.clone(),
            Seeding::Star => first,
            Seeding::Ring => {
                let at = self.cast.iter().position(|other| *other == member).unwrap_or(0);
                vec![self.cast[(at + self.cast.len() - 1) % self.cast.len()]]
            }
        }
    }

    pub(super) fn command(
        &mut self,
        who: Who,
        command: impl FnOnce(dse_core::protocol::Ticket) -> Command,
    ) {
        let ticket = self.world.ticket();
        self.if_runs(who, |world, name| world.command(name, command(ticket)));
    }

    /// The first segment of its keys: its id.
    fn domain(&self, who: Who) -> String {
        who.member().map_or_else(|| who.to_string(), |member| Who::Member(member).to_string())
    }

    fn declare(&mut self, who: Who, leaf: &str, form: u64) {
        let key = key(&format!("{}/{leaf}", self.domain(who)));
        let kind = if form.is_multiple_of(2) { Kind::State } else { Kind::Stream };
        let declaration = Declaration::new(key, kind, &format!("text/{form}"));
        self.declare_or_change(who, declaration);
    }

    fn declare_or_change(&mut self, who: Who, declaration: Declaration) {
        let name = who.to_string();
        let there = self.world.runs(&name) && self.world.declares(&name, declaration.key.as_str());
        self.command(who, |ticket| match there {
            true => Command::Redeclare { ticket, declaration },
            false => Command::Declare { ticket, declaration },
        });
    }

    /// More than fits into one message.
    fn bulk(&mut self, who: Who, there: bool) {
        let domain = self.domain(who);
        for number in 0..BULK {
            let key = key(&format!("bulk/{domain}/{number}"));
            if there {
                let mut declaration = Declaration::new(key, Kind::Stream, "text/plain");
                declaration.meta.push(("what".into(), "x".repeat(1700).into()));
                self.declare_or_change(who, declaration);
            } else {
                self.command(who, |ticket| Command::Undeclare { ticket, key });
            }
        }
    }

    fn subscribe(&mut self, who: Who, pattern: usize) {
        let subscription = dse_core::protocol::SubscriptionId(self.world.ticket().0);
        let keys = expr(PATTERNS[pattern]);
        let options = options(subscription.0);
        self.command(who, |ticket| Command::Subscribe { ticket, subscription, keys, options });
    }

    fn unsubscribe(&mut self, who: Who, nth: usize) {
        let name = who.to_string();
        if !self.world.runs(&name) {
            return;
        }
        let held = self.world.subscriptions(&name);
        if let Some(subscription) = held.get(nth % held.len().max(1)) {
            self.world.unsubscribe(&name, *subscription);
        }
    }
}

/// Whom an act is about.
pub fn concerned(act: &Act) -> Vec<Who> {
    match act {
        Act::Wait(_) | Act::Partition(_) | Act::Heal => Vec::new(),
        Act::Start(who, _)
        | Act::Crash(who, _)
        | Act::Leave(who)
        | Act::Pause(who)
        | Act::Freeze(who)
        | Act::Resume(who)
        | Act::Declare(who, ..)
        | Act::Bulk(who, _)
        | Act::Undeclare(who, _)
        | Act::Subscribe(who, _)
        | Act::Unsubscribe(who, _)
        | Act::Request(who, ..) => vec![*who],
        Act::Block(one, other)
        | Act::Break(one, other)
        | Act::HalfOpen(one, other)
        | Act::Lose(one, other)
        | Act::Slow(one, other, _)
        | Act::Stats(one, other)
        | Act::Hint(one, other) => vec![*one, *other],
    }
}

/// An endpoint that no node of the world has a transport for.
fn foreign() -> Endpoint {
    Endpoint::new("pigeon://roof").expect("an endpoint")
}

/// How many declarations are a bulk: together more than one message holds.
const BULK: usize = 30;
/// What a subscription asks of its routes: by its number, so that one pattern is subscribed
/// to in all ways. Most ask for nothing special.
fn options(subscription: u64) -> InterestOptions {
    let mut options = InterestOptions::default();
    match subscription % 7 {
        0 => options.never_wait = true,
        1 => options.min_interval = Duration::from_millis(1 + subscription % 3),
        2 => options.class = Some(Class::ALL[subscription as usize % 3]),
        3 => {
            options.never_wait = true;
            options.min_interval = Duration::from_millis(2);
            options.class = Some(Class::Bulk);
        }
        _ => {}
    }
    options
}
