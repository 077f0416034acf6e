//! Subscribers that are slower than their publisher, or take nothing at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dse_core::node::{Delivery, Overflow, PublishError, Subscriber, UnconfirmedCause};

use super::world::*;

/// Takes everything up to the end of the sequence. Returns how many samples came and how
/// many were reported as lost, and checks that nothing is missing in between.
async fn drain(subscriber: &mut Subscriber) -> (u64, u64) {
    let (mut samples, mut lost, mut last) = (0, 0, 0);
    loop {
        match next(subscriber).await {
            Delivery::Sample(sample) => {
                assert_eq!(sample.seq, last + 1, "a silent gap");
                last = sample.seq;
                samples += 1;
            }
            Delivery::Gap { from_seq, to_seq, .. } => {
                assert_eq!(from_seq, last + 1, "a gap that does not fit");
                // One that is still open is told again.
                let Some(to_seq) = to_seq else { continue };
                last = to_seq;
                lost += to_seq - from_seq + 1;
            }
            Delivery::Ended { .. } => return (samples, lost),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn block_waits_for_a_subscriber_that_keeps_taking_samples() {
    let (a, b) = (Node::patient("a"), Node::patient("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let publishing = tokio::spawn(async move {
        for i in 1..=500 {
            publisher.publish(payload(i)).await.expect("published");
        }
        publisher.close().await
    });
    // Together much longer than the stall timeout.
    for i in 1..=400 {
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(drain_rest(&mut subscriber, 400).await, 100);
    assert_eq!(told(&publishing.await.expect("no panic")), confirmed(1));
    assert_eq!(a.plane.counters().stalls, 0);
}

async fn drain_rest(subscriber: &mut Subscriber, mut last: u64) -> u64 {
    let before = last;
    while let Delivery::Sample(sample) = next(subscriber).await {
        assert_eq!(sample.seq, last + 1);
        last = sample.seq;
    }
    last - before
}

#[tokio::test]
async fn who_takes_nothing_is_stalled_then_catches_up_and_is_told_its_gap_at_once() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let start = Instant::now();
    for i in 1..=300_000 {
        publisher.publish(payload(i)).await.expect("published");
    }
    assert!(start.elapsed() >= STALL, "it did not wait at all");
    assert_eq!(a.plane.counters().stalls, 1);
    // Nothing is published any more, and still it is told.
    let (mut last, mut gap) = (0, None);
    while gap.is_none() {
        match next(&mut subscriber).await {
            Delivery::Sample(sample) => {
                assert_eq!(sample.seq, last + 1);
                last = sample.seq;
            }
            Delivery::Gap { from_seq, to_seq, .. } => {
                assert_eq!(from_seq, last + 1);
                gap = to_seq.map(|to_seq| to_seq - from_seq + 1);
                last = to_seq.unwrap_or(last);
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    // What the log still had follows the gap.
    while last < 300_000 {
        last += 1;
        assert_eq!(next_sample(&mut subscriber).await.seq, last);
    }
    assert_eq!(Some(a.plane.counters().drops), gap);
    publisher.publish(payload(0)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 300_001);
}

/// Nobody gets the processor until all that can be done without time passing is done.
async fn settled() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stood_still_takes_no_subscriber_for_stalled() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let publishing = tokio::spawn(async move {
        for i in 1..=100_000 {
            publisher.publish(payload(i)).await.expect("published");
        }
        publisher
    });
    settled().await;
    assert!(!publishing.is_finished(), "it waits for the subscriber");
    tokio::time::advance(STALL * 10).await;
    settled().await;
    for i in 1..=100_000 {
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
    }
    let publisher = publishing.await.expect("no panic");

    // So it is while it waits for one more to be taken, and for the end.
    publisher.publish(payload(0)).await.expect("published");
    let flushing = tokio::spawn(async move { (publisher.flush().await, publisher) });
    settled().await;
    tokio::time::advance(STALL * 10).await;
    settled().await;
    assert!(!flushing.is_finished(), "it waits again");
    assert_eq!(next_sample(&mut subscriber).await.seq, 100_001);
    let (flushed, publisher) = flushing.await.expect("no panic");
    let closing = tokio::spawn(publisher.close());
    settled().await;
    tokio::time::advance(STALL * 10).await;
    settled().await;
    assert!(!closing.is_finished(), "it waits again");
    assert!(matches!(next(&mut subscriber).await, Delivery::Ended { .. }));
    assert_eq!(told(&flushed), confirmed(1));
    assert_eq!(told(&closing.await.expect("no panic")), confirmed(1));
    assert_eq!(a.plane.counters().stalls, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_link_slows_no_other_key_and_no_other_link() {
    let (a, b, c) = (Node::new("a"), Node::new("b"), Node::new("c"));
    let stopped = link(&a, &b, 1);
    link(&a, &c, 2);
    let x = a.stream("x", Overflow::Block);
    let y = a.stream("y", Overflow::Block);
    let mut dead = b.subscribe(1, "x");
    let mut live = c.subscribe(1, "y");
    a.route("x", 1);
    a.route("y", 2);
    stopped.there.shut();
    let blocked = tokio::spawn(async move {
        for i in 1..=100_000 {
            x.publish(payload(i)).await.expect("published");
        }
        x
    });
    let start = Instant::now();
    for i in 1..=100_000 {
        y.publish(payload(i)).await.expect("published");
        if i % 32 == 0 {
            for _ in 0..32 {
                next_sample(&mut live).await;
            }
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    let x = blocked.await.expect("no panic");
    stopped.there.open();
    let closing = tokio::spawn(x.close());
    let (samples, lost) = drain(&mut dead).await;
    assert_eq!(samples + lost, 100_000);
    assert!(lost > 0);
    let closed = closing.await.expect("no panic");
    assert_eq!(told(&closed), unconfirmed(&b, UnconfirmedCause::Stalled));
}

async fn drops_are_reported(overflow: Overflow) {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", overflow);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let (mut last, mut lost) = (0, 0);
    let mut take = |delivery| match delivery {
        Delivery::Sample(sample) => {
            assert_eq!(sample.seq, last + 1, "a silent gap");
            last = sample.seq;
            None
        }
        Delivery::Gap { from_seq, to_seq, .. } => {
            assert_eq!(from_seq, last + 1, "a gap that does not fit");
            if let Some(to_seq) = to_seq {
                last = to_seq;
                lost += to_seq - from_seq + 1;
            }
            None
        }
        Delivery::Ended { .. } => Some((last, lost)),
        other => panic!("unexpected: {other:?}"),
    };
    for round in 0..20_u64 {
        for i in 1..=10_000 {
            publisher.publish(payload(round * 10_000 + i)).await.expect("published");
        }
        // Now and then the subscriber takes some.
        for delivery in (0..round).map_while(|_| subscriber.try_recv()) {
            take(delivery);
        }
    }
    drop(publisher);
    let (last, lost) = loop {
        if let Some(taken) = take(next(&mut subscriber).await) {
            break taken;
        }
    };
    assert_eq!(last, 200_000);
    assert!(lost > 0);
    assert_eq!(a.plane.counters().drops, lost);
}

#[tokio::test]
async fn what_drop_oldest_drops_is_what_is_reported() {
    drops_are_reported(Overflow::DropOldest).await;
}

#[tokio::test]
async fn what_drop_newest_drops_is_what_is_reported() {
    drops_are_reported(Overflow::DropNewest).await;
}

#[tokio::test]
async fn a_state_is_conflated_without_a_gap_and_the_latest_arrives() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.state("x");
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=100_000 {
        publisher.publish(payload(i)).await.expect("published");
    }
    let (mut last, mut samples) = (0, 0);
    while last < 100_000 {
        let sample = next_sample(&mut subscriber).await;
        assert!(sample.seq > last);
        assert_eq!(number(&sample), sample.seq);
        last = sample.seq;
        samples += 1;
    }
    assert!(samples < 10_000, "{samples} of 100,000 were never replaced");
    assert_eq!((a.plane.counters().drops, b.plane.counters().gaps), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_subscribers_on_one_node_the_slow_one_loses_and_the_fast_one_does_not() {
    let (a, b) = (Node::patient("a"), Node::patient("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut slow = b.subscribe(1, "x");
    let mut fast = b.subscribe(2, "x");
    a.route("x", 1);
    let publishing = tokio::spawn(async move {
        for i in 1..=100_000 {
            publisher.publish(payload(i)).await.expect("published");
        }
        publisher.close().await
    });
    assert_eq!(drain(&mut fast).await, (100_000, 0));
    assert_eq!(a.plane.counters().stalls, 0);
    let (samples, lost) = drain(&mut slow).await;
    assert_eq!(samples + lost, 100_000);
    assert!(lost > 0 && samples > 0, "{samples} came, {lost} were lost");
    let report = publishing.await.expect("no panic");
    assert_eq!(told(&report), unconfirmed(&b, UnconfirmedCause::Evicted));
}

#[tokio::test]
async fn try_publish_never_waits() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let mut published = 0;
    while publisher.try_publish(payload(published + 1)).is_ok() {
        published += 1;
        tokio::task::yield_now().await;
    }
    assert!(published >= 64);
    let refused = publisher.try_publish(payload(0));
    assert_eq!(refused, Err(PublishError::WouldBlock(key("x"))));
    for i in 1..=published {
        assert_eq!(number(&next_sample(&mut subscriber).await), i);
    }
    until("there is credit again", || publisher.try_publish(payload(0)).is_ok()).await;
}

#[tokio::test]
async fn what_a_stopped_subscriber_costs_is_bounded() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let stopped = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let _subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    stopped.there.shut();
    // 1 GiB of payload.
    let held = Arc::<()>::default();
    for _ in 0..16 * 1024 {
        let sample = bytes::Bytes::from_owner(Held(Arc::clone(&held)));
        publisher.publish(sample).await.expect("published");
    }
    let held = Arc::strong_count(&held);
    assert!(held * 64 * 1024 <= 8 * 1024 * 1024, "{held} samples are held");
}

/// 64 KiB that count as long as somebody holds them.
struct Held(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &[0; 64 * 1024]
    }
}

#[tokio::test]
async fn a_sample_as_long_as_allowed_passes_and_one_longer_is_refused() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    let longest = bytes::Bytes::from(vec![7; dse_core::data::limits::PAYLOAD_BYTES]);
    for i in 1..=2 {
        publisher.publish(longest.clone()).await.expect("published");
        let sample = next_sample(&mut subscriber).await;
        assert_eq!((sample.seq, sample.payload.len()), (i, longest.len()));
    }
    let longer = publisher.publish(vec![7; longest.len() + 1].into()).await;
    assert!(matches!(longer, Err(PublishError::TooLong { .. })));
}
