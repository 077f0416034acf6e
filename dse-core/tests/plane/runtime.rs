//! What the runtime around the machines promises: few locks, tasks whose panics end one link,
//! nothing left behind, batches, headers.

use std::time::Duration;

use bytes::Bytes;
use dse_core::node::plane::{LaneError, locks_taken};
use dse_core::node::{Delivery, Headers, Overflow};
use dse_core::protocol::LinkId;
use tokio::time::timeout;

use super::world::*;

#[tokio::test(start_paused = true)]
async fn a_lone_sample_takes_at_most_three_locks_from_publish_to_recv() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=100 {
        let receiving = tokio::spawn(async move {
            let sample = next_sample(&mut subscriber).await;
            (sample.seq, locks_taken(), subscriber)
        });
        settle().await;
        let before = locks_taken();
        publisher.publish(payload(i)).await.expect("published");
        let (seq, after, back) = receiving.await.expect("no panic");
        subscriber = back;
        // The first brings Begin, and the 16th makes the subscriber's node give its first credit.
        assert!(
            i == 1 || i == 16 || after - before <= 3,
            "sample {i} took {} locks",
            after - before
        );
        assert_eq!(seq, i);
    }
}

#[tokio::test(start_paused = true)]
async fn the_locks_of_a_publish_do_not_grow_with_the_subscribers() {
    let a = Node::new("a");
    let publisher = a.stream("x", Overflow::Block);
    let nodes: Vec<_> = (1..=8).map(|id| (id, Node::new(&format!("b{id}")))).collect();
    let mut subscribers = Vec::new();
    for (id, node) in &nodes {
        link(&a, node, *id);
        subscribers.push(node.subscribe(1, "x"));
        a.route("x", *id);
    }
    for i in 1..=20 {
        settle().await;
        let before = locks_taken();
        publisher.publish(payload(i)).await.expect("published");
        let taken = locks_taken() - before;
        assert!(taken <= 3, "{taken} locks");
        for subscriber in &mut subscribers {
            assert_eq!(next_sample(subscriber).await.seq, i);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_task_of_a_link_ends_that_link_and_nothing_else() {
    for in_the_reader in [true, false] {
        let (mut a, mut b, c) = (Node::new("a"), Node::new("b"), Node::new("c"));
        let wires = link(&a, &b, 1);
        link(&a, &c, 2);
        let publisher = a.stream("x", Overflow::Block);
        let mut hit = b.subscribe(1, "x");
        let mut other = c.subscribe(1, "x");
        a.route("x", 1);
        a.route("x", 2);
        settle().await;
        let node = if in_the_reader {
            wires.there.panic_in_receiver();
            &mut b
        } else {
            wires.there.panic_in_sender();
            &mut a
        };
        publisher.publish(payload(1)).await.expect("published");
        let fault = timeout(Duration::from_secs(20), node.faults.recv()).await;
        let fault = fault.expect("a fault was due").expect("the plane lives");
        assert_eq!(fault.link, LinkId(1));
        assert!(matches!(fault.error, LaneError::Panicked(_)), "{}", fault.error);
        assert!(fault.error.to_string().contains("part of the test"), "{}", fault.error);
        assert!(node.faults.try_recv().is_err(), "it is told once");
        assert_eq!(next_sample(&mut other).await.seq, 1);
        // The driver closes the link, and another takes its place.
        wires.fall(&a, &b);
        link(&a, &b, 3);
        a.route("x", 3);
        publisher.publish(payload(2)).await.expect("published");
        let mut seqs = Vec::new();
        while seqs.len() < 2 {
            match next(&mut hit).await {
                Delivery::Sample(sample) => seqs.push(sample.seq),
                Delivery::Lost { .. } | Delivery::Back { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
        assert_eq!((seqs, next_sample(&mut other).await.seq), (vec![1, 2], 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_published_in_order_and_waits_as_its_samples_do() {
    let (a, b) = (Node::patient("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let publishing = tokio::spawn(async move {
        let batch = publisher.publish_batch((1..=200_000).map(payload)).await;
        (batch, publisher.close().await)
    });
    for i in 1..=200_000 {
        let sample = next_sample(&mut subscriber).await;
        assert_eq!((sample.seq, number(&sample)), (i, i));
    }
    assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
    let (batch, report) = publishing.await.expect("no panic");
    assert_eq!((batch, told(&report)), (Ok(()), confirmed(1)));
}

#[tokio::test]
async fn a_batch_tells_how_many_came_before_one_that_is_too_long() {
    let a = Node::new("a");
    let publisher = a.stream("x", Overflow::Block);
    let longer = Bytes::from(vec![0; dse_core::data::limits::PAYLOAD_BYTES + 1]);
    let refused = publisher.publish_batch([payload(1), payload(2), longer, payload(3)]).await;
    assert!(matches!(refused, Err((2, _))), "{refused:?}");
}

#[tokio::test]
async fn headers_arrive_with_their_samples_whole_and_in_fragments() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let state = a.state("y");
    let mut subscriber = b.subscribe(1, "*");
    a.route("x", 1);
    a.route("y", 1);
    let headers = Headers::from_pairs([("trace", "1"), ("unit", "K")]).expect("headers");
    for publisher in [&publisher, &state] {
        for len in [3, 1024 * 1024] {
            let payload = Bytes::from(vec![7; len]);
            publisher.publish_with(headers.clone(), payload).await.expect("published");
            let sample = next_sample(&mut subscriber).await;
            assert_eq!((&sample.headers, sample.payload.len()), (&headers, len));
            assert_eq!(sample.headers.get("unit"), Some(&b"K"[..]));
        }
        publisher.publish(payload(1)).await.expect("published");
        assert!(next_sample(&mut subscriber).await.headers.is_empty());
    }
}
