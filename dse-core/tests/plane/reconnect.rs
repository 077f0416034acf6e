//! Links that fall and come back, nodes that restart or leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use dse_core::data::{Begin, DataFrame, FrameWriter, Skip};
use dse_core::node::{Delivery, Overflow, Receipts};
use dse_core::protocol::{Incarnation, Kind, LinkId};
use dse_core::transport::{DataReceiver, TransportError};
use tokio::time::Instant;

use super::lane::Wire;
use super::world::*;

#[tokio::test]
async fn what_was_published_between_two_links_is_a_reported_gap() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let first = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    first.fall(&a, &b);
    until("the route is gone", || publisher.interest().subscribers() == 0).await;
    for i in 2..=5 {
        publisher.publish(payload(i)).await.expect("published");
    }
    link(&a, &b, 2);
    a.route("x", 2);
    let gap = next(&mut subscriber).await;
    let (node, key) = (a.info.node.clone(), key("x"));
    assert_eq!(gap, Delivery::Gap { node, key, from_seq: 2, to_seq: 5 });
    publisher.publish(payload(6)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 6);
}

#[tokio::test]
async fn history_repairs_the_gap_and_what_came_twice_is_dropped() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let first = link(&a, &b, 1);
    let publisher = a.publisher("x", Kind::Stream, Overflow::Block, 10);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=3 {
        publisher.publish(payload(i)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
    }
    first.fall(&a, &b);
    until("the route is gone", || publisher.interest().subscribers() == 0).await;
    for i in 4..=8 {
        publisher.publish(payload(i)).await.expect("published");
    }
    link(&a, &b, 2);
    a.route("x", 2);
    for i in 4..=8 {
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
    }
    let mut late = b.subscribe(2, "x");
    publisher.publish(payload(9)).await.expect("published");
    assert_eq!(next_sample(&mut late).await.seq, 9);
    assert_eq!(b.plane.counters().gaps, 0);
}

#[tokio::test]
async fn a_state_that_did_not_change_between_two_links_comes_once() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let first = link(&a, &b, 1);
    let publisher = a.state("x");
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    first.fall(&a, &b);
    link(&a, &b, 2);
    a.route("x", 2);
    publisher.publish(payload(2)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 2);
}

#[tokio::test]
async fn another_incarnation_is_a_restart() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let first = link(&a, &b, 1);
    let publisher = a.state("x");
    let stream = a.stream("y", Overflow::Block);
    let mut subscriber = b.subscribe(1, "*");
    a.route("x", 1);
    a.route("y", 1);
    publisher.publish(payload(1)).await.expect("published");
    stream.publish(payload(2)).await.expect("published");
    next_sample(&mut subscriber).await;
    next_sample(&mut subscriber).await;
    first.fall(&a, &b);

    let a = Node::restarted("a", 2);
    link(&a, &b, 2);
    let publisher = a.state("x");
    let stream = a.stream("y", Overflow::Block);
    let restarted = |key: &str| Delivery::Restarted {
        node: a.info.node.clone(),
        key: self::key(key),
        incarnation: Incarnation(2),
    };
    a.route("x", 2);
    assert_eq!(next(&mut subscriber).await, restarted("x"));
    a.route("y", 2);
    assert_eq!(next(&mut subscriber).await, restarted("y"));
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    stream.publish(payload(1)).await.expect("published");
    let sample = next_sample(&mut subscriber).await;
    assert_eq!((sample.seq, sample.incarnation), (1, Incarnation(2)));
}

#[tokio::test]
async fn a_key_that_is_declared_again_goes_on_where_it_ended() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let mut subscriber = b.subscribe(1, "x");
    for round in 0..3 {
        let publisher = a.stream("x", Overflow::Block);
        a.route("x", 1);
        publisher.publish(payload(round)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, round + 1);
        let closing = tokio::spawn(publisher.close());
        assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
        assert_eq!(closing.await.expect("no panic").delivered, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sample_is_lost_between_the_route_and_the_end() {
    for round in 0..200 {
        let (a, b) = (Node::new("a"), Node::new("b"));
        link(&a, &b, 1);
        let publisher = Arc::new(a.stream("x", Overflow::Block));
        let mut subscriber = b.subscribe(1, "x");
        let publishing = {
            let publisher = Arc::clone(&publisher);
            tokio::spawn(async move {
                for i in 1..=300 {
                    publisher.publish(payload(i)).await.expect("published");
                    if i % 7 == round % 7 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        };
        for _ in 0..round % 40 {
            tokio::task::yield_now().await;
        }
        a.route("x", 1);
        let mut last = None;
        loop {
            if publishing.is_finished() && last.is_none() {
                // The route came too late for any: this one is after it for sure.
                publisher.publish(payload(301)).await.expect("published");
            }
            let sample = next_sample(&mut subscriber).await;
            assert!(last.is_none_or(|last| sample.seq == last + 1));
            last = Some(sample.seq);
            if sample.seq >= 300 {
                break;
            }
        }
        publishing.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_after_the_route_was_added_is_sent_although_close_follows() {
    for _ in 0..100 {
        let (a, b) = (Node::new("a"), Node::new("b"));
        link(&a, &b, 1);
        let publisher = a.stream("x", Overflow::Block);
        let mut subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        drop(publisher);
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
    }
}

#[tokio::test]
async fn a_leaving_node_delivers_before_it_goes_and_what_it_sent_is_read() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=50 {
        publisher.publish(payload(i)).await.expect("published");
    }
    wires.there.shut();
    let leaving = a.plane.clone();
    let finishing =
        tokio::spawn(async move { leaving.finish(Instant::now() + Duration::from_secs(1)).await });
    until("the end is sent", || publisher.interest().subscribers() == 0).await;
    b.plane.link_closed(LinkId(1), true);
    wires.there.open();
    for i in 1..=50 {
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
    }
    assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
    finishing.await.expect("no panic");
    assert!(publisher.publish(payload(0)).await.is_err());
}

#[tokio::test]
async fn closing_tells_who_did_not_get_everything() {
    let (a, b, c) = (Node::new("a"), Node::new("b"), Node::new("c"));
    let stopped = link(&a, &b, 1);
    let fallen = link(&a, &c, 2);
    let publisher = a.stream("x", Overflow::Block);
    let _one = b.subscribe(1, "x");
    let _two = c.subscribe(1, "x");
    a.route("x", 1);
    a.route("x", 2);
    publisher.publish(payload(1)).await.expect("published");
    stopped.there.shut();
    fallen.there.shut();
    let closing = tokio::spawn(publisher.close());
    tokio::task::yield_now().await;
    fallen.fall(&a, &c);
    let Receipts { delivered, mut undelivered } = closing.await.expect("no panic");
    undelivered.sort();
    assert_eq!((delivered, undelivered), (0, vec![b.info.node.clone(), c.info.node.clone()]));
}

#[tokio::test]
async fn a_subscriber_ends_with_its_node() {
    let a = Node::new("a");
    let mut subscriber = a.subscribe(1, "x");
    let publisher = a.stream("x", Overflow::Block);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    a.plane.stop();
    while let Some(delivery) = subscriber.recv().await {
        assert!(matches!(delivery, Delivery::Ended { .. }));
    }
    assert!(publisher.publish(payload(2)).await.is_err());
    assert!(a.subscribe(2, "x").recv().await.is_none());
}

#[tokio::test]
async fn interest_that_ends_closes_the_route_and_the_alias_is_used_again() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut interest = publisher.interest();
    a.plane.first_interest(&key("x"));
    assert_eq!(interest.changed().await, Some(true));
    for round in 1..=100 {
        let mut subscriber = b.subscribe(round, "x");
        a.route("x", 1);
        publisher.publish(payload(round)).await.expect("published");
        assert_eq!(number(&next_sample(&mut subscriber).await), round);
        drop(subscriber);
        a.plane.route_removed(&key("x"), LinkId(1));
        until("the route is gone", || interest.subscribers() == 0).await;
    }
    a.plane.last_interest(&key("x"));
    until("nobody wants it", || !interest.wanted()).await;
    drop(publisher);
    while interest.changed().await.is_some() {}
    assert!(wires.there.bytes() < 100 * 100);
}

/// A lane on which nothing comes in, and how often that was found out.
struct Silent(Arc<AtomicUsize>);

impl DataReceiver for Silent {
    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        self.0.fetch_add(1, Relaxed);
        Poll::Pending
    }
}

#[tokio::test]
async fn a_link_that_drains_when_its_node_stops_keeps_nobody_busy() {
    let (node, peer) = (Node::new("a"), Node::new("b"));
    let looks = Arc::<AtomicUsize>::default();
    let (sender, _there) = Wire::default().halves();
    let receiver = Box::new(Silent(Arc::clone(&looks)));
    node.plane.link_opened(LinkId(1), peer.info.clone(), sender, receiver, || {});
    let subscriber = node.subscribe(1, "**");
    node.plane.link_closed(LinkId(1), true);
    tokio::task::yield_now().await;
    // The link's reader does not come to see this change while the node is there.
    drop(subscriber);
    drop(node);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let looks = looks.load(Relaxed);
    assert!(looks < 10, "it looked {looks} times whether something came in");
}

/// A lane on which the next frame is there whenever somebody looks.
struct Endless(Arc<AtomicUsize>);

impl DataReceiver for Endless {
    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<Result<DataFrame, TransportError>> {
        let mut frame = FrameWriter::new();
        if self.0.fetch_add(1, Relaxed) == 0 {
            frame.begin(&begin(Kind::Stream));
        }
        frame.skip(Skip { alias: 0, next_seq: 1 });
        Poll::Ready(Ok(frame.take().expect("something was written")))
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_drains_is_read_for_a_while_and_not_beyond_its_node() {
    for stops in [false, true] {
        let (node, peer) = (Node::new("b"), Node::new("a"));
        let looks = Arc::<AtomicUsize>::default();
        let (sender, _there) = Wire::default().halves();
        let receiver = Box::new(Endless(Arc::clone(&looks)));
        node.plane.link_opened(LinkId(1), peer.info.clone(), sender, receiver, || {});
        node.plane.link_closed(LinkId(1), true);
        let looks = async || {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            looks.load(Relaxed)
        };
        let before = looks().await;
        assert!(before < looks().await, "what was sent before is still read");
        if stops {
            node.plane.stop();
        } else {
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        let end = looks().await;
        assert_eq!(looks().await, end, "it reads on; stopped: {stops}");
    }
}

#[tokio::test]
async fn what_is_left_on_a_replaced_link_takes_nothing_from_its_successor() {
    for kind in [Kind::Stream, Kind::State] {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let replaced = link(&a, &b, 1);
        link(&a, &b, 2);
        let publisher = a.publisher("x", kind, Overflow::Block, 0);
        let mut subscriber = b.subscribe(1, "x");
        a.route("x", 2);
        for i in 1..=2 {
            publisher.publish(payload(i)).await.expect("published");
            assert_eq!(next_sample(&mut subscriber).await.seq, i);
        }
        // The other end lost link 1 and this one has not noticed: it is closed only now.
        b.plane.link_closed(LinkId(1), true);
        let mut late = FrameWriter::new();
        late.begin(&begin(kind));
        late.sample(0, 1, 0, payload(1));
        let received = b.plane.counters().samples_received;
        replaced.there.forge(late.take().expect("something was written"));
        until("it is read", || b.plane.counters().samples_received > received).await;
        publisher.publish(payload(3)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, 3);
        // Nor does it with a subscription that both links feed.
        let mut late = b.subscribe(2, "x");
        publisher.publish(payload(4)).await.expect("published");
        while next_sample(&mut late).await.seq != 4 {}
    }
}

fn begin(kind: Kind) -> Begin {
    let (incarnation, encoding) = (Incarnation(1), "text/plain".into());
    Begin { alias: 0, key: key("x"), kind, encoding, incarnation, next_seq: 1 }
}

#[tokio::test]
async fn a_node_that_was_forgotten_is_heard_as_if_for_the_first_time() {
    for forgotten in [false, true] {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let first = link(&a, &b, 1);
        let publisher = a.stream("x", Overflow::Block);
        let mut subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        first.fall(&a, &b);
        until("the route is gone", || publisher.interest().subscribers() == 0).await;
        publisher.publish(payload(2)).await.expect("published");
        if forgotten {
            b.plane.peer_forgotten(&a.info.node);
        }
        link(&a, &b, 2);
        a.route("x", 2);
        publisher.publish(payload(3)).await.expect("published");
        let is_gap = matches!(next(&mut subscriber).await, Delivery::Gap { .. });
        assert_eq!(is_gap, !forgotten);
    }
}
