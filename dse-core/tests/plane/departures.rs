//! Who has everything, however its route ended: withdrawal, credit, receipt and fall in
//! every order (PROTOCOL.md §9.4).

use std::sync::Arc;
use std::time::Duration;

use dse_core::data::Credit;
use dse_core::node::{Overflow, Publisher, Receipts};
use dse_core::protocol::LinkId;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

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
    /// The receipt comes in, with this number.
    Receipt(u64),
    /// The link falls.
    Fall,
    /// The link ends after the peer has left.
    Leave,
}

use Step::*;

fn delivered(delivered: usize) -> Receipts {
    Receipts { delivered, undelivered: Vec::new() }
}

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

/// What one who watched all of it would say.
fn expected(order: &[Step], closes: bool) -> Option<(usize, usize)> {
    let (mut asked, mut wanted, mut taken, mut ended) = (false, true, false, None);
    for step in order {
        match step {
            // A link that is gone brings nothing.
            Withdraw | Credit if ended.is_some() => return None,
            Withdraw => wanted = false,
            Credit => taken = true,
            Ask => asked = true,
            // Nobody gives a receipt for what goes on.
            Receipt(_) if wanted && !(asked && closes) => return None,
            Receipt(seq) => {
                taken |= *seq == 1;
                wanted = false;
                ended = Some(asked);
            }
            Fall | Leave => ended = Some(asked),
        }
    }
    Some(match (taken, wanted && ended == Some(true)) {
        (true, _) => (1, 0),
        (false, lost) => (0, usize::from(lost)),
    })
}

/// Lets everybody do what there is to do.
async fn settle() {
    sleep(Duration::from_millis(10)).await;
}

async fn outcome(order: &[Step], closes: bool) -> Receipts {
    let a = Node::new("a");
    let mut peer = Peer::of(&a, 1);
    let publisher = a.stream("x", Overflow::Block);
    a.route("x", 1);
    publisher.publish(payload(1)).await.expect("published");
    peer.records().await;
    let mut publisher = Some(Arc::new(publisher));
    let mut asked: Option<JoinHandle<Receipts>> = None;
    for step in order {
        match *step {
            Ask => asked = publisher.take().map(|publisher| ask(publisher, closes)),
            Withdraw => a.plane.route_removed(&key("x"), LinkId(1)),
            Credit => peer.credit(1, 64),
            Receipt(seq) => peer.credit(seq, 0),
            Fall => a.plane.link_closed(LinkId(1), false),
            Leave => {
                a.plane.link_closed(LinkId(1), true);
                peer.end();
            }
        }
        settle().await;
    }
    let start = Instant::now();
    let receipts = asked.expect("it was asked").await.expect("no panic");
    assert!(start.elapsed() < STALL / 2, "all was known: {order:?}");
    receipts
}

fn ask(publisher: Arc<Publisher>, closes: bool) -> JoinHandle<Receipts> {
    tokio::spawn(async move {
        match closes {
            true => Arc::into_inner(publisher).expect("the only one").close().await,
            false => publisher.flush().await,
        }
    })
}

#[tokio::test(start_paused = true)]
async fn who_has_everything_counts_and_who_withdrew_is_no_loss() {
    let mut tried = 0;
    for end in [Receipt(0), Receipt(1), Fall, Leave] {
        for closes in [true, false] {
            let withdrawing = orders(&[Ask, Withdraw, Credit, end]);
            let without_credit = orders(&[Ask, Withdraw, end]);
            let staying = orders(&[Ask, Credit, end]).into_iter().chain(orders(&[Ask, end]));
            for order in withdrawing.into_iter().chain(without_credit).chain(staying) {
                let Some((served, unserved)) = expected(&order, closes) else { continue };
                let receipts = outcome(&order, closes).await;
                let told = (receipts.delivered, receipts.undelivered.len());
                assert_eq!(told, (served, unserved), "{order:?}, closes: {closes}");
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
            let all = usize::from(taken == published);
            assert_eq!(publisher.flush().await, delivered(all), "{taken} of {published}");
            assert_eq!(publisher.close().await, delivered(all), "{taken} of {published}");
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
    let undelivered = vec![b.info.node.clone()];
    let receipts = closing.await.expect("no panic");
    assert_eq!(receipts, Receipts { delivered: 0, undelivered });
}

#[tokio::test(start_paused = true)]
async fn a_node_counts_once_whatever_routes_it_had() {
    let (a, b) = (Node::new("a"), Node::new("b"));
    link(&a, &b, 1);
    let publisher = a.publisher("x", dse_core::protocol::Kind::Stream, Overflow::Block, 10);
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
    assert_eq!(publisher.flush().await, delivered(1));
    assert_eq!(publisher.close().await, delivered(1));
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
    assert_eq!(publisher.flush().await, delivered(0));
    assert_eq!(publisher.close().await, delivered(0));
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
    assert_eq!(publisher.close().await, delivered(1));
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
    peer.records().await;
    let closing = tokio::spawn(publisher.close());
    settle().await;
    for seq in 1..=5 {
        peer.credit(seq, 64);
    }
    a.plane.link_closed(LinkId(1), false);
    assert_eq!(closing.await.expect("no panic"), delivered(1));
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
        peer.records().await;
        let closing = tokio::spawn(publisher.close());
        settle().await;
        a.plane.route_removed(&key("x"), LinkId(1));
        a.plane.link_closed(LinkId(1), false);
        assert_eq!(closing.await.expect("no panic"), delivered(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_comes_after_all_is_confirmed_breaks_nothing() {
    let mut a = Node::new("a");
    let mut peer = Peer::of(&a, 1);
    let (first, second) = (a.stream("x", Overflow::Block), a.stream("y", Overflow::Block));
    for (publisher, key) in [(&first, "x"), (&second, "y")] {
        a.route(key, 1);
        publisher.publish(payload(1)).await.expect("published");
        peer.records().await;
    }
    let closing = [tokio::spawn(first.close()), tokio::spawn(second.close())];
    settle().await;
    peer.credit(1, 64);
    settle().await;
    a.plane.link_closed(LinkId(1), true);
    settle().await;
    peer.credit(1, 0);
    peer.send(|frame| frame.credit(Credit { alias: 1, consumed_seq: 1, window: 0 }));
    for closing in closing {
        assert_eq!(closing.await.expect("no panic"), delivered(1));
    }
    assert!(a.faults.try_recv().is_err());
}
