//! What holds once all faults have ended.

use std::time::Duration;

use dse_core::protocol::{Command, wire};

use super::Play;
use crate::schedule::{GUESTS, Who};
use crate::world::{Notice, declaration, endpoint};

impl Play {
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
/// Within this time, of two nodes with one id one has ended: the longest pause between
/// dials, and the longest detection time.
const LONGEST_CONTEST: Duration = Duration::from_secs(300);
