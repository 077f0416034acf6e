//! Peers that break the protocol of the data lane.

use std::time::Duration;

use bytes::Bytes;
use dse_core::data::{Begin, Body, Credit, DataFrame, End, EndReason, FrameWriter, Record, Skip};
use dse_core::node::Overflow;
use dse_core::node::plane::{LaneError, RecordFault};
use dse_core::protocol::{Incarnation, Kind, LinkId};
use tokio::time::timeout;

use super::world::*;

fn begin(alias: u32, incarnation: u64, next_seq: u64) -> Begin {
    Begin {
        alias,
        key: key("x"),
        kind: Kind::Stream,
        encoding: "".into(),
        incarnation: Incarnation(incarnation),
        next_seq,
    }
}

/// What a node says of a peer that sends this.
async fn fault(write: impl FnOnce(&mut FrameWriter)) -> LaneError {
    let (a, mut b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let _subscriber = b.subscribe(1, "**");
    let mut frame = FrameWriter::new();
    write(&mut frame);
    wires.there.forge(frame.take().expect("something was written"));
    let fault = timeout(Duration::from_secs(20), b.faults.recv()).await.expect("a fault was due");
    let fault = fault.expect("the plane lives");
    assert_eq!(fault.link, LinkId(1));
    fault.error
}

async fn record_fault(write: impl FnOnce(&mut FrameWriter)) -> RecordFault {
    match fault(write).await {
        LaneError::Record(fault) => fault,
        other => panic!("unexpected: {other}"),
    }
}

#[tokio::test]
async fn every_record_that_cannot_be_true_is_named() {
    let unknown = RecordFault::UnknownAlias(3);
    assert_eq!(record_fault(|f| f.sample(3, 1, 0, Bytes::new())).await, unknown);
    assert_eq!(record_fault(|f| f.skip(Skip { alias: 3, next_seq: 1 })).await, unknown);
    let end = End { alias: 3, last_seq: 0, reason: EndReason::Closed };
    assert_eq!(record_fault(|f| f.end(end)).await, unknown);
    let credit = Credit { alias: 3, consumed_seq: 0, window: 1 };
    assert_eq!(record_fault(|f| f.credit(credit)).await, unknown);

    let twice = record_fault(|f| {
        f.begin(&begin(0, 1, 1));
        f.begin(&begin(0, 1, 1));
    });
    assert_eq!(twice.await, RecordFault::AliasTaken(0));
    // The subscriber here has not taken the End, so there was no receipt.
    let early = record_fault(|f| {
        f.begin(&begin(0, 1, 1));
        f.end(End { alias: 0, last_seq: 0, reason: EndReason::Closed });
        f.begin(&begin(0, 1, 1));
    });
    assert_eq!(early.await, RecordFault::AliasUnconfirmed(0));
    let large = record_fault(|f| f.begin(&begin(u32::MAX, 1, 1)));
    assert_eq!(large.await, RecordFault::AliasTooLarge(u32::MAX));
    let other = record_fault(|f| f.begin(&begin(0, 9, 1)));
    assert_eq!(other.await, RecordFault::Incarnation { alias: 0, incarnation: Incarnation(9) });
    let back = record_fault(|f| {
        f.begin(&begin(0, 1, 5));
        f.sample(0, 4, 0, Bytes::new());
    });
    assert_eq!(back.await, RecordFault::Backwards { alias: 0, last_seq: 4, seq: 4 });
    let zero = record_fault(|f| f.begin(&begin(0, 1, 0)));
    assert!(matches!(zero.await, RecordFault::Backwards { .. }));
    let overflow = record_fault(|f| {
        f.begin(&begin(0, 1, u64::MAX));
        f.sample(0, u64::MAX, 0, Bytes::new());
    });
    assert!(matches!(overflow.await, RecordFault::Backwards { .. }));
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_a_fault() {
    let (a, mut b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let head = Bytes::from_static(&[99, 1, 2]);
    wires.there.forge(DataFrame { head, body: Body::Whole(Bytes::new()) });
    let fault = b.faults.recv().await.expect("a fault");
    assert!(matches!(fault.error, LaneError::Frame(_)), "{}", fault.error);
}

#[tokio::test]
async fn a_head_that_would_keep_the_reader_busy_is_a_fault() {
    let long = fault(|f| {
        f.begin(&begin(0, 1, 1));
        while f.len() <= 512 * 1024 {
            f.skip(Skip { alias: 0, next_seq: 1 });
        }
    });
    assert!(matches!(long.await, LaneError::HeadTooLong { .. }));
}

#[tokio::test]
async fn credit_for_what_was_never_sent_is_a_fault() {
    let (mut a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    let mut frame = FrameWriter::new();
    frame.credit(Credit { alias: 0, consumed_seq: 9, window: 64 });
    wires.back.forge(frame.take().expect("a credit"));
    let fault = a.faults.recv().await.expect("a fault");
    assert!(
        matches!(fault.error, LaneError::Record(RecordFault::CreditAhead { .. })),
        "{}",
        fault.error
    );
    // The publisher goes on without that link.
    until("the route is gone", || publisher.interest().subscribers() == 0).await;
    publisher.publish(payload(2)).await.expect("published");
}

#[tokio::test]
async fn a_peer_that_ignores_credit_fills_no_memory_and_the_loss_is_reported() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let mut subscriber = b.subscribe(1, "x");
    let block = Bytes::from(vec![0; 1024 * 1024]);
    let mut frame = FrameWriter::new();
    frame.begin(&begin(0, 1, 1));
    for seq in 1..=1000 {
        frame.sample(0, seq, 0, block.clone());
        wires.there.forge(frame.take().expect("a sample"));
    }
    until("all was read", || b.plane.counters().samples_received == 1000).await;
    assert!(b.plane.counters().drops > 900);
    let (mut last, mut held) = (0, 0);
    while last < 1000 {
        match next(&mut subscriber).await {
            dse_core::node::Delivery::Sample(sample) => {
                assert_eq!(sample.seq, last + 1);
                last = sample.seq;
                held += 1;
            }
            dse_core::node::Delivery::Gap { from_seq, to_seq, .. } => {
                assert_eq!(from_seq, last + 1);
                last = to_seq;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert!(held <= 64, "{held} MiB were held");
}

#[tokio::test]
async fn small_samples_do_not_hold_on_to_the_frame_that_they_came_in() {
    // More than a reader collects before it hands them over.
    const SAMPLES: u64 = 10_000;
    let node = Node::new("b");
    let peer = Peer::of(&node, 1);
    let mut subscriber = node.subscribe(1, "x");
    let mut frame = FrameWriter::new();
    frame.begin(&begin(0, 1, 1));
    frame.begin(&Begin { key: key("y"), ..begin(1, 1, 1) });
    for seq in 1..=SAMPLES {
        frame.sample(0, seq, 0, payload(seq));
    }
    frame.sample(1, 1, 0, Bytes::from(vec![0; 4 * 1024 * 1024]));
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
async fn the_states_of_a_link_are_bounded_by_what_is_held_of_them() {
    let mut node = Node::new("b");
    let mut peer = Peer::of(&node, 1);
    let block = Bytes::from(vec![0; 16 * 1024 * 1024]);
    let begins = |frame: &mut FrameWriter, alias| {
        let key = key(&format!("x/{alias}"));
        frame.begin(&Begin { key, kind: Kind::State, ..begin(alias, 1, 1) });
        frame.sample(alias, 1, 0, block.clone());
    };
    // 256 MiB, twice: a value goes in place of the one before.
    for alias in 0..16 {
        peer.send(|frame| begins(frame, alias));
        peer.send(|frame| frame.sample(alias, 2, 0, block.clone()));
    }
    // What has ended counts until that is confirmed, whether its alias is used again or not.
    for (last_seq, next) in [(2, 15), (1, 16)] {
        peer.send(|frame| frame.end(End { alias: 15, last_seq, reason: EndReason::NoInterest }));
        let receipt =
            |record: &Record| matches!(record, Record::Credit(Credit { alias: 15, window: 0, .. }));
        while !peer.records().await.iter().any(receipt) {}
        peer.send(|frame| begins(frame, next));
    }
    until("all was read", || node.plane.counters().samples_received == 34).await;
    assert!(node.faults.try_recv().is_err(), "256 MiB may be held");
    peer.send(|frame| begins(frame, 17));
    let fault = timeout(Duration::from_secs(20), node.faults.recv()).await;
    let fault = fault.expect("a fault was due").expect("the plane lives").error;
    assert!(fault.to_string().contains("states"), "{fault}");
}

#[tokio::test]
async fn the_states_of_a_node_itself_have_no_such_bound() {
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
    let before = (wires.there.bytes(), wires.back.bytes());
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((wires.there.bytes(), wires.back.bytes()), before);
}
