//! Behaviours of a node beside one of a later version (law L11): what it does not know it skips
//! and counts, on both lanes, and the link goes on.

use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use super::later::{
    Additions, Frame, Later, NUMBER, ROLE, Taken, Today, WITH_PAYLOAD, WITHOUT_PAYLOAD, counted,
    list, text, varint,
};
use super::trial::{SOON, within};
use crate::data::{Credit, EndReason, Headers, SkipReason, tag};
use crate::node::{Delivery, Sample, Subscriber};
use crate::protocol::numbers::{kind, message, role, tag as control_tag};
use crate::protocol::{Kind, Message, Role};

/// Handshake, index, interest, queries, counters and good-byes with additions at every level.
pub async fn messages_of_a_later_version_are_skipped_and_counted<H: Harness>(harness: &H) {
    let today = Today::start(harness).await;
    let node = &today.node;
    let _publisher = node.publisher("today/log").expect("a key").declare().await.expect("declared");
    let mut subscriber = node.subscribe("later/**").expect("keys").open().await.expect("open");
    let mut later = today.link("later", role::MEMBER).await;
    let stats = later.stats().await;
    later.check(Additions::default(), &stats);
    let peers = node.nodes().await.expect("it runs");
    let endpoints: Vec<&str> = peers[0].endpoints.iter().map(|it| it.as_str()).collect();
    assert_eq!((peers[0].role, &endpoints[..]), (Role::Member, &["pigeon://loft"][..]));

    index(&mut later).await;
    let found = node.lookup("later/**").await.expect("it runs");
    let kinds: Vec<Kind> = found.iter().map(|it| it.declaration.kind).collect();
    assert_eq!(kinds, [Kind::Stream, Kind::Other(NUMBER), Kind::Table]);
    assert_eq!(found[1].declaration.meta, [("unit".into(), "C".into())]);

    // This version asks.
    let asking = node.request("later/new", SOON);
    let (report, ()) = tokio::join!(asking, answer(&mut later));
    let report = report.expect("it runs");
    assert_eq!((report.answered, report.matches.len()), (1, 1), "{report:?}");
    let id = &peers[0].node;
    let asking = node.stats_of(id, SOON);
    let (counters, ()) = tokio::join!(asking, tell_counters(&mut later));
    assert_eq!(counters.expect("it answers"), [("new".into(), 3)]);

    // And answers.
    later.say(message::REQUEST, &[&[9], &text("today/*")]);
    let heard = later.hear(|it| matches!(it, Message::Answer(it) if it.request == 9)).await;
    let Message::Answer(answer) = heard else { unreachable!("an answer was heard") };
    assert_eq!(answer.declarations.len(), 1);
    let stats = later.stats().await;
    later.check(Additions::default(), &stats);

    let reason = [later.added.number(), 1, 2, 3];
    later.say(message::LEAVE, &[&counted(&reason)]);
    later.hear(|it| matches!(it, Message::LeaveAck(_))).await;
    assert!(subscriber.try_recv().is_none(), "nothing was published");
    let before = later.added;
    drop(later);
    guest(&today, before).await;
}

async fn index(later: &mut Later) {
    let unknown = later.added.number();
    let declarations = [
        later.added.declaration("later/a", kind::STREAM),
        later.added.declaration("later/gone", kind::STATE),
        later.added.declaration("later/new", unknown),
    ];
    later.say(message::SNAPSHOT, &[&[1, 0, 1], &list(&declarations)]);
    let set = list(&[later.added.declaration("later/table", kind::TABLE)]);
    let unset = list(&[later.added.item(&[&text("later/gone")])]);
    later.hear_interest("later/**").await;
    later.say(message::DELTA, &[&[1, 2, 0, 1], &set, &unset]);
    let stats = later.stats().await;
    later.check(Additions::default(), &stats);
}

async fn answer(later: &mut Later) {
    let heard = later.hear(|it| matches!(it, Message::Request(_))).await;
    let Message::Request(request) = heard else { unreachable!("a request was heard") };
    let request = varint(request.request);
    let unknown = later.added.number();
    let declarations = list(&[later.added.declaration("later/new", unknown)]);
    later.say(message::ANSWER, &[&request, &[0, 1, 0], &declarations]);
    later.say(message::MEMBERS, &[&[1], &request, &[1], &list(&[])]);
}

async fn tell_counters(later: &mut Later) {
    let heard = later.hear(|it| matches!(it, Message::StatsRequest(_))).await;
    let Message::StatsRequest(asked) = heard else { unreachable!("it was heard") };
    let counters = list(&[later.added.item(&[&text("new"), &[3]])]);
    later.say(message::STATS, &[&varint(asked.request), &counters]);
}

/// A peer of a role that is not known is served as a guest; it ends the link for a reason that
/// is not known.
async fn guest(today: &Today, before: Additions) {
    let gone = async {
        while today.node.stats().await.expect("it runs").links > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(SOON, "who left is gone", gone).await;
    let mut guest = today.link("passer-by", ROLE).await;
    guest.added.fields += 1;
    guest.say(message::REQUEST, &[&[9], &text("today/*")]);
    guest.hear(|it| matches!(it, Message::Answer(it) if it.request == 9)).await;
    let stats = guest.stats().await;
    guest.check(before, &stats);
    let nodes = today.node.nodes().await.expect("it runs");
    assert!(nodes.iter().any(|it| it.role == Role::Guest && it.link.is_some()), "{nodes:?}");
    let number = guest.added.number();
    let reason = [&[number][..], &text("the tide is out"), &[0xff; 6]].concat();
    guest.say(message::REJECT, &[&varint(guest.nonce), &counted(&reason)]);
    let gone = async {
        loop {
            let stats = today.node.stats().await.expect("it runs");
            if stats.links == 0 {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let stats = within(SOON, "who rejects is gone", gone).await;
    assert_eq!((stats.unknown_fields, stats.faults), (before.fields + guest.added.fields, 0));
}

/// Good samples arrive with their headers and in order among records, fields and numbers that
/// are not known. What must be understood and is not ends its sequence alone.
pub async fn samples_of_a_later_version_arrive_and_the_rest_is_counted<H: Harness>(harness: &H) {
    let today = Today::start(harness).await;
    let open = |keys| today.node.subscribe(keys).expect("keys").open();
    let mut good = open("later/good").await.expect("open");
    let mut bad = open("later/bad").await.expect("open");
    let mut new = open("later/new").await.expect("open");
    let mut state = open("later/state").await.expect("open");
    let mut later = today.link("later", role::MEMBER).await;
    let unknown = later.added.number();
    let declarations = [
        later.added.declaration("later/bad", kind::STREAM),
        later.added.declaration("later/good", kind::STREAM),
        later.added.declaration("later/new", unknown),
        later.added.declaration("later/state", kind::STATE),
    ];
    later.say(message::SNAPSHOT, &[&[1, 0, 1], &list(&declarations)]);
    later.hear_interest("later/state").await;

    let long: Bytes = (0..40_000_u32).map(|n| (n % 251) as u8).collect();
    // Payloads go in parts first, then in one.
    for round in 0..2 {
        let first = 1 + 5 * round;
        let long = long.clone();
        later.send(|f| good_samples(f, first, &long)).await;
        for seq in [first, first + 1, first + 2] {
            next_sample(&mut good, seq, format!("good {seq}").as_bytes()).await;
        }
        next_sample(&mut good, first + 3, &long).await;
        let gap = next(&mut good).await;
        let Delivery::Gap { from_seq, to_seq, reason, .. } = gap else { panic!("{gap:?}") };
        assert_eq!((from_seq, to_seq), (first + 4, Some(first + 4)));
        assert_eq!(reason, SkipReason::Other(NUMBER));
    }
    later.send(refused).await;
    next_sample(&mut bad, 1, b"before").await;
    unsupported(&mut bad).await;
    unsupported(&mut new).await;
    next_sample(&mut state, 1, b"state").await;
    next_sample(&mut good, 11, b"beside").await;
    later.take_until("refusals", |it| it.refusals.len() >= 3).await;
    let mut refusals: Vec<_> =
        later.taken.refusals.iter().map(|it| (it.sequence, it.epoch, it.tag)).collect();
    refusals.sort_unstable();
    assert_eq!(refusals, [(2, 1, WITHOUT_PAYLOAD), (3, 1, tag::BEGIN), (9, 0, WITH_PAYLOAD)]);

    later
        .send(|f| {
            for (sequence, last) in [(2, 2), (3, 1), (9, 1)] {
                f.known(tag::END, &[&[sequence, last, EndReason::Refused.number()]]);
            }
            f.sample(1, 12, "after");
            let reason = f.added.number();
            f.known(tag::END, &[&[1, 12, reason]]);
        })
        .await;
    next_sample(&mut good, 12, b"after").await;
    let ended = next(&mut good).await;
    assert!(matches!(ended, Delivery::Ended { .. }), "{ended:?}");
    for sequence in [1, 2, 3] {
        let last = |it: &Credit| it.sequence == sequence && it.last;
        later.take_until("a last credit", |it| it.credits.iter().any(last)).await;
    }
    assert!(bad.try_recv().is_none() && new.try_recv().is_none());
    let stats = later.stats().await;
    later.check(Additions::default(), &stats);
    assert_eq!((stats["gaps"], stats["unwanted_samples"]), (2, 0));
}

/// From number `first`: three samples, one in fragments, and one that is left out.
fn good_samples(f: &mut Frame<'_>, first: u64, long: &Bytes) {
    if first == 1 {
        let class = f.added.number();
        f.begin(1, "later/good", kind::STREAM, class);
    }
    f.sample(1, first, format!("good {first}"));
    f.unknown(WITHOUT_PAYLOAD, b"anything");
    f.sample(1, first + 1, format!("good {}", first + 1));
    f.unknown_with_payload(WITH_PAYLOAD, b"payload of its own");
    f.unknown_with_payload(WITH_PAYLOAD, b"");
    f.sample(1, first + 2, format!("good {}", first + 2));
    f.fragment((1, first + 3), 0, 30_000, long);
    f.unknown_with_payload(WITH_PAYLOAD, b"between fragments");
    f.fragment((1, first + 3), 30_000, 10_000, long);
    f.unknown(WITHOUT_PAYLOAD, b"");
    let reason = f.added.number();
    f.known(tag::SKIP, &[&varint(1), &varint(first + 5), &[reason]]);
}

/// Three sequences that cannot be followed, among two that can.
fn refused(f: &mut Frame<'_>) {
    f.begin(2, "later/bad", kind::STREAM, 1);
    f.sample(2, 1, "before");
    let unknown = f.added.number();
    f.begin(3, "later/new", unknown, 1);
    f.sample(3, 1, "in a way of its own");
    f.begin(4, "later/state", kind::STATE, 1);
    f.unknown(WITHOUT_PAYLOAD | tag::MUST_UNDERSTAND, &[2, 9, 9]);
    f.sample(2, 2, "nobody knows what this means");
    f.sample(4, 1, "state");
    // Of a sequence that begins in a way that is not known.
    f.unknown_with_payload_of(WITH_PAYLOAD | tag::MUST_UNDERSTAND, 9, b"begin");
    f.sample(9, 1, "lost");
    f.sample(1, 11, "beside");
}

async fn next(subscriber: &mut Subscriber) -> Delivery {
    within(SOON, "a delivery", subscriber.recv()).await.expect("the node runs")
}

/// The next delivery is this sample, with its header.
async fn next_sample(subscriber: &mut Subscriber, seq: u64, payload: &[u8]) {
    let delivery = next(subscriber).await;
    let Delivery::Sample(Sample { seq: it, headers, payload: got, .. }) = delivery else {
        panic!("sample {seq} was due: {delivery:?}")
    };
    assert_eq!(it, seq);
    assert_eq!(headers.iter().count(), 1);
    assert_eq!(headers.get("n"), Some(seq.to_string().as_bytes()));
    assert!(got == payload, "the payload of sample {seq} is broken");
}

async fn unsupported(subscriber: &mut Subscriber) {
    let ended = next(subscriber).await;
    assert!(matches!(ended, Delivery::Unsupported { .. }), "{ended:?}");
}

/// A subscriber whose interest, credits and receipts carry more than this version knows gets all
/// samples, and confirms them.
pub async fn subscribers_of_a_later_version_get_samples<H: Harness>(harness: &H) {
    /// More than the first window.
    const SAMPLES: u64 = 500;
    let today = Today::start(harness).await;
    let publisher = today.node.publisher("today/log").expect("a key");
    let publisher = publisher.declare().await.expect("declared");
    let mut later = today.link("later", role::MEMBER).await;
    // A class, a filter and a group, and what has no meaning at all.
    let class = [control_tag::PATTERN_CLASS as u8, 1, later.added.number()];
    let reserved = [control_tag::PATTERN_FILTER as u8, 1, 0, control_tag::PATTERN_GROUP as u8, 0];
    later.added.fields += 2;
    let pattern = later.added.item(&[&text("today/*"), &class, &reserved]);
    later.say(message::INTEREST, &[&[1, 0, 1], &list(&[pattern])]);
    let stats = later.stats().await;
    later.check(Additions::default(), &stats);

    let publishing = async {
        for number in 1..=SAMPLES {
            let headers = Headers::from_pairs([("n", number.to_string())]).expect("headers");
            let payload = Bytes::from(format!("sample {number}"));
            publisher.publish_with(headers, payload).await.expect("published");
        }
        publisher.close().await
    };
    let (report, ()) = tokio::join!(publishing, subscribe(&mut later, SAMPLES));
    assert_eq!((report.confirmed, report.unconfirmed.len()), (1, 0), "{report:?}");
    let stats = later.stats().await;
    later.check(Additions::default(), &stats);
    assert_eq!((stats["samples_sent"], stats["drops"], stats["stalls"]), (SAMPLES, 0, 0));
}

/// Takes all samples of the first sequence, and grants 10 at a time.
async fn subscribe(later: &mut Later, samples: u64) {
    later.take_until("a sequence", |it| !it.begun.is_empty()).await;
    let (sequence, epoch, key) = later.taken.begun[0].clone();
    assert_eq!(key, "today/log");
    let ids = [varint(sequence), varint(epoch)].concat();
    let mut confirmed = 0;
    loop {
        let done = |it: &Taken| it.samples.len() as u64 > confirmed || !it.ends.is_empty();
        later.take_until("samples", done).await;
        confirmed = later.taken.samples.len() as u64;
        let last = !later.taken.ends.is_empty();
        let (consumed, window) = (varint(confirmed), varint(if last { 0 } else { 10 }));
        let bytes = varint(later.taken.bytes);
        later
            .send(|f| {
                f.known(tag::RECEIVED, &[&bytes, &[0]]);
                f.unknown(WITHOUT_PAYLOAD, b"anything");
                f.known(
                    tag::CREDIT,
                    &[&ids, &consumed, &window, &varint(1000), &[0, u8::from(last)]],
                );
                f.unknown_with_payload(WITH_PAYLOAD, b"back");
            })
            .await;
        if last {
            break;
        }
    }
    for (number, (of, seq, header, payload)) in (1..).zip(&later.taken.samples) {
        assert_eq!((*of, *seq), (sequence, number));
        assert_eq!(&header[..], number.to_string().as_bytes());
        assert!(*payload == format!("sample {number}"), "sample {number} is broken");
    }
    assert_eq!(confirmed, samples);
}
