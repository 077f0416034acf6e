//! Who has what was published: close, flush, and what a wait costs a subscriber.

use std::time::Duration;

use bytes::Bytes;
use dse_core::data::{Credit, Record};
use dse_core::node::{Delivery, Overflow, Publisher, Receipts};
use dse_core::protocol::{Kind, LinkId};
use tokio::time::{sleep, timeout};

use super::world::*;

fn delivered(delivered: usize) -> Receipts {
    Receipts { delivered, undelivered: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn who_took_all_but_the_end_counts_as_served() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    assert_eq!(publisher.close().await, delivered(1));
    assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
}

#[tokio::test(start_paused = true)]
async fn who_took_all_and_then_crashed_counts_as_served() {
    for publishes in [true, false] {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let wires = link(&a, &b, 1);
        let publisher = a.stream("x", Overflow::Block);
        let mut subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        if publishes {
            publisher.publish(payload(1)).await.expect("published");
            assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        }
        assert_eq!(publisher.flush().await, delivered(1));
        let closing = tokio::spawn(publisher.close());
        tokio::task::yield_now().await;
        wires.fall(&a, &b);
        assert_eq!(closing.await.expect("no panic"), delivered(1), "{publishes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_published_before_and_for_nothing_else() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    assert_eq!(publisher.flush().await, delivered(0));
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=50 {
        publisher.publish(payload(i)).await.expect("published");
    }
    {
        let mut flush = std::pin::pin!(publisher.flush());
        assert!(timeout(Duration::from_millis(50), &mut flush).await.is_err());
        publisher.publish(payload(51)).await.expect("published");
        for i in 1..=50 {
            assert_eq!(next_sample(&mut subscriber).await.seq, i);
        }
        assert_eq!(flush.await, delivered(1));
    }
    // The last one was not taken.
    let undelivered = vec![b.info.node.clone()];
    assert_eq!(publisher.flush().await, Receipts { delivered: 0, undelivered });
    // To wait in a flush costs a subscriber nothing of a publisher's patience.
    assert_eq!(a.plane.counters().stalls, 0);
    assert_eq!(next_sample(&mut subscriber).await.seq, 51);
    assert_eq!(publisher.flush().await, delivered(1));
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_with_the_link_and_with_the_interest() {
    for unsubscribes in [true, false] {
        let (a, b) = (Node::patient("a"), Node::new("b"));
        let wires = link(&a, &b, 1);
        let publisher = a.stream("x", Overflow::Block);
        let subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        let flushing = async { publisher.flush().await };
        let ending = async {
            tokio::task::yield_now().await;
            if unsubscribes {
                a.plane.route_removed(&key("x"), LinkId(1));
            } else {
                wires.fall(&a, &b);
            }
        };
        let (receipts, ()) = tokio::join!(flushing, ending);
        let undelivered = if unsubscribes { vec![] } else { vec![b.info.node.clone()] };
        assert_eq!(receipts, Receipts { delivered: 0, undelivered });
        drop(subscriber);
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_was_given_up_is_not_waited_for() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    fill(&publisher).await;
    for _ in 0..5 {
        // Most of this time nobody waits.
        sleep(STALL * 2).await;
        assert!(timeout(Duration::from_millis(50), publisher.publish(payload(0))).await.is_err());
    }
    assert_eq!(a.plane.counters().stalls, 0);
    // Whoever does not give up waits no longer than the stall timeout.
    publisher.publish(payload(0)).await.expect("published");
    assert_eq!(a.plane.counters().stalls, 1);
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
}

/// Publishes until the subscriber is behind.
async fn fill(publisher: &Publisher) {
    while timeout(Duration::from_millis(50), publisher.publish(payload(0))).await.is_ok() {}
}

#[tokio::test(start_paused = true)]
async fn the_interest_of_a_closed_publisher_ends_although_its_subscriber_takes_nothing() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let _subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    let mut interest = publisher.interest();
    drop(publisher);
    for _ in 0..2 {
        let ended = async { while interest.changed().await.is_some() {} };
        timeout(Duration::from_secs(20), ended).await.expect("the interest ends");
    }
}

#[tokio::test(start_paused = true)]
async fn interest_that_comes_and_goes_without_receipts_makes_few_routes() {
    let a = Node::new("a");
    let mut peer = Peer::of(&a, 1);
    let publisher = a.stream("x", Overflow::Block);
    for _ in 0..100 {
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        a.plane.route_removed(&key("x"), LinkId(1));
        publisher.publish(payload(1)).await.expect("published");
    }
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    let mut begun = Vec::new();
    while let Ok(records) = timeout(STALL, peer.records()).await {
        begun.extend(records.into_iter().filter_map(|record| match record {
            Record::Begin(begin) => Some(begin.alias),
            _ => None,
        }));
    }
    assert_eq!(begun, (0..16).collect::<Vec<u32>>());
    // The interest that waits for it begins with the first receipt.
    peer.send(|frame| frame.credit(Credit { alias: 7, consumed_seq: 0, window: 0 }));
    let records = peer.records().await;
    assert!(
        matches!(&records[..], [Record::Begin(begin)] if begin.alias == 7 && begin.next_seq == 202),
        "{records:?}"
    );
}

#[tokio::test]
async fn a_history_of_long_samples_is_bounded_by_bytes() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.publisher("x", Kind::Stream, Overflow::Block, 10);
    let longest = Bytes::from(vec![7; 16 * 1024 * 1024]);
    for _ in 1..=10 {
        publisher.publish(longest.clone()).await.expect("published");
    }
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for seq in 7..=10 {
        assert_eq!(next_sample(&mut subscriber).await.seq, seq);
    }
}
