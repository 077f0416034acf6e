//! What subscribers get: order, once, present state, gaps, restarts, ends.

use dse_core::node::plane::PlaneRequest;
use dse_core::node::{Delivery, Overflow};
use dse_core::protocol::{Kind, LinkId};
use tokio::time::Instant;

use super::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_arrive_in_order_and_once() {
    let (a, b) = (Node::patient("a"), Node::patient("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x/y", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x/**");
    a.route("x/y", 1);
    let publishing = tokio::spawn(async move {
        for i in 1..=100_000 {
            publisher.publish(payload(i)).await.expect("published");
        }
        publisher.close().await
    });
    for i in 1..=100_000 {
        let sample = next_sample(&mut subscriber).await;
        assert_eq!((sample.seq, number(&sample)), (i, i));
    }
    assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
    let closed = publishing.await.expect("no panic");
    assert_eq!(told(&closed), confirmed(1));
}

#[tokio::test]
async fn an_idle_state_begins_at_a_new_route_with_its_present_value() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let publisher = a.state("x");
    for i in 1..=3 {
        publisher.publish(payload(i)).await.expect("published");
    }
    link(&a, &b, 1);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let sample = next_sample(&mut subscriber).await;
    assert_eq!((sample.origin.kind, sample.seq, number(&sample)), (Kind::State, 3, 3));
}

#[tokio::test]
async fn a_state_that_was_forgotten_begins_with_what_comes_next() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let publisher = a.state("x");
    publisher.publish(payload(1)).await.expect("published");
    publisher.forget();
    link(&a, &b, 1);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let mut interest = publisher.interest();
    while interest.subscribers() == 0 {
        interest.changed().await.expect("open");
    }
    publisher.publish(payload(2)).await.expect("published");
    let sample = next_sample(&mut subscriber).await;
    assert_eq!((sample.seq, number(&sample)), (2, 2));
}

#[tokio::test]
async fn a_second_subscription_gets_the_present_value_of_an_idle_state() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.state("x");
    let mut first = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(7)).await.expect("published");
    assert_eq!(next_sample(&mut first).await.seq, 1);
    let mut second = b.subscribe(2, "*");
    assert_eq!(number(&next_sample(&mut second).await), 7);
}

#[tokio::test]
async fn a_subscriber_that_leaves_after_its_last_sample_has_it() {
    // Control may overtake the last credit: before or after the publisher is closed.
    for closes_first in [true, false] {
        let (a, b) = (Node::patient("a"), Node::new("b"));
        link(&a, &b, 1);
        let publisher = a.stream("x", Overflow::Block);
        let mut subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        b.plane.finish(Instant::now()).await;
        let closed = if closes_first {
            let closing = tokio::spawn(publisher.close());
            tokio::task::yield_now().await;
            a.plane.link_closed(LinkId(1), true);
            closing.await.expect("no panic")
        } else {
            a.plane.link_closed(LinkId(1), true);
            tokio::task::yield_now().await;
            publisher.close().await
        };
        assert_eq!(told(&closed), confirmed(1), "{closes_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_answers_each_sample_writes_by_itself() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let (ping, pong) = (a.stream("ping", Overflow::Block), b.stream("pong", Overflow::Block));
    let (mut pings, mut pongs) = (b.subscribe(1, "ping"), a.subscribe(1, "pong"));
    a.route("ping", 1);
    b.route("pong", 1);
    for i in 1..=100 {
        ping.publish(payload(i)).await.expect("published");
        assert_eq!(next_sample(&mut pings).await.seq, i);
        let before = wires.back.bytes();
        pong.publish(payload(i)).await.expect("published");
        // The first credit makes the writing task start its timer, which takes what that
        // task would do otherwise out of all further turns.
        assert!(i <= 2 || wires.back.bytes() > before, "the task had to write pong {i}");
        assert_eq!(next_sample(&mut pongs).await.seq, i);
    }
}

#[tokio::test]
async fn publisher_and_subscriber_of_one_node_find_each_other() {
    let mut a = Node::new("a");
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = a.subscribe(1, "x");
    publisher.publish(payload(1)).await.expect("published");
    let sample = next_sample(&mut subscriber).await;
    assert_eq!((&sample.origin.node, number(&sample)), (&a.info.node, 1));
    drop(subscriber);
    publisher.publish(payload(2)).await.expect("published");
    assert_eq!(publisher.close().await.unconfirmed, []);
    let unsubscribed = a.requests.recv().await.expect("a request");
    assert!(matches!(unsubscribed, PlaneRequest::Unsubscribe(_)));
    assert_eq!(a.requests.recv().await, Some(PlaneRequest::Undeclare(key("x"))));
}
