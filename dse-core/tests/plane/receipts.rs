//! Who has what was published: close, flush, and what a wait costs a subscriber.

use std::time::Duration;

use bytes::Bytes;
use dse_core::data::Record;
use dse_core::node::{Delivery, Overflow, Publisher, UnconfirmedCause};
use dse_core::protocol::{Kind, LinkId};
use tokio::time::{Instant, sleep, timeout};

use super::world::*;

#[tokio::test(start_paused = true)]
async fn who_took_all_but_the_end_has_confirmed() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    assert_eq!(told(&publisher.close().await), confirmed(1));
    assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
}

#[tokio::test(start_paused = true)]
async fn who_took_all_and_then_crashed_has_confirmed() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    assert_eq!(told(&publisher.flush().await), confirmed(1));
    let closing = tokio::spawn(publisher.close());
    tokio::task::yield_now().await;
    wires.fall(&a, &b);
    assert_eq!(told(&closing.await.expect("no panic")), confirmed(1));
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_published_before_and_for_nothing_else() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    assert_eq!(told(&publisher.flush().await), confirmed(0));
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=50 {
        publisher.publish(payload(i)).await.expect("published");
    }
    let mut flush = std::pin::pin!(publisher.flush());
    assert!(timeout(Duration::from_millis(50), &mut flush).await.is_err());
    publisher.publish(payload(51)).await.expect("published");
    for i in 1..=50 {
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
    }
    assert_eq!(told(&flush.await), confirmed(1));
    // The last one was not taken.
    let stalled = unconfirmed(&b, UnconfirmedCause::Stalled);
    assert_eq!(told(&publisher.flush().await), stalled);
    // Nobody waits for it until it moves.
    assert_eq!(next_sample(&mut subscriber).await.seq, 51);
    settle().await;
    assert_eq!(told(&publisher.flush().await), confirmed(1));
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_with_the_interest_and_a_stall_timeout_after_the_link() {
    for unsubscribes in [true, false] {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let wires = link(&a, &b, 1);
        let publisher = a.stream("x", Overflow::Block);
        let _subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        let start = Instant::now();
        let flushing = async { publisher.flush().await };
        let ending = async {
            tokio::task::yield_now().await;
            if unsubscribes {
                drop(_subscriber);
                a.plane.route_removed(&key("x"), LinkId(1));
            } else {
                wires.fall(&a, &b);
            }
        };
        let (report, ()) = tokio::join!(flushing, ending);
        if unsubscribes {
            assert_eq!(told(&report), withdrawn(1));
            assert!(start.elapsed() < STALL);
        } else {
            assert_eq!(told(&report), unconfirmed(&b, UnconfirmedCause::Lost));
            assert!(start.elapsed() >= STALL);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_wait_for_one_subscriber_do_not_keep_each_other_busy() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = std::sync::Arc::new(a.stream("x", Overflow::Block));
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    while publisher.try_publish(payload(0)).is_ok() {}
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let publisher = std::sync::Arc::clone(&publisher);
            tokio::spawn(async move { publisher.publish(payload(0)).await })
        })
        .collect();
    settle().await;
    // A credit that makes no room wakes all of them.
    next_sample(&mut subscriber).await;
    // Time passes only once all tasks rest.
    sleep(STALL / 2).await;
    for waits in waiting {
        waits.await.expect("no panic").expect("published");
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
async fn interest_that_comes_and_goes_begins_anew_only_after_the_last_credit() {
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
    while let Ok(frame) = timeout(STALL, peer.frame()).await {
        begun.extend(records(&frame).into_iter().filter_map(|record| match record {
            Record::Begin(begin) => Some(begin.epoch),
            _ => None,
        }));
    }
    assert_eq!(begun, [1]);
    peer.last_credit(0);
    let frame = peer.frame().await;
    let records = records(&frame);
    assert!(
        matches!(&records[..], [Record::Begin(begin), Record::Samples(samples)]
            if begin.epoch == 2 && begin.next_seq == 201 && (samples.seq, samples.more) == (201, 0)),
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
