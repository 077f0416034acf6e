//! Who has everything, however its route ended: withdrawal, credit, last credit and fall in
//! every order (PROTOCOL.md §9.8).

use std::sync::Arc;

use dse_core::data::Credit;
use dse_core::node::{DeliveryReport, Overflow, Publisher, UnconfirmedCause};
use dse_core::protocol::{Kind, LinkId};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::world::*;

/// What happens to a publisher's only route. The subscriber was sent one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The publisher begins to close, or to flush.
    Ask,
    /// The subscriber's withdrawal comes in.
    Withdraw,
    /// Its credit for the sample comes in.
    Credit,
    /// The last credit comes in, with this number.
    LastCredit(u64),
    /// The link falls.
    Fall,
    /// The link ends after the peer has left.
    Leave,
}

use Step::*;

/// All orders of these steps.
fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    let Some((first, rest)) = steps.split_first() else { return vec![Vec::new()] };
    let insert = |order: Vec<Step>| {
        (0..=order.len()).map(move |place| {
            let mut order = order.clone();
            order.insert(place, *first);
            order
        })
    };
    orders(rest).into_iter().flat_map(insert).collect()
}

/// What one who watched all of it would say; none of what cannot happen.
fn expected(order: &[Step], closes: bool) -> Option<Told> {
    let (mut asked, mut wanted, mut taken, mut lost) = (false, true, false, None);
    let mut ended = false;
    for step in order {
        match step {
            // A link that is gone brings nothing.
            Withdraw | Credit if ended => return None,
            Withdraw => wanted = false,
            Credit => taken = true,
            Ask => asked = true,
            // Nobody says a last word of what goes on, nor one that takes back another, nor
            // comes to the end without the sample.
            LastCredit(seq) => {
                let goes_on = wanted && !(asked && closes);
                if goes_on || taken && *seq == 0 || wanted && *seq == 0 {
                    return None;
                }
                taken |= *seq == 1;
                ended = true;
            }
            Fall => (ended, lost) = (true, Some(UnconfirmedCause::Lost)),
            Leave => (ended, lost) = (true, Some(UnconfirmedCause::Left)),
        }
    }
    let peer = dse_core::protocol::NodeId::new("peer").expect("a node id");
    Some(match lost {
        _ if taken => confirmed(1),
        Some(cause) if wanted => (0, vec![(peer, cause)], 0),
        _ => withdrawn(1),
    })
}

async fn outcome(order: &[Step], closes: bool) -> DeliveryReport {
    let a = Node::new("a");
    let mut peer = Peer::of(&a, 1);
    let publisher = a.stream("x", Overflow::Block);
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    peer.frame().await;
    let mut publisher = Some(Arc::new(publisher));
    let mut asked: Option<JoinHandle<DeliveryReport>> = None;
    for step in order {
        match *step {
            Ask => asked = publisher.take().map(|publisher| ask(publisher, closes)),
            Withdraw => a.plane.route_removed(&key("x"), LinkId(1)),
            Credit => peer.credit(1),
            LastCredit(seq) => peer.last_credit(seq),
            Fall => a.plane.link_closed(LinkId(1), false),
            Leave => {
                a.plane.link_closed(LinkId(1), true);
                peer.end();
            }
        }
        settle().await;
    }
    let start = Instant::now();
    let report = asked.expect("it was asked").await.expect("no panic");
    let falls = order.contains(&Fall);
    assert!(falls || start.elapsed() < STALL / 2, "all was known: {order:?}");
    report
}

fn ask(publisher: Arc<Publisher>, closes: bool) -> JoinHandle<DeliveryReport> {
    tokio::spawn(async move {
        match closes {
            true => Arc::into_inner(publisher).expect("the only one").close().await,
            false => publisher.flush().await,
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_report_says_of_each_node_what_became_of_it_in_every_order() {
    let mut tried = 0;
    for end in [LastCredit(0), LastCredit(1), Fall, Leave] {
        for closes in [true, false] {
            let withdrawing = orders(&[Ask, Withdraw, Credit, end]);
            let without_credit = orders(&[Ask, Withdraw, end]);
            let staying = orders(&[Ask, Credit, end]).into_iter().chain(orders(&[Ask, end]));
            for order in withdrawing.into_iter().chain(without_credit).chain(staying) {
                let Some(expected) = expected(&order, closes) else { continue };
                let report = outcome(&order, closes).await;
                assert_eq!(told(&report), expected, "{order:?}, closes: {closes}");
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

#[tokio::test(start_paused = true)]
async fn who_withdrew_before_the_last_sample_does_not_count() {
    for (taken, published) in [(3, 10), (10, 10), (10, 11)] {
        for withdrawal_overtakes in [true, false] {
            let (a, b) = (Node::new("a"), Node::new("b"));
            link(&a, &b, 1);
            let publisher = a.stream("x", Overflow::Block);
            let mut subscriber = b.subscribe(1, "x");
            a.route("x", 1);
            for i in 1..=10 {
                publisher.publish(payload(i)).await.expect("published");
            }
            for seq in 1..=taken {
                assert_eq!(next_sample(&mut subscriber).await.seq, seq);
            }
            drop(subscriber);
            if !withdrawal_overtakes {
                settle().await;
            }
            a.plane.route_removed(&key("x"), LinkId(1));
            for i in 11..=published {
                publisher.publish(payload(i)).await.expect("published");
            }
            let all = taken == published;
            let expected = if all { confirmed(1) } else { withdrawn(1) };
            assert_eq!(told(&publisher.close().await), expected, "{taken} of {published}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_was_dropped_confirms_nothing_that_it_did_not_take() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    for i in 1..=10 {
        publisher.publish(payload(i)).await.expect("published");
    }
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    drop(subscriber);
    settle().await;
    let closing = tokio::spawn(async move { publisher.flush().await });
    settle().await;
    wires.fall(&a, &b);
    let report = closing.await.expect("no panic");
    assert_eq!(told(&report), unconfirmed(&b, UnconfirmedCause::Lost));
}

#[tokio::test(start_paused = true)]
async fn a_node_counts_once_whatever_routes_it_had() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.publisher("x", Kind::Stream, Overflow::Block, 10);
    publisher.publish(payload(1)).await.expect("published");
    for round in 1..=5 {
        let mut subscriber = b.subscribe(round, "x");
        a.route("x", 1);
        assert_eq!(next_sample(&mut subscriber).await.seq, 1);
        drop(subscriber);
        a.plane.route_removed(&key("x"), LinkId(1));
        settle().await;
    }
    let _subscriber = b.subscribe(6, "x");
    assert_eq!(told(&publisher.close().await), confirmed(1));
}

#[tokio::test(start_paused = true)]
async fn who_came_and_went_without_a_sample_does_not_count() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    publisher.publish(payload(1)).await.expect("published");
    let subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    settle().await;
    drop(subscriber);
    a.plane.route_removed(&key("x"), LinkId(1));
    settle().await;
    assert_eq!(told(&publisher.flush().await), confirmed(0));
    assert_eq!(told(&publisher.close().await), confirmed(0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_tells_first_what_was_taken() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    let publisher = a.stream("x", Overflow::Block);
    let mut subscriber = b.subscribe(1, "x");
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    assert_eq!(next_sample(&mut subscriber).await.seq, 1);
    drop(subscriber);
    let before = wires.back.bytes();
    b.plane.finish(Instant::now() + STALL).await;
    assert!(wires.back.bytes() > before, "its credit is on its way");
    b.plane.link_closed(LinkId(1), true);
    a.plane.link_closed(LinkId(1), true);
    assert_eq!(told(&publisher.close().await), confirmed(1));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_waits_for_no_peer_that_does_not_read() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    let wires = link(&a, &b, 1);
    wires.there.shut();
    let publisher = a.stream("x", Overflow::DropOldest);
    a.route("x", 1);
    for i in 1..=10 {
        publisher.publish(payload(i)).await.expect("published");
        settle().await;
    }
    let finishing = a.plane.finish(Instant::now() + STALL);
    timeout(STALL * 2, finishing).await.expect("at the deadline");
}

#[tokio::test(start_paused = true)]
async fn credits_that_came_before_the_link_fell_count() {
    let a = Node::new("a");
    let mut peer = Peer::of(&a, 1);
    let publisher = a.stream("x", Overflow::Block);
    a.route("x", 1);
    for i in 1..=5 {
        publisher.publish(payload(i)).await.expect("published");
    }
    peer.frame().await;
    let closing = tokio::spawn(publisher.close());
    settle().await;
    for seq in 1..=5 {
        peer.credit(seq);
    }
    a.plane.link_closed(LinkId(1), false);
    assert_eq!(told(&closing.await.expect("no panic")), confirmed(1));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_that_the_fall_of_the_link_overtakes_is_one() {
    // Which of a link's tasks comes first is left to chance.
    for _ in 0..20 {
        let a = Node::new("a");
        let mut peer = Peer::of(&a, 1);
        let publisher = a.stream("x", Overflow::Block);
        a.route("x", 1);
        publisher.publish(payload(1)).await.expect("published");
        peer.frame().await;
        let closing = tokio::spawn(publisher.close());
        settle().await;
        a.plane.route_removed(&key("x"), LinkId(1));
        a.plane.link_closed(LinkId(1), false);
        assert_eq!(told(&closing.await.expect("no panic")), withdrawn(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_credit_that_comes_after_all_is_confirmed_breaks_nothing() {
    let mut a = Node::new("a");
    let mut peer = Peer::of(&a, 1);
    let (first, second) = (a.stream("x", Overflow::Block), a.stream("y", Overflow::Block));
    for (publisher, key) in [(&first, "x"), (&second, "y")] {
        a.route(key, 1);
        publisher.publish(payload(1)).await.expect("published");
        peer.frame().await;
    }
    let closing = [tokio::spawn(first.close()), tokio::spawn(second.close())];
    settle().await;
    peer.credit(1);
    peer.send(|frame| frame.credit(credit(2, 1, 1)));
    settle().await;
    a.plane.link_closed(LinkId(1), true);
    settle().await;
    peer.last_credit(1);
    peer.send(|frame| frame.credit(Credit { last: true, ..credit(2, 1, 1) }));
    for closing in closing {
        assert_eq!(told(&closing.await.expect("no panic")), confirmed(1));
    }
    assert!(a.faults.try_recv().is_err());
}
