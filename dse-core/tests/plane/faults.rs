//! Peers that break the protocol of the data lane, and peers of the next version.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use dse_core::data::receive::ReceiveError;
use dse_core::data::{
    Begin, DataFrame, End, EndReason, FrameWriter, Headers, Received, Record, Refuse, Resume,
    SequenceFault, Skip, SkipReason, tag,
};
use dse_core::node::plane::LaneError;
use dse_core::node::{Delivery, Overflow, UnconfirmedCause};
use dse_core::protocol::{Incarnation, Kind, LinkId};
use tokio::time::timeout;

use super::world::*;

/// What a node says of a peer that sends this.
async fn fault(write: impl FnOnce(&mut FrameWriter)) -> LaneError {
    let mut node = Node::new("b");
    let peer = Peer::of(&node, 1);
    let _subscriber = node.subscribe(1, "**");
    peer.send(write);
    let fault = timeout(Duration::from_secs(20), node.faults.recv()).await;
    let fault = fault.expect("a fault was due").expect("the plane lives");
    assert_eq!(fault.link, LinkId(1));
    fault.error
}

async fn sequence_fault(write: impl FnOnce(&mut FrameWriter)) -> SequenceFault {
    match fault(write).await {
        LaneError::Receive(ReceiveError::Fault(fault)) => fault,
        other => panic!("unexpected: {other}"),
    }
}

fn stream(sequence: u64) -> Begin<'static> {
    begin(sequence, "x", Kind::Stream)
}

fn end(sequence: u64, last_seq: u64) -> End {
    End { sequence, last_seq, reason: EndReason::Closed }
}

fn skip(sequence: u64, next_seq: u64) -> Skip {
    Skip { sequence, next_seq, reason: SkipReason::Policy }
}

#[tokio::test]
async fn every_record_that_cannot_be_true_is_named() {
    let unknown = SequenceFault::Unknown { sequence: 3 };
    assert_eq!(sequence_fault(|f| sample(f, 3, 1, Bytes::new())).await, unknown);
    assert_eq!(sequence_fault(|f| f.skip(skip(3, 1))).await, unknown);
    assert_eq!(sequence_fault(|f| f.end(end(3, 0))).await, unknown);
    let twice = sequence_fault(|f| {
        f.begin(&stream(3));
        f.begin(&Begin { epoch: 2, ..stream(3) });
    });
    assert_eq!(twice.await, SequenceFault::BegunTwice { sequence: 3 });
    // The subscriber here has not taken the End, so there was no last credit.
    let early = sequence_fault(|f| {
        f.begin(&stream(3));
        f.end(end(3, 0));
        f.begin(&Begin { epoch: 2, ..stream(3) });
    });
    assert_eq!(early.await, SequenceFault::BegunTwice { sequence: 3 });
    let after = sequence_fault(|f| {
        f.begin(&stream(3));
        f.end(end(3, 0));
        sample(f, 3, 1, Bytes::new());
    });
    assert_eq!(after.await, unknown);
    for (begin, what) in [
        (Begin { incarnation: Incarnation(9), ..stream(3) }, "incarnation"),
        (Begin { key: "//", ..stream(3) }, "key"),
        (Begin { next_seq: 0, ..stream(3) }, "number"),
        (Begin { next_seq: u64::MAX, ..stream(3) }, "number"),
    ] {
        let invalid = SequenceFault::Begin { sequence: 3, what };
        assert_eq!(sequence_fault(|f| f.begin(&begin)).await, invalid);
    }
    let back = sequence_fault(|f| {
        f.begin(&Begin { next_seq: 5, ..stream(3) });
        sample(f, 3, 4, Bytes::new());
    });
    assert_eq!(back.await, SequenceFault::Backwards { sequence: 3, last_seq: 4, seq: 4 });
    let beyond = sequence_fault(|f| {
        f.begin(&stream(3));
        sample(f, 3, u64::MAX, Bytes::new());
    });
    assert!(matches!(beyond.await, SequenceFault::Backwards { .. }));
    let ahead = sequence_fault(|f| f.received(Received { bytes: 1, delay_us: 0 }));
    assert_eq!(ahead.await, SequenceFault::ReceivedAhead { received: 1, written: 0 });
}

#[tokio::test]
async fn the_fragments_of_a_sample_follow_each_other() {
    let value = Bytes::from_static(b"0123456789");
    let names = |seq| (3, seq, 0);
    let broken: [&[(usize, usize)]; 4] =
        [&[(3, 5)], &[(0, 3), (4, 5)], &[(0, 3), (0, 3)], &[(0, 3), (2, 5)]];
    for ranges in broken {
        let broken = sequence_fault(|f| {
            f.begin(&stream(3));
            for (start, end) in ranges {
                f.fragment(names(1), &Headers::new(), &value, *start..*end);
            }
        });
        assert_eq!(broken.await, SequenceFault::Fragment { sequence: 3 }, "{ranges:?}");
    }
    let between = sequence_fault(|f| {
        f.begin(&stream(3));
        f.fragment(names(1), &Headers::new(), &value, 0..3);
        sample(f, 3, 2, Bytes::new());
    });
    assert_eq!(between.await, SequenceFault::Fragment { sequence: 3 });
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_a_fault() {
    let wrong_steps = &[tag::SAMPLES, 10, 4, 1, 1, 0, 1, 4, 1, 0, 1, 0];
    for (head, payload) in [(&[4, 9][..], &b""[..]), (wrong_steps, b"four")] {
        let mut node = Node::new("b");
        let peer = Peer::of(&node, 1);
        let mut subscriber = node.subscribe(1, "**");
        peer.send(|f| f.begin(&stream(1)));
        peer.forge(DataFrame {
            head: Bytes::from_static(head),
            body: Bytes::from_static(payload).into(),
        });
        let fault = node.faults.recv().await.expect("a fault");
        let error = fault.error;
        assert!(matches!(error, LaneError::Receive(ReceiveError::Frame(_))), "{error}");
        assert_eq!(subscriber.try_recv(), None);
    }
}

#[tokio::test]
async fn a_head_that_would_keep_the_reader_busy_is_a_fault() {
    let long = fault(|f| {
        f.begin(&stream(1));
        while f.len() <= 512 * 1024 {
            f.skip(skip(1, 1));
        }
    });
    assert!(matches!(long.await, LaneError::HeadTooLong { .. }));
}

#[tokio::test]
async fn what_was_never_sent_cannot_be_confirmed_nor_gone_on_from() {
    let ahead = |f: &mut FrameWriter| f.credit(credit(1, 1, 9));
    let beyond = |f: &mut FrameWriter| f.resume(Resume { sequence: 1, epoch: 1, next_seq: 9 });
    let last = |f: &mut FrameWriter| {
        f.credit(dse_core::data::Credit { last: true, ..credit(1, 1, 1) });
    };
    for (write, what) in [
        (&ahead as &dyn Fn(&mut FrameWriter), "is confirmed up to 9"),
        (&beyond, "is to go on at 9"),
        (&last, "which has not ended"),
    ] {
        let mut a = Node::new("a");
        let mut peer = Peer::of(&a, 1);
        let publisher = a.stream("x", Overflow::Block);
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        peer.frame().await;
        peer.send(write);
        let fault = a.faults.recv().await.expect("a fault").error;
        assert!(fault.to_string().contains(what), "{fault}");
        // The publisher goes on without that link.
        a.plane.link_closed(LinkId(1), false);
        until("the route is gone", || publisher.interest().subscribers() == 0).await;
        publisher.publish(payload(2)).await.expect("published");
    }
}

#[tokio::test]
async fn a_peer_that_sends_beyond_its_credit_fills_no_memory() {
    let mut node = Node::new("b");
    let peer = Peer::of(&node, 1);
    let _subscriber = node.subscribe(1, "x");
    peer.send(|frame| frame.begin(&stream(1)));
    let block = Bytes::from(vec![0; 1024 * 1024]);
    for seq in 1..=1000 {
        peer.send(|frame| sample(frame, 1, seq, block.clone()));
    }
    let fault = node.faults.recv().await.expect("a fault").error;
    assert!(fault.to_string().contains("than was granted"), "{fault}");
    assert!(node.plane.counters().samples_received <= 64);
}

#[tokio::test]
async fn small_samples_do_not_hold_on_to_the_frame_that_they_came_in() {
    const SAMPLES: u64 = 10_000;
    let node = Node::new("b");
    let peer = Peer::of(&node, 1);
    let mut subscriber = node.subscribe(1, "x");
    let mut frame = FrameWriter::new();
    frame.begin(&stream(1));
    frame.begin(&begin(2, "y", Kind::Stream));
    for seq in 1..=SAMPLES {
        sample(&mut frame, 1, seq, payload(seq));
    }
    sample(&mut frame, 2, 1, Bytes::from(vec![0; 4 * 1024 * 1024]));
    // As a transport receives it: all of it is one piece.
    let pieces = frame.take().expect("samples").into_wire(0);
    let wire = Bytes::from(pieces.concat());
    let memory = wire.as_ptr_range();
    peer.forge(DataFrame::from_wire(wire).expect("a frame"));
    for seq in 1..=SAMPLES {
        let sample = next_sample(&mut subscriber).await;
        assert_eq!(number(&sample), seq);
        assert!(!memory.contains(&sample.payload.as_ptr()), "sample {seq} holds 4 MiB");
    }
}

#[tokio::test]
async fn the_states_of_a_node_itself_arrive_however_long_they_are() {
    let node = Node::new("a");
    let mut subscriber = node.subscribe(1, "**");
    let block = Bytes::from(vec![0; 16 * 1024 * 1024]);
    let publishers: Vec<_> = (0..20).map(|number| node.state(&format!("x/{number}"))).collect();
    for publisher in &publishers {
        publisher.publish(block.clone()).await.expect("published");
    }
    for _ in 0..20 {
        next_sample(&mut subscriber).await;
    }
}

#[tokio::test]
async fn an_idle_link_is_silent() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    next_sample(&mut subscriber).await;
    until("the credit is sent", || wires.back.bytes() > 0).await;
    tokio::time::pause();
    settle().await;
    let before = (wires.there.bytes(), wires.back.bytes());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((wires.there.bytes(), wires.back.bytes()), before);
}

/// A frame of the next version, record by record, as a transport receives it.
#[derive(Default)]
struct Next {
    head: BytesMut,
    body: BytesMut,
}

impl Next {
    /// What this version writes.
    fn today(mut self, write: impl FnOnce(&mut FrameWriter)) -> Self {
        let mut writer = FrameWriter::new();
        write(&mut writer);
        let frame = writer.take().expect("something was written");
        self.head.put_slice(&frame.head);
        frame.body.pieces().iter().for_each(|piece| self.body.put_slice(piece));
        self
    }

    fn record(mut self, tag: u8, body: &[u8]) -> Self {
        self.head.put_u8(tag);
        self.head.put_u8(u8::try_from(body.len()).expect("a short record"));
        self.head.put_slice(body);
        self
    }

    fn payload(mut self, payload: &[u8]) -> Self {
        self.body.put_slice(payload);
        self
    }

    fn send(self, peer: &Peer) {
        peer.forge(DataFrame { head: self.head.freeze(), body: self.body.freeze().into() });
    }
}

/// Numbers that stand in no table.
const WITHOUT_PAYLOAD: u8 = 60;
const WITH_PAYLOAD: u8 = 61;
const FIELD: u8 = 77;

#[tokio::test]
async fn records_and_fields_of_the_next_version_are_skipped_and_counted() {
    let mut node = Node::new("b");
    let peer = Peer::of(&node, 1);
    let mut subscriber = node.subscribe(1, "**");
    Next::default()
        .today(|f| f.begin(&stream(1)))
        .record(WITHOUT_PAYLOAD, b"anything")
        .today(|f| sample(f, 1, 1, payload(1)))
        // Its length, then what this version knows nothing of.
        .record(WITH_PAYLOAD, &[5, 9, 9])
        .payload(b"skip!")
        // A sample with a field that is not known: length, sequence, number, time, none more,
        // field.
        .record(tag::SAMPLES, &[8, 1, 2, 0, 0, FIELD, 2, 7, 7])
        .payload(&payload(2))
        .today(|f| sample(f, 1, 3, payload(3)))
        .send(&peer);
    for seq in 1..=3 {
        let sample = next_sample(&mut subscriber).await;
        assert_eq!((sample.seq, number(&sample)), (seq, seq));
    }
    let counters = node.plane.counters();
    assert_eq!((counters.unknown_records, counters.unknown_fields), (2, 1));
    assert!(node.faults.try_recv().is_err(), "the link goes on");
}

#[tokio::test]
async fn what_must_be_understood_and_is_not_ends_its_sequence_alone() {
    for in_the_first_frame in [true, false] {
        let mut node = Node::new("b");
        let mut peer = Peer::of(&node, 1);
        let mut subscriber = node.subscribe(1, "x");
        let mut other = node.subscribe(2, "y");
        let frame = Next::default()
            .today(|f| f.begin(&stream(1)))
            .today(|f| f.begin(&begin(2, "y", Kind::Stream)))
            .today(|f| sample(f, 1, 1, payload(1)));
        let frame = match in_the_first_frame {
            true => frame,
            false => {
                frame.send(&peer);
                Next::default()
            }
        };
        frame
            .record(WITHOUT_PAYLOAD | tag::MUST_UNDERSTAND, &[1, 9, 9])
            .today(|f| sample(f, 1, 2, payload(2)))
            .today(|f| sample(f, 2, 1, payload(7)))
            .send(&peer);
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        let ended = next(&mut subscriber).await;
        assert!(matches!(ended, Delivery::Unsupported { .. }), "{ended:?}");
        assert_eq!(number(&next_sample(&mut other).await), 7);
        peer.heard(|record| {
            matches!(record, Record::Refuse(it) if it.sequence == 1 && it.tag == WITHOUT_PAYLOAD)
        })
        .await;
        // What was under way is none of its subscriber's; the end is confirmed.
        peer.send(|f| {
            sample(f, 1, 3, payload(3));
            f.end(End { reason: EndReason::Refused, ..end(1, 3) });
            sample(f, 2, 2, payload(8));
        });
        assert_eq!(number(&next_sample(&mut other).await), 8);
        peer.heard(|record| matches!(record, Record::Credit(it) if it.sequence == 1 && it.last))
            .await;
        assert!(subscriber.try_recv().is_none());
        assert_eq!(node.plane.counters().unknown_records, 1);
        assert!(node.faults.try_recv().is_err(), "the link goes on");
    }
}

#[tokio::test]
async fn a_kind_of_the_next_version_is_refused_and_told_to_the_subscriber() {
    let mut node = Node::new("b");
    let mut peer = Peer::of(&node, 1);
    let mut subscriber = node.subscribe(1, "**");
    peer.send(|f| {
        f.begin(&begin(1, "x", Kind::from_number(200)));
        f.begin(&begin(2, "y", Kind::Stream));
        sample(f, 1, 1, payload(1));
        sample(f, 2, 1, payload(7));
    });
    let (mut unsupported, mut numbers) = (0, Vec::new());
    while unsupported == 0 || numbers.is_empty() {
        match next(&mut subscriber).await {
            Delivery::Unsupported { origin } => {
                assert_eq!(origin.key, key("x"));
                unsupported += 1;
            }
            Delivery::Sample(sample) => numbers.push(number(&sample)),
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert_eq!((unsupported, numbers), (1, vec![7]));
    peer.heard(|record| matches!(record, Record::Refuse(it) if it.sequence == 1)).await;
    assert!(node.faults.try_recv().is_err(), "the link goes on");
}

#[tokio::test]
async fn a_sequence_that_begins_in_an_unknown_way_is_refused_and_its_records_are_passed_over() {
    let mut node = Node::new("b");
    let mut peer = Peer::of(&node, 1);
    let mut subscriber = node.subscribe(1, "**");
    Next::default()
        .record(WITHOUT_PAYLOAD | tag::MUST_UNDERSTAND, &[9, 1, 2, 3])
        .today(|f| f.begin(&stream(1)))
        .today(|f| {
            sample(f, 9, 1, payload(1));
            sample(f, 1, 1, payload(7));
        })
        .send(&peer);
    assert_eq!(number(&next_sample(&mut subscriber).await), 7);
    let unknown = |it: &Refuse| (it.sequence, it.epoch, it.tag) == (9, 0, WITHOUT_PAYLOAD);
    peer.heard(|record| matches!(record, Record::Refuse(it) if unknown(it))).await;
    Next::default()
        .record(WITHOUT_PAYLOAD | tag::MUST_UNDERSTAND, &[9])
        .today(|f| {
            f.skip(Skip { sequence: 9, next_seq: 5, reason: SkipReason::Policy });
            f.end(end(9, 5));
            sample(f, 1, 2, payload(8));
        })
        .send(&peer);
    assert_eq!(number(&next_sample(&mut subscriber).await), 8);
    assert!(node.faults.try_recv().is_err(), "the link goes on");
    // It has ended: what comes of it now is a fault.
    peer.send(|f| sample(f, 9, 6, payload(1)));
    assert!(node.faults.recv().await.is_some(), "nobody may go on with what has ended");
}

#[tokio::test]
async fn numbers_of_the_next_version_are_counted() {
    let mut node = Node::new("b");
    let peer = Peer::of(&node, 1);
    let mut subscriber = node.subscribe(1, "**");
    Next::default()
        // Sequence, epoch, key, kind, encoding, incarnation, next number, time, class, resume.
        .record(tag::BEGIN | tag::MUST_UNDERSTAND, &[1, 1, 1, b'x', 0, 0, 1, 1, 0, 77, 0])
        .record(tag::SKIP, &[1, 3, 77])
        .today(|f| sample(f, 1, 3, payload(3)))
        .record(tag::END, &[1, 3, 77])
        .send(&peer);
    let gap = next(&mut subscriber).await;
    let unknown = SkipReason::Other(77);
    assert!(matches!(gap, Delivery::Gap { reason, .. } if reason == unknown), "{gap:?}");
    assert_eq!(next_sample(&mut subscriber).await.seq, 3);
    let ended = next(&mut subscriber).await;
    assert!(matches!(ended, Delivery::Ended { .. }), "{ended:?}");
    assert_eq!(node.plane.counters().unknown_fields, 3, "a class and two reasons");
    assert!(node.faults.try_recv().is_err(), "the link goes on");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_reports_who_refused_its_sequence() {
    let a = Node::new("a");
    let mut peer = Peer::of(&a, 1);
    let publisher = a.stream("x", Overflow::Block);
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    peer.frame().await;
    peer.send(|f| f.refuse(Refuse { sequence: 1, epoch: 1, tag: 60 }));
    peer.heard(|record| {
        matches!(record, Record::End(End { reason: EndReason::Refused, last_seq: 1, .. }))
    })
    .await;
    publisher.publish(payload(2)).await.expect("nobody waits for it");
    let (_, unconfirmed, _) = told(&publisher.report());
    assert!(matches!(&unconfirmed[..], [(_, UnconfirmedCause::Refused)]), "{unconfirmed:?}");
    peer.last_credit(0);
    settle().await;
    let (_, unconfirmed, _) = told(&publisher.close().await);
    assert!(matches!(&unconfirmed[..], [(_, UnconfirmedCause::Refused)]), "{unconfirmed:?}");
}
