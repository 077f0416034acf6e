//! What peers and the application say: names from a small stock, so that they meet, and
//! messages whose fields mostly fit.

use std::time::Duration;

use dse_core::protocol::{
    Answer, BusId, Claim, Class, Declaration, Delta, Endpoint, Features, Hello, Incarnation,
    IndexVersion, Interest, InterestOptions, InterestRefused, Key, KeyExpr, Kind, Leave, LeaveAck,
    LeaveReason, Member, Members, MembersRequest, Message, NodeId, Open, Pattern, Reject,
    RejectReason, Request, Rival, Role, Snapshot, Span, Stand, Stats, StatsRequest, Suspect,
};

use crate::source::Source;

/// The node itself: between the others in the order of ids, so that it offers links to
/// some and decides about those of others.
pub(super) const SELF: &str = "m";
pub(super) const BUS: &str = "bus";
/// The scheme that the node has a transport for.
pub(super) const SCHEME: &str = "mem";

const NODES: [&str; 8] = ["a", "b", "x", "y", "z", "l", "m.a", SELF];
const KEYS: [&str; 6] = ["a", "a/b", "a/b/c", "b/x", "c", "b"];
const PATTERNS: [&str; 8] = ["**", "*", "a/**", "*/b", "a/*/c", "b/x", "**/c", "a"];
const ENDPOINTS: [&str; 6] = ["mem://1", "mem://2", "mem://3", "mem://self", "odd://1", "mem://4"];
/// How many declarations or members one message holds when it holds many.
const MANY: usize = 300;

pub(super) fn node_id(text: &str) -> NodeId {
    NodeId::new(text).expect("a node id")
}

pub(super) fn bus_id(text: &str) -> BusId {
    BusId::new(text).expect("a bus id")
}

pub(super) fn own_endpoint() -> Endpoint {
    Endpoint::new("mem://self").expect("an endpoint")
}

pub(super) fn node(source: &mut Source<'_>) -> NodeId {
    match source.below(12) {
        11 => node_id(&format!("n{}", source.below(1 << 16))),
        _ => node_id(source.pick(&NODES)),
    }
}

pub(super) fn key(source: &mut Source<'_>) -> Key {
    Key::new(source.pick(&KEYS)).expect("a key")
}

pub(super) fn pattern(source: &mut Source<'_>) -> KeyExpr {
    KeyExpr::new(source.pick(&PATTERNS)).expect("a key expression")
}

/// What is asked of routes: mostly nothing.
pub(super) fn options(source: &mut Source<'_>) -> InterestOptions {
    let mut options = InterestOptions::default();
    if source.once_in(4) {
        options.never_wait = source.once_in(2);
        options.min_interval = Duration::from_millis(source.number());
        options.class = source.once_in(2).then(|| source.pick(&Class::ALL));
    }
    options
}

pub(super) fn endpoint(source: &mut Source<'_>) -> Endpoint {
    Endpoint::new(source.pick(&ENDPOINTS)).expect("an endpoint")
}

pub(super) fn declaration(source: &mut Source<'_>) -> Declaration {
    let key = key(source);
    let kind = source.pick(&[Kind::State, Kind::Stream, Kind::Table, Kind::Other(77)]);
    let mut declaration = Declaration::new(key, kind, source.pick(&["", "text/plain", "x"]));
    if source.once_in(8) {
        let value = "v".repeat(source.pick(&[0, 1, 100, 2040, 3000]));
        declaration.meta.push(("name".into(), value.into()));
    }
    declaration
}

fn declarations(source: &mut Source<'_>) -> Vec<Declaration> {
    if source.once_in(40) {
        let numbered = |at: usize| Key::new(format!("k/{at}")).expect("a key");
        return (0..MANY).map(|at| Declaration::new(numbered(at), Kind::State, "")).collect();
    }
    source.list(4, declaration)
}

fn claim(source: &mut Source<'_>) -> Claim {
    Claim {
        returned: source.once_in(4),
        incarnation: Incarnation(source.below(3) as u64),
        nonce: source.below(3) as u64,
    }
}

fn incarnation(source: &mut Source<'_>) -> Incarnation {
    Incarnation(source.number())
}

pub(super) fn role(source: &mut Source<'_>) -> Role {
    if source.once_in(6) { Role::Guest } else { Role::Member }
}

fn member(source: &mut Source<'_>) -> Member {
    Member {
        node: node(source),
        incarnation: incarnation(source),
        endpoints: source.list(3, endpoint),
    }
}

fn members(source: &mut Source<'_>) -> Vec<Member> {
    match source.below(40) {
        39 => {
            let from = source.below(1 << 16);
            let numbered = |at: usize| Member {
                node: node_id(&format!("n{at}")),
                incarnation: Incarnation(1),
                endpoints: vec![Endpoint::new(format!("mem://n{at}")).expect("an endpoint")],
            };
            (from..from + MANY).map(numbered).collect()
        }
        38 => {
            let endpoints = vec![endpoint(source); 17];
            vec![Member { node: node(source), incarnation: incarnation(source), endpoints }]
        }
        _ => source.list(4, member),
    }
}

/// What a peer needs to know of its link to say something that fits.
#[derive(Clone, Debug, Default)]
pub(super) struct Thread {
    /// The node's own nonce for the link, from its Hello.
    pub(super) their_nonce: Option<u64>,
    /// What the peer said in its Hello.
    pub(super) said: Option<(NodeId, u64)>,
    /// The version of the index that the peer last told.
    pub(super) version: u64,
    /// The last version of the interest that the peer told.
    pub(super) interest: u64,
    /// Parts said of a message that is not whole yet.
    pub(super) parts: u32,
    /// What the node asked on the link.
    pub(super) asked: Vec<u64>,
}

impl Thread {
    fn echo(&self, source: &mut Source<'_>) -> u64 {
        match self.their_nonce {
            Some(nonce) if !source.once_in(16) => nonce,
            _ => source.number(),
        }
    }

    fn request(&self, source: &mut Source<'_>) -> u64 {
        match self.asked.is_empty() || source.once_in(8) {
            true => source.number(),
            false => source.pick(&self.asked),
        }
    }

    fn part(&self, source: &mut Source<'_>) -> u32 {
        if source.once_in(12) { source.number() as u32 } else { self.parts }
    }

    /// The Hello of a peer; by default one that is welcome.
    pub(super) fn hello(&self, source: &mut Source<'_>, nonce: u64) -> Hello {
        let odd = source.once_in(12);
        let version = |source: &mut Source<'_>| if odd { source.below(3) as u8 } else { 1 };
        Hello {
            min_version: version(source),
            max_version: version(source),
            features: if odd { Features::from_bits(source.number()) } else { Features::SUPPORTED },
            bus: bus_id(if source.once_in(32) { "other" } else { BUS }),
            node: node(source),
            claim: claim(source),
            role: role(source),
            lasting: !odd,
            link_nonce: nonce,
            endpoints: source.list(if odd { 17 } else { 2 }, endpoint),
        }
    }

    pub(super) fn open(&self, source: &mut Source<'_>, others: &[u64]) -> Open {
        let held = match source.below(4) {
            0 if !others.is_empty() => Some(source.pick(others)),
            1 => Some(source.number()),
            _ => None,
        };
        let known = source.once_in(3).then(|| (incarnation(source), IndexVersion(source.number())));
        let span =
            |source: &mut Source<'_>| Span { from: incarnation(source), sum: source.number() };
        let census = source.list(3, span);
        Open { echo: self.echo(source), held, known, census }
    }

    fn reject(&self, source: &mut Source<'_>) -> Reject {
        let text = || "why\u{1b}[2J\nnot".into();
        let reason = match source.below(11) {
            0 => RejectReason::Duplicate,
            1 => RejectReason::WrongBus { bus: bus_id("other") },
            2 => RejectReason::NoCommonVersion { min: 2, max: 3 },
            3 => RejectReason::Clash { winner: source.once_in(2).then(|| endpoint(source)) },
            4 => RejectReason::Yourself,
            5 => RejectReason::Leaving,
            6 => RejectReason::BusFull { limit: source.number() as u32 },
            7 => RejectReason::GuestsFull { limit: 0 },
            8 => RejectReason::WrongIdentity { certified: text() },
            9 => RejectReason::Other { number: 200, words: text() },
            _ => RejectReason::Fault { fault: text() },
        };
        Reject { echo: self.echo(source), reason }
    }

    /// Any message; mostly one that fits what was said before.
    pub(super) fn message(&mut self, source: &mut Source<'_>, nonce: u64) -> Message {
        let last = !source.once_in(6);
        let message = match source.below(18) {
            0 => Message::Hello(self.hello(source, nonce)),
            1 => Message::Open(self.open(source, &[])),
            2 => Message::Reject(self.reject(source)),
            3 => {
                let request = source.once_in(2).then(|| self.request(source));
                Message::Members(Members { request, last, members: members(source) })
            }
            4 => Message::MembersRequest(MembersRequest { request: source.number() }),
            5 => self.snapshot(source, last),
            6 => self.delta(source, last),
            7 => Message::Request(Request { request: source.number(), keys: pattern(source) }),
            8 => Message::Answer(Answer {
                request: self.request(source),
                part: self.part(source),
                last,
                membership: source.number(),
                declarations: declarations(source),
            }),
            9 => self.interest(source, last),
            10 => Message::InterestRefused(InterestRefused {
                version: source.number(),
                why: "no".into(),
            }),
            11 => {
                let reason =
                    source.pick(&[LeaveReason::Asked, LeaveReason::Clash, LeaveReason::Other(9)]);
                Message::Leave(Leave { reason })
            }
            12 => Message::LeaveAck(LeaveAck {}),
            13 => {
                Message::Suspect(Suspect { node: node(source), incarnation: incarnation(source) })
            }
            14 => Message::Rival(Rival {
                claim: claim(source),
                endpoint: source.once_in(2).then(|| endpoint(source)),
            }),
            15 => Message::Stand(Stand {}),
            16 => Message::StatsRequest(StatsRequest { request: source.number() }),
            _ => {
                let counters = source.list(3, |source| ("c".into(), source.number()));
                Message::Stats(Stats { request: self.request(source), counters })
            }
        };
        self.parts = if last { 0 } else { self.parts.saturating_add(1) };
        message
    }

    fn snapshot(&mut self, source: &mut Source<'_>, last: bool) -> Message {
        let version = match source.below(4) {
            0 => source.number(),
            more => self.version.saturating_add(more as u64 - 1),
        };
        let part = self.part(source);
        if last {
            self.version = version;
        }
        let declarations = declarations(source);
        Message::Snapshot(Snapshot { version: IndexVersion(version), part, last, declarations })
    }

    fn delta(&mut self, source: &mut Source<'_>, last: bool) -> Message {
        let odd = source.once_in(8);
        let from = if odd { source.number() } else { self.version };
        let to = if odd { source.number() } else { from.saturating_add(1) };
        let part = self.part(source);
        if last {
            self.version = to;
        }
        Message::Delta(Delta {
            from: IndexVersion(from),
            to: IndexVersion(to),
            part,
            last,
            set: declarations(source),
            unset: source.list(3, key),
        })
    }

    fn interest(&mut self, source: &mut Source<'_>, last: bool) -> Message {
        let odd = source.once_in(12);
        let version = if odd { source.number() } else { self.interest.saturating_add(1) };
        let part = self.part(source);
        if last {
            self.interest = version;
        }
        let patterns = match source.once_in(40) {
            true => (0..1100)
                .map(|at| KeyExpr::new(format!("**/{at}")).expect("a key expression").into())
                .collect(),
            false => {
                source.list(4, |source| Pattern { keys: pattern(source), options: options(source) })
            }
        };
        Message::Interest(Interest { version, part, last, patterns })
    }
}
