//! Links that fall and come back, nodes that restart or leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use dse_core::data::{DataFrame, FrameWriter, Skip, SkipReason};
use dse_core::node::{Delivery, Overflow, UnconfirmedCause};
use dse_core::protocol::{Incarnation, InterestOptions, Kind, LinkId};
use dse_core::transport::{DataReceiver, TransportError};
use tokio::time::Instant;

use super::lane::Wire;
use super::world::*;

/// What a subscriber is told of sources, in short.
fn fate(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Lost { .. } => "lost",
        Delivery::Left { .. } => "left",
        Delivery::Back { .. } => "back",
        Delivery::Ended { .. } => "ended",
        other => panic!("unexpected: {other:?}"),
    }
}

/// Everything up to the end of the sequence: samples without a gap or duplicate from this
/// number on, and how often the source was lost and back.
async fn all_from(subscriber: &mut dse_core::node::Subscriber, first: u64) -> (u64, u64) {
    let (mut due, mut lost) = (first, 0);
    loop {
        match next(subscriber).await {
            Delivery::Sample(sample) => {
                assert_eq!((sample.seq, number(&sample)), (due, due));
                due += 1;
            }
            Delivery::Lost { .. } => {
                lost += 1;
                assert!(matches!(next(subscriber).await, Delivery::Back { .. }));
            }
            Delivery::Ended { .. } => return (due - 1, lost),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_stream_goes_on_over_a_new_link_without_gap_or_duplicate() {
    // The link falls with samples taken, on their way, and not yet published.
    for (taken, before) in [(0, 0), (0, 1), (1, 1), (3, 10), (10, 10)] {
        for closes_meanwhile in [true, false] {
            let (a, b) = (Node::new("a"), Node::new("b"));
            let first = link(&a, &b, 1);
            let publisher = a.stream("x", Overflow::Block);
            let mut subscriber = b.subscribe(1, "x");
            a.route("x", 1);
            for i in 1..=before {
                publisher.publish(payload(i)).await.expect("published");
            }
            settle().await;
            for seq in 1..=taken {
                assert_eq!(next_sample(&mut subscriber).await.seq, seq);
            }
            first.there.shut();
            for i in before + 1..=20 {
                publisher.publish(payload(i)).await.expect("published");
            }
            settle().await;
            first.fall(&a, &b);
            settle().await;
            for i in 21..=30 {
                publisher.publish(payload(i)).await.expect("published");
            }
            let close = async { publisher.close().await };
            let closing;
            if closes_meanwhile {
                closing = tokio::spawn(close);
                settle().await;
                link(&a, &b, 2);
                a.route("x", 2);
            } else {
                link(&a, &b, 2);
                a.route("x", 2);
                settle().await;
                closing = tokio::spawn(close);
            }
            let (last, _) = all_from(&mut subscriber, taken + 1).await;
            assert_eq!(last, 30, "{taken} of {before}, closes: {closes_meanwhile}");
            assert_eq!(told(&closing.await.expect("no panic")), confirmed(1));
            let (here, there) = (a.plane.counters(), b.plane.counters());
            assert_eq!((here.drops, here.stalls, there.gaps), (0, 0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_after_the_link_fell_is_confirmed_over_the_next() {
    for kind in [Kind::Stream, Kind::State] {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let first = link(&a, &b, 1);
        let publisher = a.publisher("x", kind, Overflow::Block, 0);
        let mut subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        settle().await;
        first.fall(&a, &b);
        settle().await;
        link(&a, &b, 2);
        a.route("x", 2);
        settle().await;
        // The sample came over the first link, and is taken while there is the second.
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        assert_eq!(fate(next(&mut subscriber).await), "lost");
        assert_eq!(fate(next(&mut subscriber).await), "back");
        // Of a state the value came again, for subscriptions that may have none.
        assert_eq!(subscriber.try_recv(), None);
        assert_eq!(told(&publisher.flush().await), confirmed(1), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_replaced_while_it_is_up_leaves_no_gap_and_is_not_lost() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    let mut published = 0;
    let mut before = None;
    for id in 1..=5 {
        let now = link(&a, &b, id);
        a.route("x", id);
        for _ in 0..7 {
            published += 1;
            publisher.publish(payload(published)).await.expect("published");
        }
        // Control closes the older one once both ends know of the newer.
        if let Some(before) = before.replace(now) {
            let before: Link = before;
            for end in [&a, &b] {
                end.plane.link_closed(LinkId(before.id), false);
            }
        }
        if id % 2 == 0 {
            settle().await;
        }
    }
    let closing = tokio::spawn(publisher.close());
    assert_eq!(all_from(&mut subscriber, 1).await, (published, 0));
    assert_eq!(told(&closing.await.expect("no panic")), confirmed(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_a_lost_link_goes_after_the_stall_timeout_and_the_gap_is_told() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let first = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    first.fall(&a, &b);
    for i in 2..=5 {
        publisher.publish(payload(i)).await.expect("published");
    }
    assert_eq!(told(&publisher.flush().await), unconfirmed(&b, UnconfirmedCause::Lost));
    link(&a, &b, 2);
    a.route("x", 2);
    publisher.publish(payload(6)).await.expect("published");
    assert_eq!(fate(next(&mut subscriber).await), "lost");
    assert_eq!(fate(next(&mut subscriber).await), "back");
    match next(&mut subscriber).await {
        Delivery::Gap { origin, from_seq: 2, to_seq: Some(5), reason: SkipReason::Lost } => {
            assert_eq!((&origin.node, &origin.key), (&a.info.node, &key("x")));
        }
        other => panic!("unexpected: {other:?}"),
    }
    assert_eq!(next_sample(&mut subscriber).await.seq, 6);
}

#[tokio::test(start_paused = true)]
async fn history_repairs_the_gap_and_what_came_twice_is_dropped() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let first = link(&a, &b, 1);
    let publisher = a.publisher("x", Kind::Stream, Overflow::DropOldest, 10);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=3 {
        publisher.publish(payload(i)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
    }
    first.fall(&a, &b);
    settle().await;
    for i in 4..=8 {
        publisher.publish(payload(i)).await.expect("published");
    }
    link(&a, &b, 2);
    a.route("x", 2);
    assert_eq!(fate(next(&mut subscriber).await), "lost");
    assert_eq!(fate(next(&mut subscriber).await), "back");
    for i in 4..=8 {
        assert_eq!(next_sample(&mut subscriber).await.seq, i);
    }
    let mut late = b.subscribe(2, "x");
    publisher.publish(payload(9)).await.expect("published");
    assert_eq!(next_sample(&mut late).await.seq, 9);
    assert_eq!(b.plane.counters().gaps, 0);
}

#[tokio::test(start_paused = true)]
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
    assert_eq!(fate(next(&mut subscriber).await), "lost");
    assert_eq!(fate(next(&mut subscriber).await), "back");
    assert_eq!(next_sample(&mut subscriber).await.seq, 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_waits_for_its_interval_comes_before_its_link_is_gone() {
    for comes_back_first in [true, false] {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let first = link(&a, &b, 1);
        let publisher = a.state("x");
        let mut options = InterestOptions::default();
        options.min_interval = Duration::from_secs(3600);
        let mut subscriber = b.subscribe_with(1, "x", options);
        // The route asks for nothing: another subscription of the node may be for every value.
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        publisher.publish(payload(2)).await.expect("published");
        settle().await;
        assert!(subscriber.try_recv().is_none(), "it waits for its interval");
        if comes_back_first {
            link(&a, &b, 2);
            a.route("x", 2);
            settle().await;
        }
        first.fall(&a, &b);
        settle().await;
        assert_eq!(next_sample(&mut subscriber).await.seq, 2);
        if comes_back_first {
            // The value came again, for subscriptions that may have none.
            assert_eq!(subscriber.try_recv(), None);
            assert_eq!(told(&publisher.flush().await), confirmed(1));
        } else {
            assert_eq!(fate(next(&mut subscriber).await), "lost");
        }
    }
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
    assert_eq!(fate(next(&mut subscriber).await), "lost");
    assert_eq!(fate(next(&mut subscriber).await), "lost");
    for key in ["x", "y"] {
        a.route(key, 2);
        match next(&mut subscriber).await {
            Delivery::Restarted { origin } => {
                assert_eq!(origin.key, self::key(key));
                assert_eq!((&origin.node, origin.incarnation), (&a.info.node, Incarnation(2)));
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    stream.publish(payload(1)).await.expect("published");
    let sample = next_sample(&mut subscriber).await;
    assert_eq!((sample.seq, sample.origin.incarnation), (1, Incarnation(2)));
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
        assert_eq!(told(&closing.await.expect("no panic")), confirmed(1));
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

#[tokio::test(start_paused = true)]
async fn closing_tells_who_did_not_get_everything_and_why() {
    let (a, b, c, d) = (Node::new("a"), Node::new("b"), Node::new("c"), Node::new("d"));
    let links = [link(&a, &b, 1), link(&a, &c, 2), link(&a, &d, 3)];
    let publisher = a.stream("x", Overflow::Block);
    let _subscribers = [&b, &c, &d].map(|node| node.subscribe(1, "x"));
    links.iter().for_each(|link| link.there.shut());
    (1..=3).for_each(|link| a.route("x", link));
    publisher.publish(payload(1)).await.expect("published");
    let closing = tokio::spawn(publisher.close());
    tokio::task::yield_now().await;
    links[1].fall(&a, &c);
    a.plane.link_closed(LinkId(3), true);
    links[2].back.cut();
    let report = closing.await.expect("no panic");
    let mut unconfirmed = told(&report).1;
    unconfirmed.sort();
    let causes = [UnconfirmedCause::Stalled, UnconfirmedCause::Lost, UnconfirmedCause::Left];
    let nodes = [&b, &c, &d].map(|node| node.info.node.clone());
    assert_eq!(unconfirmed, nodes.into_iter().zip(causes).collect::<Vec<_>>());
    assert_eq!(report.confirmed, 0);
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
async fn interest_that_ends_closes_the_route_and_one_that_comes_begins_it_anew() {
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

/// What is published after a key is wanted anew is for who wants it, although the link falls
/// before the sequence has begun again there.
#[tokio::test]
async fn who_wants_a_key_anew_misses_nothing_of_it_when_the_link_falls() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let first = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let interest = publisher.interest();
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    drop(subscriber);
    a.plane.route_removed(&key("x"), LinkId(1));
    until("the route is gone", || interest.subscribers() == 0).await;
    settle().await;
    let mut subscriber = b.subscribe(2, "x");
    first.there.shut();
    a.route("x", 1);
    publisher.publish(payload(2)).await.expect("published");
    settle().await;
    first.fall(&a, &b);
    settle().await;
    link(&a, &b, 2);
    a.route("x", 2);
    assert_eq!(next_sample(&mut subscriber).await.seq, 2);
    assert_eq!(told(&publisher.close().await), confirmed(1));
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
    node.plane.link_opened(LinkId(1), peer.info.clone(), sender, receiver, |_now| {});
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
            frame.begin(&begin(1, "x", Kind::Stream));
        }
        frame.skip(Skip { sequence: 1, next_seq: 1, reason: SkipReason::Policy });
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
        node.plane.link_opened(LinkId(1), peer.info.clone(), sender, receiver, |_now| {});
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
        late.begin(&begin(1, "x", kind));
        sample(&mut late, 1, 1, payload(1));
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

#[tokio::test(start_paused = true)]
async fn a_node_that_was_forgotten_is_heard_as_if_for_the_first_time() {
    for forgotten in [false, true] {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let first = link(&a, &b, 1);
        let publisher = a.stream("x", Overflow::DropOldest);
        let mut subscriber = b.subscribe(1, "x");
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        first.fall(&a, &b);
        settle().await;
        publisher.publish(payload(2)).await.expect("published");
        if forgotten {
            b.plane.peer_forgotten(&a.info.node);
        }
        link(&a, &b, 2);
        a.route("x", 2);
        publisher.publish(payload(3)).await.expect("published");
        assert_eq!(fate(next(&mut subscriber).await), "lost");
        if !forgotten {
            assert_eq!(fate(next(&mut subscriber).await), "back");
            assert!(matches!(next(&mut subscriber).await, Delivery::Gap { .. }));
        }
        assert_eq!(next_sample(&mut subscriber).await.seq, 3);
    }
}
