//! The bytes of every kind of message, kept for ever.

use std::time::Duration;

use dse_core::protocol::numbers;
use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    Answer, BusId, Claim, Class, Declaration, Delta, Endpoint, Features, Hello, Incarnation,
    IndexVersion, Interest, InterestOptions, InterestRefused, Key, KeyExpr, Kind, Leave, LeaveAck,
    LeaveReason, Member, Members, MembersRequest, Message, NodeId, Open, Pattern, Reject,
    RejectReason, Request, Rival, Role, Snapshot, Span, Stand, Stats, StatsRequest, Suspect,
};

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a node id")
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text).expect("an endpoint")
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn expr(text: &str) -> KeyExpr {
    KeyExpr::new(text).expect("a key expression")
}

fn bus(name: &str) -> BusId {
    BusId::new(name).expect("a bus id")
}

fn hello() -> Hello {
    Hello {
        min_version: 1,
        max_version: 1,
        features: Features::HEADERS,
        bus: bus("plant"),
        node: node("web-1"),
        claim: Claim { returned: false, incarnation: Incarnation(300), nonce: 5 },
        role: Role::Member,
        lasting: true,
        link_nonce: 6,
        endpoints: vec![endpoint("mem://web-1")],
    }
}

fn declarations() -> Vec<Declaration> {
    let mut state = Declaration::new(key("a/b"), Kind::State, "text/plain");
    state.meta.push(("unit".into(), "C".into()));
    vec![
        state,
        Declaration::new(key("s"), Kind::Stream, ""),
        Declaration::new(key("t"), Kind::Other(200), ""),
    ]
}

fn patterns() -> Vec<Pattern> {
    let mut options = InterestOptions::default();
    options.never_wait = true;
    options.min_interval = Duration::from_millis(300);
    options.class = Some(Class::Bulk);
    vec![expr("**").into(), Pattern { keys: expr("a/*"), options }]
}

fn open(
    echo: u64,
    held: Option<u64>,
    known: Option<(u64, u64)>,
    census: Vec<(u64, u64)>,
) -> Message {
    let known =
        known.map(|(incarnation, version)| (Incarnation(incarnation), IndexVersion(version)));
    let span = |(from, sum)| Span { from: Incarnation(from), sum };
    let census = census.into_iter().map(span).collect();
    Message::Open(Open { echo, held, known, census })
}

fn reject(reason: RejectReason) -> Message {
    Message::Reject(Reject { echo: 9, reason })
}

fn members() -> Vec<Member> {
    let endpoints = vec![endpoint("mem://b"), endpoint("quic://[::1]:7447")];
    vec![Member { node: node("b"), incarnation: Incarnation(2), endpoints }]
}

/// Every kind of message and every reason of a reject, with its bytes on the wire. What
/// stands here is never changed, only added to: nodes of all releases share a bus.
pub(crate) fn golden() -> Vec<(Message, &'static str)> {
    vec![
        (
            Message::Hello(hello()),
            "01010001010105706c616e74057765622d3100ac0205000106010f0000000b6d656d3a2f2f7765622d31",
        ),
        (
            Message::Hello(Hello {
                claim: Claim {
                    returned: true,
                    incarnation: Incarnation(u64::MAX),
                    nonce: u64::MAX,
                },
                role: Role::Guest,
                lasting: false,
                features: Features::from_bits(0),
                endpoints: Vec::new(),
                ..hello()
            }),
            "01010001010005706c616e74057765622d3101ffffffffffffffffff01ffffffffffffffffff0101000600",
        ),
        (open(6, None, None, Vec::new()), "01020006000000"),
        (
            open(6, Some(7), Some((300, 4)), vec![(300, 1), (2, u64::MAX)]),
            "01020006010701ac02040203ac02010b02ffffffffffffffffff01",
        ),
        (reject(RejectReason::WrongBus { bus: bus("plant") }), "0103000908000005706c616e74"),
        (reject(RejectReason::NoCommonVersion { min: 1, max: 2 }), "010300090401000102"),
        (
            reject(RejectReason::Clash { winner: Some(endpoint("mem://x")) }),
            "010300090f0200010b000000076d656d3a2f2f78",
        ),
        (reject(RejectReason::Clash { winner: None }), "0103000903020000"),
        (reject(RejectReason::Yourself), "01030009020300"),
        (reject(RejectReason::Duplicate), "01030009020400"),
        (reject(RejectReason::Leaving), "01030009020500"),
        (reject(RejectReason::BusFull { limit: 4096 }), "010300090406008020"),
        (reject(RejectReason::GuestsFull { limit: 64 }), "0103000903070040"),
        (reject(RejectReason::WrongIdentity { certified: "web".into() }), "0103000906080003776562"),
        (reject(RejectReason::Fault { fault: "why".into() }), "0103000906090003776879"),
        (reject(RejectReason::Other { number: 200, words: "why".into() }), "0103000905c803776879"),
        (
            Message::Members(Members { request: None, last: true, members: members() }),
            "01040000010126016202020b000000076d656d3a2f2f621500000011717569633a2f2f5b3a3a315d3a37343437",
        ),
        (
            Message::Members(Members { request: Some(3), last: false, members: Vec::new() }),
            "01040001030000",
        ),
        (Message::MembersRequest(MembersRequest { request: 3 }), "01050003"),
        (
            Message::Snapshot(Snapshot {
                version: IndexVersion(4),
                part: 0,
                last: true,
                declarations: declarations(),
            }),
            "010600040001031903612f62010a746578742f706c61696e010704756e69740143050173000000050174c80000",
        ),
        (
            Message::Snapshot(Snapshot {
                version: IndexVersion(0),
                part: 1,
                last: false,
                declarations: Vec::new(),
            }),
            "01060000010000",
        ),
        (
            Message::Delta(Delta {
                from: IndexVersion(4),
                to: IndexVersion(5),
                part: 0,
                last: true,
                set: declarations(),
                unset: vec![key("x/y")],
            }),
            "01070004050001031903612f62010a746578742f706c61696e010704756e69740143050173000000050174c80000010403782f79",
        ),
        (Message::Request(Request { request: 3, keys: expr("a/*/**") }), "0108000306612f2a2f2a2a"),
        (
            Message::Answer(Answer {
                request: 3,
                part: 0,
                last: true,
                membership: 1 << 63,
                declarations: declarations(),
            }),
            "01090003000180808080808080808001031903612f62010a746578742f706c61696e010704756e69740143050173000000050174c80000",
        ),
        (
            Message::Interest(Interest { version: 1, part: 0, last: true, patterns: patterns() }),
            "010a000100010203022a2a0e03612f2a0101010202ac02030102",
        ),
        (
            Message::InterestRefused(InterestRefused { version: 1, why: "why".into() }),
            "010b000103776879",
        ),
        (Message::Leave(Leave { reason: LeaveReason::Asked }), "010c000100"),
        (Message::Leave(Leave { reason: LeaveReason::Clash }), "010c000101"),
        (Message::Leave(Leave { reason: LeaveReason::Other(200) }), "010c0001c8"),
        (Message::LeaveAck(LeaveAck {}), "010d00"),
        (Message::StatsRequest(StatsRequest { request: 8 }), "010e0008"),
        (
            Message::Stats(Stats { request: 8, counters: vec![("links".into(), 300)] }),
            "010f00080108056c696e6b73ac02",
        ),
        (
            Message::Suspect(Suspect { node: node("web-2"), incarnation: Incarnation(300) }),
            "011000057765622d32ac02",
        ),
        (
            Message::Rival(Rival {
                claim: Claim { returned: true, incarnation: Incarnation(300), nonce: 5 },
                endpoint: Some(endpoint("mem://x")),
            }),
            "01110001ac0205010b000000076d656d3a2f2f78",
        ),
        (Message::Stand(Stand {}), "011200"),
    ]
}

/// The bytes that a hexadecimal text stands for.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn every_message_has_its_bytes() {
    for (message, hex) in golden() {
        let encoded = wire::encode(&message);
        let encoded: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(encoded, hex, "{message:?}");
    }
}

#[test]
fn every_message_is_read_from_its_bytes() {
    for (message, hex) in golden() {
        assert_eq!(wire::decode(&bytes(hex)), Ok(Decoded::Known(message)));
    }
}

#[test]
fn every_kind_and_every_reason_is_here() {
    let mut kinds: Vec<u8> = golden().iter().map(|(message, _)| wire::kind(message)).collect();
    kinds.dedup();
    let known = |kind: &u8| {
        let decoded = wire::decode(&[wire::VERSION, *kind, 0]);
        !matches!(decoded, Ok(Decoded::Unknown { .. }))
    };
    assert_eq!(kinds, (0..=255).filter(known).collect::<Vec<u8>>());

    let reasons = golden().into_iter().filter_map(|(message, _)| match message {
        Message::Reject(reject) => Some(reject.reason.number()),
        _ => None,
    });
    let mut reasons: Vec<u8> = reasons.collect();
    reasons.dedup();
    assert_eq!(reasons, (0..=LAST_REASON).chain([200]).collect::<Vec<u8>>());
}

/// The last number of a reason that this version gives; the next one is reserved.
const LAST_REASON: u8 = numbers::reject::FAULT;
