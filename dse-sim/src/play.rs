//! Plays a schedule in a world, then ends all faults and looks what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use dse_core::protocol::{
    Class, Command, Declaration, Endpoint, Incarnation, InterestOptions, Kind, Role, wire,
};

use crate::schedule::{Act, GUESTS, LEAVES, PATTERNS, Who};
use crate::setup::{Seeding, Setup};
use crate::world::{Latency, Notice, Options, Random, World, declaration, endpoint, expr, id, key};

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

    /// Ends all faults and holds what comes of it against the laws.
    pub fn calm(&mut self) {
        self.world.remark("all faults end");
        self.world.heal();
        self.world.end_slowness();
        self.world.end_blindness();
        let half_open = self.world.any_half_open();
        let names: Vec<String> = self.world.nodes().iter().map(|n| n.name.clone()).collect();
        for name in &names {
            if self.world.runs(name) {
                self.world.resume(name);
            }
        }
        // Nobody who lives is forgotten before, by whatever clock.
        let settling = self.settling(half_open);
        let forgetful = self.world.now() + settling >= self.setup.soonest_forgotten() * 9 / 10;
        self.contests_end();
        for member in self.cast.clone() {
            self.settle_twins(member);
        }
        for member in self.cast.clone() {
            self.start(Who::Member(member), &[0]);
        }
        self.settle_guests();
        self.world.run_for(settling);
        if forgetful {
            self.all_ask();
        } else {
            self.all_have_met();
        }
        self.world.run_until_quiet();
        self.all_is_known();
        self.one_change_is_one_message_to_each();
        self.a_leave_and_a_crash_are_told_apart();
    }

    /// Whoever was leaving ends, and of two nodes with one id one does, as soon as they have
    /// heard of each other.
    fn contests_end(&mut self) {
        let twins = self.cast.iter().map(|member| Who::Twin(*member).to_string());
        let twins: Vec<String> = twins.filter(|twin| self.world.runs(twin)).collect();
        self.world.run_for(if twins.is_empty() { LEAVING } else { Duration::ZERO });
        for member in self.cast.clone() {
            let endpoint = endpoint(&Who::Member(member).to_string());
            self.command(Who::Twin(member), |_| Command::AddSeed { endpoint });
        }
        self.world.run_for(if twins.is_empty() { Duration::ZERO } else { LONGEST_CONTEST });
    }

    /// Of two live nodes with one id, all refuse the same one.
    fn settle_twins(&mut self, member: usize) {
        let twin = Who::Twin(member).to_string();
        let both = self.world.runs(&Who::Member(member).to_string()) && self.world.runs(&twin);
        assert!(!both, "two nodes with the id {} go on side by side", Who::Member(member));
        self.if_runs(Who::Twin(member), |world, name| world.crash(name, Notice::AtOnce));
    }

    /// Of the guests that run one stays, or else one comes, where there may be guests.
    fn settle_guests(&mut self) {
        let guests = || (0..GUESTS).map(Who::Guest);
        let runs = |guest: &Who| self.world.runs(&guest.to_string());
        let stays = guests().find(runs).unwrap_or(Who::Guest(0));
        let guest = (self.setup.fewest_guests() > 0).then_some(stays);
        self.guest = guest;
        for guest in guests().filter(|other| Some(*other) != guest) {
            self.if_runs(guest, |world, name| world.crash(name, Notice::AtOnce));
        }
        if let Some(guest) = guest {
            self.start(guest, &[]);
        }
    }

    /// How long it takes at the most, once all faults have ended, until the members have met:
    /// a dial or a handshake under way may fail yet, and then comes the longest pause. Before
    /// that an end whose other end is gone has to notice that nobody is there.
    fn settling(&self, half_open: bool) -> Duration {
        let noticing = if half_open { LONGEST_SILENCE } else { Duration::ZERO };
        noticing + self.setup.longest_pause() * 11 / 10 + Duration::from_secs(10)
    }

    /// L2: the members have found each other in time, without a word of the application. A
    /// guest learns when it asks who has come after it, or elsewhere; without one, nobody
    /// waits for anything any more (L1).
    fn all_have_met(&self) {
        let names = self.names();
        let members: Vec<_> = names.iter().map(String::as_str).collect();
        self.world.assert_converged_among(&members);
        self.world.assert_routed();
        if self.guest.is_none() {
            self.world.assert_nothing_left_over();
        }
    }

    /// Two that forgot each other while both kept a third learn of each other when they
    /// ask: the third's answer tells that it knows more (PROTOCOL.md §7.2).
    fn all_ask(&mut self) {
        for name in self.everybody() {
            self.world.ask(&name, "**");
        }
    }

    /// L2 and L4, of a bus at rest: everybody knows and is told everything.
    fn all_is_known(&mut self) {
        let names = self.names();
        for name in self.everybody() {
            let report = self.world.ask(&name, "**");
            assert!(report.complete, "L4: {name}: {report:?}");
            let others = names.iter().filter(|other| **other != name).count();
            assert_eq!(report.expected, others, "L4: {name}: {report:?}");
            assert_eq!(report.matches, self.world.node(&names[0]).lookup("**"), "L4: {name}");
        }
        self.world.run_until_quiet();
        self.all_is_at_rest();
    }

    /// L1 and L2, of a bus at rest.
    fn all_is_at_rest(&self) {
        self.world.assert_converged();
        self.world.assert_routed();
        self.world.assert_nothing_left_over();
    }

    /// L5: a change of an index costs one message of its size to each peer, and what they
    /// want more for it.
    fn one_change_is_one_message_to_each(&mut self) {
        let names = self.names();
        let name = self.random.pick(&names).clone();
        self.world.reset_counts();
        let declaration = declaration(&format!("{name}/at-rest"));
        let everybody = self.everybody();
        let more = |other: &String| self.world.wants_more(other, &name, &declaration.key);
        let more: Vec<bool> = everybody.iter().map(more).collect();
        self.world.declare_quietly(&name, declaration.key.as_str());
        self.world.run_until_quiet();
        self.all_is_at_rest();
        let deltas = names.len() as u64 - 1;
        for (other, more) in everybody.iter().zip(more) {
            let node = self.world.node(other);
            let sent = (node.sent("Delta"), node.sent("Interest"), node.sent_in_all());
            let due =
                if *other == name { (deltas, 0, deltas) } else { (0, more.into(), more.into()) };
            assert_eq!(sent, due, "L5: deltas, interests and all messages of {other}");
        }
        let size = (wire::encoded_len(&declaration) + ANNOUNCEMENT) as u64;
        let bytes = self.world.node(&name).sent_bytes();
        assert!(bytes <= deltas * size, "L5: {bytes} bytes of {name} for {deltas} deltas");
    }

    /// A leave is a leave for everybody, and a crash is found in time by everybody.
    fn a_leave_and_a_crash_are_told_apart(&mut self) {
        let mut names = self.names();
        if names.len() < 2 {
            return;
        }
        let mut pick = || names.swap_remove(self.random.below(names.len() as u64) as usize);
        let (leaver, dead) = (pick(), pick());
        self.world.leave(&leaver);
        self.world.run_for(LEAVING);
        assert!(!self.world.runs(&leaver), "{leaver} does not come to an end of leaving");
        for other in names.iter().chain([&dead]) {
            let left = self.world.node(other).believes_left(&leaver);
            assert!(left, "{other} does not know that {leaver} left");
        }
        self.world.crash(&dead, Notice::Detected);
        // One of its watchers finds it, and all others ask when that one tells.
        let told = self.setup.latency.1;
        self.world.run_for(self.setup.longest_detect() + told + PROBE);
        for other in &names {
            let down = self.world.node(other).believes_down(&dead);
            assert!(down, "{other} does not know that {dead} died");
        }
    }

    /// The members, and the guest if there is one.
    fn everybody(&self) -> Vec<String> {
        let guest = self.guest.map(|guest| guest.to_string());
        self.names().into_iter().chain(guest).collect()
    }

    fn names(&self) -> Vec<String> {
        self.cast.iter().map(|member| Who::Member(*member).to_string()).collect()
    }

    fn takes_part(&self, act: &Act) -> bool {
        concerned(act).into_iter().filter_map(Who::member).all(|who| self.cast.contains(&who))
    }

    fn if_runs(&mut self, who: Who, act: impl FnOnce(&mut World, &str)) {
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

    fn start(&mut self, who: Who, keys: &[usize]) {
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

    fn command(&mut self, who: Who, command: impl FnOnce(dse_core::protocol::Ticket) -> Command) {
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

/// How long a probe on demand waits for its answer.
const PROBE: Duration = Duration::from_millis(400);
/// How long a peer may be silent that is listened to only now and then, by any clock: 120 s
/// where no member has more than six links (PROTOCOL.md §10.3), and 15 s a link beyond.
const LONGEST_SILENCE: Duration = Duration::from_secs(240);
/// How many bytes a Delta of one declaration has besides it.
const ANNOUNCEMENT: usize = 32;
/// How long a node takes to leave, by any clock.
const LEAVING: Duration = Duration::from_secs(3);
/// How many declarations are a bulk: together more than one message holds.
const BULK: usize = 30;
/// Within this time, of two nodes with one id one has ended: the longest pause between
/// dials, and the longest detection time.
const LONGEST_CONTEST: Duration = Duration::from_secs(300);

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
