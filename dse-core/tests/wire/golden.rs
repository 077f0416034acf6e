//! The bytes of every kind of message, kept for ever.

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    Answer, BusId, Claim, Declaration, Delta, Endpoint, Hello, Incarnation, IndexVersion, Interest,
    InterestRefused, Key, KeyExpr, Kind, Leave, LeaveAck, LeaveReason, Member, Members,
    MembersRequest, Message, NodeId, Open, Reject, RejectReason, Request, Rival, Role, Snapshot,
    Span, Stand, Stats, StatsRequest, Suspect,
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
        features: 0,
        bus: bus("plant"),
        node: node("web-1"),
        claim: Claim { returned: false, incarnation: Incarnation(300), nonce: 5 },
        role: Role::Member,
        link_nonce: 6,
        endpoints: vec![endpoint("mem://web-1")],
    }
}

fn declarations() -> Vec<Declaration> {
    let mut state = Declaration::new(key("a/b"), Kind::State, "text/plain");
    state.meta.push(("unit".into(), "C".into()));
    vec![state, Declaration::new(key("s"), Kind::Stream, "")]
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
            "0101002201010005706c616e74057765622d3100ac02050006010b6d656d3a2f2f7765622d31",
        ),
        (
            Message::Hello(Hello {
                claim: Claim {
                    returned: true,
                    incarnation: Incarnation(u64::MAX),
                    nonce: u64::MAX,
                },
                role: Role::Guest,
                endpoints: Vec::new(),
                ..hello()
            }),
            "0101002701010005706c616e74057765622d3101ffffffffffffffffff01ffffffffffffffffff01010600",
        ),
        (open(6, None, None, Vec::new()), "0102000406000000"),
        (
            open(6, Some(7), Some((300, 4)), vec![(300, 1), (2, u64::MAX)]),
            "0102001606010701ac020402ac020102ffffffffffffffffff01",
        ),
        (reject(RejectReason::WrongBus { bus: bus("plant") }), "01030008090005706c616e74"),
        (reject(RejectReason::NoCommonVersion { min: 1, max: 2 }), "0103000409010102"),
        (
            reject(RejectReason::Clash { winner: Some(endpoint("mem://x")) }),
            "0103000b090201076d656d3a2f2f78",
        ),
        (reject(RejectReason::Clash { winner: None }), "01030003090200"),
        (reject(RejectReason::Yourself), "010300020903"),
        (reject(RejectReason::Duplicate), "010300020904"),
        (reject(RejectReason::Leaving), "010300020905"),
        (reject(RejectReason::BusFull { limit: 4096 }), "0103000409068020"),
        (reject(RejectReason::GuestsFull { limit: 64 }), "01030003090740"),
        (reject(RejectReason::WrongIdentity { certified: "web".into() }), "01030006090803776562"),
        (reject(RejectReason::Fault { fault: "why".into() }), "01030006090903776879"),
        (
            Message::Members(Members { request: None, last: true, members: members() }),
            "0104002100010101620202076d656d3a2f2f6211717569633a2f2f5b3a3a315d3a37343437",
        ),
        (
            Message::Members(Members { request: Some(3), last: false, members: Vec::new() }),
            "0104000401030000",
        ),
        (Message::MembersRequest(MembersRequest { request: 3 }), "0105000103"),
        (
            Message::Snapshot(Snapshot {
                version: IndexVersion(4),
                part: 0,
                last: true,
                declarations: declarations(),
            }),
            "010600210400010203612f62010a746578742f706c61696e0104756e697401430173000000",
        ),
        (
            Message::Snapshot(Snapshot {
                version: IndexVersion(0),
                part: 1,
                last: false,
                declarations: Vec::new(),
            }),
            "0106000400010000",
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
            "01070027040500010203612f62010a746578742f706c61696e0104756e6974014301730000000103782f79",
        ),
        (
            Message::Request(Request { request: 3, keys: expr("a/*/**") }),
            "010800080306612f2a2f2a2a",
        ),
        (
            Message::Answer(Answer {
                request: 3,
                part: 0,
                last: true,
                membership: 1 << 63,
                declarations: declarations(),
            }),
            "0109002b030001808080808080808080010203612f62010a746578742f706c61696e0104756e697401430173000000",
        ),
        (
            Message::Interest(Interest {
                version: 1,
                part: 0,
                last: true,
                patterns: vec![expr("**"), expr("a/*")],
            }),
            "010a000b01000102022a2a03612f2a",
        ),
        (
            Message::InterestRefused(InterestRefused { version: 1, why: "why".into() }),
            "010b00050103776879",
        ),
        (Message::Leave(Leave { reason: LeaveReason::Asked }), "010c000100"),
        (Message::Leave(Leave { reason: LeaveReason::Clash }), "010c000101"),
        (Message::LeaveAck(LeaveAck {}), "010d0000"),
        (Message::StatsRequest(StatsRequest { request: 8 }), "010e000108"),
        (
            Message::Stats(Stats { request: 8, counters: vec![("links".into(), 300)] }),
            "010f000a0801056c696e6b73ac02",
        ),
        (
            Message::Suspect(Suspect { node: node("web-2"), incarnation: Incarnation(300) }),
            "01100008057765622d32ac02",
        ),
        (
            Message::Rival(Rival {
                claim: Claim { returned: true, incarnation: Incarnation(300), nonce: 5 },
                endpoint: Some(endpoint("mem://x")),
            }),
            "0111000d01ac020501076d656d3a2f2f78",
        ),
        (Message::Stand(Stand {}), "01120000"),
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
        let decoded = wire::decode(&[wire::VERSION, *kind, 0, 0]);
        !matches!(decoded, Ok(Decoded::Unknown { .. }))
    };
    assert_eq!(kinds, (0..=255).filter(known).collect::<Vec<u8>>());

    let reasons = golden().into_iter().filter_map(|(message, _)| match message {
        Message::Reject(reject) => Some(place(&reject.reason)),
        _ => None,
    });
    let mut reasons: Vec<u8> = reasons.collect();
    reasons.dedup();
    assert_eq!(reasons, (0..REASONS).collect::<Vec<u8>>());
}

/// How many reasons there are.
const REASONS: u8 = 10;

/// The number of a reason. Exhaustive, so that a new one is not forgotten above.
fn place(reason: &RejectReason) -> u8 {
    match reason {
        RejectReason::WrongBus { .. } => 0,
        RejectReason::NoCommonVersion { .. } => 1,
        RejectReason::Clash { .. } => 2,
        RejectReason::Yourself => 3,
        RejectReason::Duplicate => 4,
        RejectReason::Leaving => 5,
        RejectReason::BusFull { .. } => 6,
        RejectReason::GuestsFull { .. } => 7,
        RejectReason::WrongIdentity { .. } => 8,
        RejectReason::Fault { .. } => 9,
    }
}
