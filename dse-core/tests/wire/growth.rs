//! What a later version may add, byte by byte: it is skipped and counted, and the rest is
//! read (law L11). The bytes are made here by hand, from numbers that no table has.

use std::time::Duration;

use dse_core::protocol::numbers::{message, reject, tag};
use dse_core::protocol::wire::{self, Decoded, Skipped, VERSION};
use dse_core::protocol::{
    Class, Declaration, Endpoint, Features, Hello, InterestOptions, Kind, Leave, LeaveReason,
    Message, Pattern, Reject, RejectReason, Role,
};

use crate::golden::{bytes, golden};

/// Two tags that nobody has: one with three bytes, one with none.
const TAGS: [u8; 8] = [101, 3, 7, 7, 7, 0xac, 0x02, 0];

/// What is read of a message, and what is skipped in it.
fn read(kind: u8, flags: u8, body: &[u8]) -> (Message, Skipped) {
    let bytes = [&[VERSION, kind, flags], body].concat();
    match wire::decode_counting(&bytes) {
        Ok((Decoded::Known(message), skipped)) => (message, skipped),
        other => panic!("{bytes:02x?}: {other:?}"),
    }
}

fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// An item: its length, its fields, and tags behind them.
fn item(fields: &[u8], tags: &[u8]) -> Vec<u8> {
    let len = (fields.len() + tags.len()) as u8;
    assert!(len < 0x80, "a length of one byte");
    [&[len], fields, tags].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [&[items.len() as u8], &*items.concat()].concat()
}

#[test]
fn messages_of_unknown_kinds_are_told_apart_whatever_they_hold() {
    let known = golden().into_iter().map(|(message, _)| wire::kind(&message));
    let known: Vec<u8> = known.collect();
    for kind in (0..=255).filter(|kind| !known.contains(kind)) {
        for (flags, must_understand) in [(0, false), (1, true), (0xfe, false), (0xff, true)] {
            let message = [VERSION, kind, flags, 1, 2, 3];
            let unknown = Decoded::Unknown { kind, must_understand };
            assert_eq!(wire::decode(&message), Ok(unknown), "{message:02x?}");
        }
    }
    for reserved in message::INVITE..=message::CERTIFICATE {
        assert!(!known.contains(&reserved));
    }
}

#[test]
fn unknown_flags_are_counted() {
    for (message, hex) in golden() {
        let bytes = bytes(hex);
        for (flags, unknown) in [(0, 0), (1, 0), (2, 1), (0x41, 1), (0xff, 7)] {
            let (read, skipped) = read(bytes[1], flags, &bytes[3..]);
            assert_eq!((read, skipped.flags), (message.clone(), unknown));
        }
    }
}

#[test]
fn tags_behind_the_fields_of_every_message_are_counted() {
    for (message, hex) in golden() {
        let bytes = [bytes(hex), TAGS.to_vec()].concat();
        let (read, skipped) = read(bytes[1], 0, &bytes[3..]);
        assert_eq!((read, skipped.tags), (message, 2));
    }
}

#[test]
fn tags_of_items_are_counted_in_every_list() {
    let endpoint = item(&[&[0, 0, 0][..], &text("mem://b")].concat(), &TAGS);
    let member = item(&[&text("b")[..], &[2], &list(&[endpoint])].concat(), &TAGS);
    let (members, skipped) = read(message::MEMBERS, 0, &[&[0, 1][..], &list(&[member])].concat());
    let Message::Members(members) = members else { panic!("{members:?}") };
    assert_eq!((members.members[0].node.as_str(), skipped.tags), ("b", 4));
    assert_eq!(members.members[0].endpoints, [Endpoint::new("mem://b").expect("an endpoint")]);

    let meta = item(&[text("unit"), text("C")].concat(), &TAGS);
    let schema = [&[tag::DECLARATION_SCHEMA as u8, 8][..], &[9; 8]].concat();
    let fields = [&text("a/b")[..], &[1], &text("text/plain"), &list(&[meta])].concat();
    let set = list(&[item(&fields, &schema), item(&fields, &TAGS)]);
    let unset = list(&[item(&text("x/y"), &TAGS)]);
    let (delta, skipped) = read(message::DELTA, 0, &[&[4, 5, 0, 1][..], &set, &unset].concat());
    let Message::Delta(delta) = delta else { panic!("{delta:?}") };
    let mut expected = Declaration::new("a/b".parse().expect("a key"), Kind::State, "text/plain");
    expected.meta.push(("unit".into(), "C".into()));
    assert_eq!((&delta.set[..], skipped.tags), (&[expected.clone(), expected][..], 9));
    assert_eq!(delta.unset, ["x/y".parse().expect("a key")]);

    let census = list(&[item(&[5, 1], &TAGS), item(&[3, 1], &[])]);
    let (open, skipped) = read(message::OPEN, 0, &[&[6, 0, 0][..], &census].concat());
    let Message::Open(open) = open else { panic!("{open:?}") };
    assert_eq!((open.census.len(), skipped.tags), (2, 2));

    let counters = list(&[item(&[&text("links")[..], &[3]].concat(), &TAGS)]);
    let (stats, skipped) = read(message::STATS, 0, &[&[8][..], &counters].concat());
    let Message::Stats(stats) = stats else { panic!("{stats:?}") };
    assert_eq!((stats.counters, skipped.tags), (vec![("links".into(), 3)], 2));
}

#[test]
fn what_is_asked_of_routes_is_read_among_tags_that_are_not_known() {
    let keys = "a/*".parse().expect("a key expression");
    let filter = [tag::PATTERN_FILTER as u8, 2, 1, 1];
    let group = [tag::PATTERN_GROUP as u8, 2, 1, b'g'];
    let tags = [
        &TAGS[..],
        &[tag::PATTERN_NEVER_WAIT as u8, 1, 1],
        &filter,
        // Two bytes of value and one that a later version added.
        &[tag::PATTERN_MIN_INTERVAL as u8, 3, 0xac, 0x02, 9],
        &[tag::PATTERN_CLASS as u8, 1, 2],
        &group,
    ];
    let patterns = list(&[item(&text("a/*"), &tags.concat())]);
    let (interest, skipped) = read(message::INTEREST, 0, &[&[1, 0, 1][..], &patterns].concat());
    let Message::Interest(interest) = interest else { panic!("{interest:?}") };
    let mut options = InterestOptions::default();
    options.never_wait = true;
    options.min_interval = Duration::from_millis(300);
    options.class = Some(Class::Bulk);
    assert_eq!(interest.patterns, [Pattern { keys, options }]);
    assert_eq!((skipped.tags, skipped.total()), (5, 5));
}

#[test]
fn a_class_without_a_meaning_counts_as_normal() {
    let patterns = list(&[item(&text("a"), &[tag::PATTERN_CLASS as u8, 1, 77])]);
    let (interest, skipped) = read(message::INTEREST, 0, &[&[1, 0, 1][..], &patterns].concat());
    let Message::Interest(interest) = interest else { panic!("{interest:?}") };
    assert_eq!(interest.patterns[0].options.class, Some(Class::Normal));
    assert_eq!((skipped.classes, skipped.total()), (1, 1));
}

#[test]
fn a_kind_without_a_meaning_is_kept() {
    for number in 4..=255 {
        let fields = [&text("k")[..], &[number], &text(""), &[0]].concat();
        let body = [&[1, 0, 1][..], &list(&[item(&fields, &[])])].concat();
        let (snapshot, skipped) = read(message::SNAPSHOT, 0, &body);
        let Message::Snapshot(snapshot) = snapshot else { panic!("{snapshot:?}") };
        let kind = snapshot.declarations[0].kind;
        assert_eq!((kind, kind.number()), (Kind::Other(number), number));
        assert_eq!((skipped.kinds, skipped.total()), (1, 1));
    }
    for kind in [Kind::Stream, Kind::State, Kind::Table, Kind::Service] {
        assert_eq!(Kind::from_number(kind.number()), kind);
    }
}

#[test]
fn reasons_without_a_meaning_are_kept_with_their_words_and_their_fields_skipped() {
    for number in reject::CONFLICT..=255 {
        // Fields that look like no tag.
        let fields = [&[number][..], &text("why"), &[0xff; 9]].concat();
        let body = [&[9][..], &item(&fields, &[])].concat();
        let (message, skipped) = read(message::REJECT, 0, &body);
        let reason = RejectReason::Other { number, words: "why".into() };
        assert!(reason.to_string().contains(&format!("reason {number}")));
        assert!(reason.to_string().ends_with("why"));
        assert_eq!(message, Message::Reject(Reject { echo: 9, reason }));
        assert_eq!((skipped.reasons, skipped.total()), (1, 1));
    }
    for number in 2..=255 {
        let (message, skipped) = read(message::LEAVE, 0, &item(&[number, 0xff, 0xff], &[]));
        assert_eq!(message, Message::Leave(Leave { reason: LeaveReason::Other(number) }));
        assert_eq!((skipped.reasons, skipped.total()), (1, 1));
    }
}

#[test]
fn known_reasons_may_carry_words_and_tags() {
    let fields = [&[reject::BUS_FULL][..], &text("full"), &[7]].concat();
    let (message, skipped) =
        read(message::REJECT, 0, &[&[9][..], &item(&fields, &TAGS), &TAGS].concat());
    let reason = RejectReason::BusFull { limit: 7 };
    assert_eq!(message, Message::Reject(Reject { echo: 9, reason }));
    assert_eq!(skipped.tags, 4);
}

/// A Hello of a later version.
fn hello(features: &[u8], role: u8, endpoints: &[Vec<u8>]) -> (Hello, Skipped) {
    let before = [&[1, 9][..], features, &text("plant"), &text("z"), &[0, 1, 7, role, 1, 5]];
    let body = [before.concat(), list(endpoints), TAGS.to_vec()].concat();
    let (message, skipped) = read(message::HELLO, 0, &body);
    let Message::Hello(hello) = message else { panic!("{message:?}") };
    (hello, skipped)
}

#[test]
fn features_without_a_meaning_are_counted_and_never_negotiated() {
    // Bits 0, 1, 2 and 40.
    let bits: u64 = 0b111 | 1 << 40;
    let leb: Vec<u8> = (0..6).map(|at| (bits >> (7 * at)) as u8 & 0x7f | 0x80).collect();
    let leb = [&leb[..5], &[leb[5] & 0x7f]].concat();
    let (hello, skipped) = hello(&leb, 0, &[]);
    assert_eq!((hello.features.bits(), skipped.features, skipped.tags), (bits, 2, 2));
    assert_eq!(hello.features & Features::SUPPORTED, Features::SUPPORTED);
}

#[test]
fn a_role_without_a_meaning_counts_as_guest() {
    for role in 2..=255 {
        let (hello, skipped) = hello(&[0], role, &[]);
        assert_eq!((hello.role, skipped.roles), (Role::Guest, 1));
    }
}

#[test]
fn endpoints_are_left_out_that_are_of_an_unknown_scope_or_were_only_observed() {
    let endpoint = |before: &[u8], address: &str| item(&[before, &text(address)].concat(), &[]);
    let endpoints = [
        endpoint(&[0, 0, 0], "mem://anywhere"),
        endpoint(&[1, 0xac, 0x02, 0], "mem://host"),
        endpoint(&[2, 0, 0], "mem://link"),
        endpoint(&[0, 0, 1], "mem://observed"),
        item(&[3, 0xff, 0xff], &[]),
        item(&[200], &[]),
    ];
    let (hello, skipped) = hello(&[0], 0, &endpoints);
    let kept: Vec<&str> = hello.endpoints.iter().map(Endpoint::as_str).collect();
    assert_eq!(kept, ["mem://anywhere", "mem://host", "mem://link"]);
    assert_eq!((skipped.scopes, skipped.tags, skipped.total()), (2, 2, 4));
}

#[test]
fn an_interval_is_never_shortened_on_the_wire() {
    let mut options = InterestOptions::default();
    options.min_interval = Duration::from_micros(1);
    let pattern = Pattern { keys: "a".parse().expect("a key expression"), options };
    let interest =
        dse_core::protocol::Interest { version: 1, part: 0, last: true, patterns: vec![pattern] };
    let bytes = wire::encode(&Message::Interest(interest));
    let Ok(Decoded::Known(Message::Interest(read))) = wire::decode(&bytes) else {
        panic!("{bytes:02x?}");
    };
    assert_eq!(read.patterns[0].options.min_interval, Duration::from_millis(1));
}
