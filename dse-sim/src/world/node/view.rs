//! What can be read of a node: what it holds, what it said and what it sent.

use std::time::Duration;

use dse_core::protocol::{
    CommandError, Counters, Event, LinkId, Match, NodeId, PeerStatus, Report, StatsError, Ticket,
};

use super::super::{expr, id, is};
use super::Node;

impl Node {
    /// When this life of it last told its application something new of other nodes or
    /// of what they declare. Known also where events are not kept.
    pub fn news_at(&self) -> Option<Duration> {
        self.news_at
    }

    /// What its directory holds.
    pub fn lookup(&self, keys: &str) -> Vec<Match> {
        self.bus().lookup(&expr(keys))
    }

    /// The keys under which it knows anything, with the nodes.
    pub fn knows(&self) -> Vec<String> {
        let name = |found: Match| format!("{}:{}", found.node, found.declaration.key);
        self.lookup("**").into_iter().map(name).collect()
    }

    /// The peers that it knows, linked or not.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.bus().peers()
    }

    /// The ids of those it has an open link to, in order.
    pub fn linked(&self) -> Vec<String> {
        let open = self.peers().into_iter().filter(|peer| peer.link.is_some());
        open.map(|peer| peer.info.node.to_string()).collect()
    }

    /// Its open link to a peer, if there is one.
    pub fn link_to(&self, peer: &NodeId) -> Option<LinkId> {
        self.peers().into_iter().find(|status| status.info.node == *peer)?.link
    }

    /// Did it say last of this member that it left? Where laws are checked.
    pub fn believes_left(&self, member: &str) -> bool {
        self.mirror.has_left(&id(member))
    }

    /// Did it say last of this member that it is down? Where laws are checked.
    pub fn believes_down(&self, member: &str) -> bool {
        self.mirror.is_down(&id(member))
    }

    /// What its control bus counted.
    pub fn counters(&self) -> Counters {
        self.bus().counters()
    }

    /// What came of a command.
    pub fn done(&self, ticket: Ticket) -> Option<&Result<(), CommandError>> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Done { ticket: of, result } if *of == ticket => Some(result),
            _ => None,
        })
    }

    /// What came of a request.
    pub fn report(&self, ticket: Ticket) -> Option<&Report> {
        self.reports.get(&ticket)
    }

    /// What came of asking for a node's counters.
    pub fn stats(&self, ticket: Ticket) -> Option<&StatsResult> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::StatsReceived { ticket: of, result } if *of == ticket => Some(result),
            _ => None,
        })
    }

    /// How many events there were of which this is so.
    pub fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| which(event)).count()
    }

    /// How often it told that this member came up.
    pub fn ups(&self, member: &str) -> usize {
        self.count(|event| matches!(event, Event::NodeUp { peer } if is(&peer.node, member)))
    }

    /// How often it told that this member is down.
    pub fn downs(&self, member: &str) -> usize {
        self.count(|event| matches!(event, Event::NodeDown { node, .. } if is(node, member)))
    }

    /// How often it told that this member left.
    pub fn lefts(&self, member: &str) -> usize {
        self.count(|event| matches!(event, Event::NodeLeft { node, .. } if is(node, member)))
    }

    /// When the first such event happened.
    pub fn first(&self, which: impl Fn(&Event) -> bool) -> Option<Duration> {
        self.events.iter().find(|(_, event)| which(event)).map(|(at, _)| *at)
    }

    /// Forgets the events so far.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    /// How many messages of a kind it sent since the last reset.
    pub fn sent(&self, kind: &str) -> u64 {
        self.sent.get(kind).copied().unwrap_or(0)
    }

    /// How many messages it sent since the last reset.
    pub fn sent_in_all(&self) -> u64 {
        self.sent.values().sum()
    }

    /// Bytes of the messages that it sent since the last reset.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }
}

type StatsResult = Result<Vec<(Box<str>, u64)>, StatsError>;
