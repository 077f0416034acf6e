//! A node of a later version shares a bus with one of this version (law L11). What it says
//! is made here by hand, from numbers that no table of the code has. The link stays, what is
//! not known is skipped and counted, and the rest does what it says.

use std::time::Duration;

use dse_core::protocol::wire::VERSION;
use dse_core::protocol::{Counters, Event, Features, Kind, LeaveReason, LinkId, Message, Role};

use dse_sim::world::{World, id};

/// Two tags that nobody has: one with three bytes, one with none.
const TAGS: [u8; 8] = [101, 3, 7, 7, 7, 0xac, 0x02, 0];
const SOON: Duration = Duration::from_millis(20);

// Kinds of messages, as PROTOCOL.md has them.
const HELLO: u8 = 1;
const OPEN: u8 = 2;
const REJECT: u8 = 3;
const MEMBERS: u8 = 4;
const SNAPSHOT: u8 = 6;
const DELTA: u8 = 7;
const REQUEST: u8 = 8;
const ANSWER: u8 = 9;
const INTEREST: u8 = 10;
const LEAVE: u8 = 12;
const STATS: u8 = 15;
/// One that no version has yet.
const LATER: u8 = 213;

fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// An item with tags of a later version behind its fields.
fn item(fields: &[&[u8]]) -> Vec<u8> {
    let fields = fields.concat();
    let len = (fields.len() + TAGS.len()) as u8;
    assert!(len < 0x80, "a length of one byte");
    [&[len], &fields[..], &TAGS].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [&[items.len() as u8], &*items.concat()].concat()
}

fn declaration(key: &str, kind: u8) -> Vec<u8> {
    let meta = list(&[item(&[&text("unit"), &text("C")])]);
    item(&[&text(key), &[kind], &text("text/plain"), &meta])
}

fn endpoint(scope: u8, name: &str) -> Vec<u8> {
    // A host, which this version does not ask for.
    item(&[&[scope, 0xac, 0x02, 0], &text(&format!("mem://{name}"))])
}

/// A message of a later version: bits of flags, and tags behind the body.
fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    [&[VERSION, kind, 0b100], &*body.concat(), &TAGS].concat()
}

/// The Hello of `z` on its only link, with the nonce 5.
fn hello(role: u8) -> Vec<u8> {
    // Bits 0, 1, 2 and 13 of features; two versions.
    let before = [VERSION, VERSION + 1, 0x87, 0x40];
    let claim = [0, 1, 7];
    let endpoints = list(&[endpoint(0, "z"), endpoint(99, "z")]);
    let fields = [&before[..], &text("plant"), &text("z"), &claim, &[role, 1, 5], &endpoints];
    message(HELLO, &fields)
}

/// A number as it is on the wire.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// `z`, of a later version, on an open link with `a`, which serves `a/a`.
struct Later {
    world: World,
    link: LinkId,
    echo: Vec<u8>,
}

impl Later {
    fn dial(role: u8) -> Self {
        let mut world = World::new(50);
        world.start("a");
        world.declare("a", "a/a");
        world.start_stranger("z");
        let link = world.dial("z", "a");
        // Unknown messages may come before any other.
        world.say_bytes(link, &message(LATER, &[]));
        world.say_bytes(link, &hello(role));
        let echo = varint(world.hello_from("z", link).link_nonce);
        world.run_for(SOON);
        Self { world, link, echo }
    }

    fn open(role: u8) -> Self {
        let mut later = Self::dial(role);
        let census = list(&[item(&[&[1], &[0]])]);
        let open = [&later.echo[..], &[0, 0], &census].concat();
        later.say(OPEN, &[&open]);
        let open = later.world.open_links("a").len();
        assert_eq!(open, 1, "{:?}", later.world.node("a").events);
        later
    }

    fn say(&mut self, kind: u8, body: &[&[u8]]) {
        self.say_bytes(&message(kind, body));
    }

    fn say_bytes(&mut self, bytes: &[u8]) {
        self.world.say_bytes(self.link, bytes);
        self.world.run_for(SOON);
    }

    fn counters(&self) -> Counters {
        self.world.node("a").counters()
    }

    /// The link stands and nobody was accused.
    #[track_caller]
    fn goes_on(&self) {
        assert!(self.world.stands(self.link));
        assert_eq!(self.counters().faults, 0);
    }

    /// How much more of everything is skipped by what `then` does.
    fn skipped(&mut self, then: impl FnOnce(&mut Self)) -> [u64; 8] {
        let before = levels(&self.counters());
        then(self);
        let after = levels(&self.counters());
        std::array::from_fn(|at| after[at] - before[at])
    }
}

/// Messages, flags, tags, kinds, reasons, roles, features, scopes.
fn levels(counters: &Counters) -> [u64; 8] {
    let skipped = counters.skipped;
    [
        counters.unknown_messages,
        skipped.flags,
        skipped.tags,
        skipped.kinds,
        skipped.reasons,
        skipped.roles,
        skipped.features,
        skipped.scopes,
    ]
}

#[test]
fn a_handshake_with_a_later_version_negotiates_what_both_know() {
    let later = Later::open(0);
    later.goes_on();
    let peers = later.world.node("a").peers();
    let info = &peers[0].info;
    assert_eq!((info.node.as_str(), info.role, info.lasting), ("z", Role::Member, true));
    assert_eq!(info.features, Features::SUPPORTED, "bits 0 and 1");
    assert_eq!(info.endpoints.len(), 1, "one endpoint is of an unknown scope");
    // Hello: two tags, and two of its endpoint. Open: two tags, and two of its span.
    assert_eq!(levels(&later.counters()), [1, 3, 2 + 2 + 2 + 2, 0, 0, 0, 2, 1]);
}

#[test]
fn messages_of_unknown_kinds_end_no_link_also_if_they_must_be_understood() {
    let mut later = Later::open(0);
    let before = later.counters().unknown_messages;
    for (number, kind) in [19, 20, 21, 22, 23, LATER, 255].into_iter().enumerate() {
        later.say_bytes(&[VERSION, kind, 0, 1, 2, 3]);
        later.say_bytes(&[VERSION, kind, 1]);
        later.goes_on();
        let counters = later.counters();
        assert_eq!(counters.unknown_messages - before, 2 * number as u64 + 2);
        assert_eq!(counters.unknown_required_messages, number as u64 + 1);
    }
}

#[test]
fn an_index_with_unknown_kinds_is_known_and_shown() {
    let mut later = Later::open(0);
    let skipped = later.skipped(|later| {
        let declarations = list(&[declaration("z/new", 77), declaration("z/old", 1)]);
        later.say(SNAPSHOT, &[&[1, 0, 1], &declarations]);
    });
    // Of the message, of two declarations, and of the metadata of each.
    assert_eq!(skipped, [0, 1, 2 + 4 + 4, 1, 0, 0, 0, 0]);
    let found = later.world.node("a").lookup("z/**");
    let kinds: Vec<Kind> = found.iter().map(|found| found.declaration.kind).collect();
    assert_eq!(kinds, [Kind::Other(77), Kind::State]);
    assert_eq!(found[0].declaration.meta, [("unit".into(), "C".into())]);
    let skipped = later.skipped(|later| {
        let set = list(&[declaration("z/old", 78)]);
        later.say(DELTA, &[&[1, 2, 0, 1], &set, &list(&[item(&[&text("z/new")])])]);
    });
    assert_eq!(skipped, [0, 1, 2 + 4 + 2, 1, 0, 0, 0, 0]);
    let found = later.world.node("a").lookup("z/**");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].declaration.kind, Kind::Other(78));
    assert_eq!(found[0].declaration.kind.to_string(), "other-78");
    later.goes_on();
}

#[test]
fn an_interest_with_unknown_tags_makes_routes() {
    let mut later = Later::open(0);
    let skipped = later.skipped(|later| {
        // It never waits, and has a filter and a group.
        let known = [1, 1, 1];
        let reserved = [4, 1, 0, 5, 1, 0];
        let pattern = item(&[&text("a/*"), &known, &reserved]);
        later.say(INTEREST, &[&[1, 0, 1], &list(&[pattern])]);
    });
    assert_eq!(skipped, [0, 1, 2 + 2 + 2, 0, 0, 0, 0, 0]);
    let routes = later.world.routes("a", "z");
    assert_eq!(routes.len(), 1);
    assert!(routes[0].1.never_wait);
    later.goes_on();
}

#[test]
fn queries_and_answers_with_unknown_tags_are_answered_and_taken() {
    let mut later = Later::open(0);
    later.say(REQUEST, &[&[9], &text("a/*")]);
    let heard = later.world.heard("z", later.link);
    let answered = |message: &Message| matches!(message, Message::Answer(answer) if answer.request == 9 && answer.declarations.len() == 1);
    assert!(heard.iter().any(answered), "{heard:?}");
    let ticket = later.world.request("a", "z/*");
    later.world.run_for(SOON);
    let heard = later.world.heard("z", later.link);
    let request = heard.iter().find_map(|message| match message {
        Message::Request(request) => Some(varint(request.request)),
        _ => None,
    });
    let request = request.expect("a request");
    let skipped = later.skipped(|later| {
        let declarations = list(&[declaration("z/new", 77)]);
        later.say(ANSWER, &[&request, &[0, 1, 0], &declarations]);
    });
    assert_eq!(skipped, [0, 1, 2 + 4, 1, 0, 0, 0, 0]);
    later.say(MEMBERS, &[&[1], &request, &[1], &list(&[])]);
    let report = later.world.node("a").report(ticket).expect("it is answered").clone();
    assert_eq!(report.answered, 1);
    assert_eq!(report.matches[0].declaration.kind, Kind::Other(77));
    later.goes_on();
}

#[test]
fn members_and_counters_with_unknown_tags_are_taken() {
    let mut later = Later::open(0);
    later.world.start("b");
    let skipped = later.skipped(|later| {
        let endpoints = list(&[endpoint(99, "nowhere"), endpoint(0, "b")]);
        let member = item(&[&text("b"), &[1], &endpoints]);
        later.say(MEMBERS, &[&[0, 1], &list(&[member])]);
    });
    assert_eq!(skipped, [0, 1, 2 + 2 + 2, 0, 0, 0, 0, 1]);
    later.world.run_for(SOON);
    assert!(later.world.node("a").link_to(&id("b")).is_some(), "b is dialled");
    let skipped = later.skipped(|later| {
        later.say(STATS, &[&[8], &list(&[item(&[&text("new"), &[3]])])]);
    });
    assert_eq!(skipped, [0, 1, 2 + 2, 0, 0, 0, 0, 0]);
    later.goes_on();
}

#[test]
fn a_leave_for_an_unknown_reason_is_a_leave() {
    let mut later = Later::open(0);
    let skipped = later.skipped(|later| later.say(LEAVE, &[&item(&[&[77]])]));
    assert_eq!(skipped, [0, 1, 2, 0, 1, 0, 0, 0]);
    let reason = LeaveReason::Other(77);
    let left =
        |event: &Event| matches!(event, Event::NodeLeft { reason: why, .. } if *why == reason);
    assert_eq!(later.world.node("a").count(left), 1);
    let heard = later.world.heard("z", later.link);
    assert!(heard.iter().any(|message| matches!(message, Message::LeaveAck(_))));
    assert_eq!(later.counters().faults, 0);
}

/// The body of a Reject for a reason that nobody has, with fields that look like no tag.
fn reason() -> Vec<u8> {
    let fields = [&[77][..], &text("the tide is out"), &[0xff; 6]].concat();
    [&[fields.len() as u8], &*fields].concat()
}

#[test]
fn a_reject_for_an_unknown_reason_closes_the_link_and_nothing_else() {
    for opens in [false, true] {
        let mut later = if opens { Later::open(0) } else { Later::dial(0) };
        let echo = later.echo.clone();
        let skipped = later.skipped(|later| later.say(REJECT, &[&echo, &reason()]));
        assert_eq!(skipped, [0, 1, 2, 0, 1, 0, 0, 0]);
        assert!(!later.world.stands(later.link));
        assert_eq!(later.counters().faults, 0);
        assert!(later.world.runs("a"));
        let told = "the tide is out";
        let down =
            |event: &Event| matches!(event, Event::NodeDown { error, .. } if error.contains(told));
        assert_eq!(later.world.node("a").count(down), usize::from(opens));
    }
}

#[test]
fn who_is_refused_for_an_unknown_reason_is_told_the_words_and_dials_again() {
    let mut world = World::new(51);
    world.start("a");
    world.start_stranger("z");
    world.join("a", "z");
    for _ in 0..2 {
        while world.fresh_links("z").is_empty() {
            world.run_for(SOON);
        }
        let link = world.fresh_links("z")[0];
        let echo = varint(world.hello_from("z", link).link_nonce);
        world.say_bytes(link, &message(REJECT, &[&echo, &reason()]));
        world.run_for(SOON);
    }
    let told = |event: &Event| match event {
        Event::DialFailed { error, .. } => error.to_string().contains("the tide is out"),
        _ => false,
    };
    assert!(world.node("a").count(told) >= 1);
    assert_eq!(world.node("a").counters().skipped.reasons, 2);
}

#[test]
fn a_peer_of_an_unknown_role_counts_as_a_guest() {
    let mut later = Later::open(9);
    assert_eq!(later.counters().skipped.roles, 1);
    assert_eq!(later.world.node("a").peers()[0].info.role, Role::Guest);
    later.say(REQUEST, &[&[9], &text("a/*")]);
    let heard = later.world.heard("z", later.link);
    assert!(heard.iter().any(|message| matches!(message, Message::Answer(_))));
    later.goes_on();
}

#[test]
fn features_of_one_side_alone_are_not_negotiated() {
    let mut world = World::new(52);
    world.start_with("a", |config| config.features = Features::none());
    world.start("b");
    world.join("b", "a");
    world.run_until_quiet();
    for name in ["a", "b"] {
        assert_eq!(world.node(name).peers()[0].info.features, Features::none());
    }
    world.start("c");
    world.join("c", "b");
    world.run_until_quiet();
    let of_c = world.node("b").peers().into_iter().find(|peer| peer.info.node == id("c"));
    assert_eq!(of_c.map(|peer| peer.info.features), Some(Features::SUPPORTED));
}

#[test]
fn this_version_says_nothing_that_it_does_not_know_itself() {
    let mut world = World::new(53);
    world.start_serving(&["a", "b", "c"]);
    world.start_guest("g", "a");
    world.subscribe("a", "**");
    world.ask("g", "**");
    world.leave("c");
    world.run_until_quiet();
    for name in ["a", "b"] {
        let counters = world.node(name).counters();
        assert_eq!((counters.unknown_messages, counters.skipped.total()), (0, 0));
    }
}
