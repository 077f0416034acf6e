//! Samples between nodes.

use bytes::Bytes;
use dse_core::node::{Delivery, Node, Publisher};
use dse_core::protocol::Kind;
use dse_transport_mem::MemScope;

use crate::support::{delivery, id, in_time, linked, sample, start};

async fn pair() -> (Node, Node) {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    linked(&a, 1).await;
    linked(&b, 1).await;
    (a, b)
}

async fn wanted(publisher: &Publisher) {
    let mut interest = publisher.interest();
    in_time("interest", async {
        while interest.subscribers() == 0 {
            interest.changed().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn streams_flow_both_ways() {
    let (a, b) = pair().await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let mut subscriber = to.subscribe("s/**").unwrap().open().await.unwrap();
        let key = format!("s/{}", from.id());
        let publisher = from.publisher(&key).unwrap().declare().await.unwrap();
        wanted(&publisher).await;
        for n in 0..100_u8 {
            publisher.publish(Bytes::from(vec![n])).await.unwrap();
        }
        for n in 0..100_u8 {
            let sample = sample(&mut subscriber).await;
            assert_eq!(
                (sample.origin.node.as_str(), sample.origin.key.as_str()),
                (from.id().as_str(), &*key)
            );
            assert_eq!(sample.payload, [n].as_slice());
            assert_eq!(sample.seq, u64::from(n) + 1);
        }
        let both = async { tokio::join!(publisher.close(), delivery(&mut subscriber)) };
        let (closed, ended) = in_time("receipts", both).await;
        assert_eq!((closed.confirmed, closed.unconfirmed), (1, vec![]));
        assert!(matches!(ended, Delivery::Ended { origin, .. } if origin.node == *from.id()));
    }
}

#[tokio::test]
async fn a_late_joiner_of_a_state_gets_its_present_value() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let state = a.publisher("site/temp").unwrap().kind(Kind::State).declare().await.unwrap();
    for value in ["20.9", "21.0", "21.1"] {
        state.publish(value.into()).await.unwrap();
    }
    let b = start(&scope, "b", &["a"]).await;
    let mut subscriber = b.subscribe("site/*").unwrap().open().await.unwrap();
    assert_eq!(sample(&mut subscriber).await.payload, "21.1");
    state.publish("21.2".into()).await.unwrap();
    assert_eq!(sample(&mut subscriber).await.payload, "21.2");
}

#[tokio::test]
async fn a_node_receives_what_it_publishes_itself() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let mut subscriber = a.subscribe("**").unwrap().open().await.unwrap();
    let publisher = a.publisher("k").unwrap().declare().await.unwrap();
    publisher.publish("v".into()).await.unwrap();
    assert_eq!(sample(&mut subscriber).await.payload, "v");
}

#[tokio::test]
async fn interest_comes_and_goes_with_subscribers() {
    let (a, b) = pair().await;
    let publisher = a.publisher("k").unwrap().declare().await.unwrap();
    let mut interest = publisher.interest();
    assert!(!interest.wanted());
    let subscriber = b.subscribe("k").unwrap().open().await.unwrap();
    in_time("first interest", async {
        while !interest.wanted() {
            interest.changed().await;
        }
    })
    .await;
    drop(subscriber);
    in_time("last interest", async {
        while interest.wanted() {
            interest.changed().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_is_free_again_once_its_publisher_is_gone() {
    let (a, b) = pair().await;
    let mut subscriber = b.subscribe("k").unwrap().open().await.unwrap();
    let first = a.publisher("k").unwrap().declare().await.unwrap();
    let twice = a.publisher("k").unwrap().declare().await.unwrap_err();
    assert_eq!(twice.to_string(), "this node declares k already; one node declares a key once");
    drop(first);
    let second = a.publisher("k").unwrap().declare().await.unwrap();
    wanted(&second).await;
    second.publish("v".into()).await.unwrap();
    while !matches!(delivery(&mut subscriber).await, Delivery::Sample(s) if s.payload == "v") {}
}

#[tokio::test]
async fn giving_up_on_a_declaration_leaves_the_key_free() {
    let (a, _b) = pair().await;
    for _ in 0..50 {
        let declaring = a.publisher("k").unwrap().declare();
        tokio::select! {
            biased;
            declared = declaring => drop(declared.unwrap()),
            () = tokio::task::yield_now() => {}
        }
    }
    let publisher = a.publisher("k").unwrap().declare().await.unwrap();
    assert_eq!(a.lookup("k").await.unwrap().len(), 1);
    drop(publisher);
    crate::support::until("undeclared", async || a.lookup("k").await.unwrap().is_empty()).await;
}

#[tokio::test]
async fn leaving_delivers_what_was_published() {
    let (a, b) = pair().await;
    let mut subscriber = b.subscribe("k").unwrap().open().await.unwrap();
    let publisher = a.publisher("k").unwrap().declare().await.unwrap();
    wanted(&publisher).await;
    for n in 0..1000_u32 {
        publisher.publish(Bytes::copy_from_slice(&n.to_le_bytes())).await.unwrap();
    }
    // What is in the subscriber's queue was not taken yet, so it is read meanwhile.
    let reading = tokio::spawn(async move {
        for n in 0..1000_u32 {
            assert_eq!(sample(&mut subscriber).await.payload, n.to_le_bytes().as_slice());
        }
        delivery(&mut subscriber).await
    });
    in_time("leave", a.leave()).await;
    let last = in_time("all", reading).await.unwrap();
    assert!(matches!(last, Delivery::Ended { origin, .. } if origin.node == id("a")));
    assert!(publisher.publish("late".into()).await.is_err());
}
