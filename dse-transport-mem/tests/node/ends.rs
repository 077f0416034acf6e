//! How nodes end, and what is left of them.

use std::time::Duration;

use dse_core::node::{Node, Notice, Stopped};
use dse_core::protocol::{Incarnation, Member, Members, Message};
use dse_core::transport::Transport;
use dse_transport_mem::{MemScope, MemTransport};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::raw::Raw;
use crate::support::{TIMEOUT, builder, endpoint, id, in_time, linked, start, transport, until};

#[tokio::test(start_paused = true)]
async fn leaving_takes_no_time_and_fails_all_calls_from_then_on() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    linked(&a, 1).await;
    let mut notices = a.notices();
    let began = Instant::now();
    assert_eq!(in_time("leave", a.leave()).await, Stopped::Left);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(a.stopped().await, Stopped::Left);
    assert_eq!(a.leave().await, Stopped::Left);
    assert_eq!(a.nodes().await, Err(Stopped::Left));
    let refused = a.request("**", TIMEOUT).await.unwrap_err();
    assert_eq!(refused.to_string(), "this node has left the bus");
    assert!(a.publisher("k").unwrap().declare().await.is_err());
    assert!(a.subscribe("k").unwrap().open().await.is_err());
    assert_eq!(notices.next().await, Some(Notice::Stopped(Stopped::Left)));
    assert_eq!(notices.next().await, None);
    until("b alone", async || b.nodes().await.unwrap().is_empty()).await;
}

#[tokio::test]
async fn the_later_of_two_nodes_with_one_id_ends_with_the_reason() {
    let scope = MemScope::new();
    let first = Node::builder("test", "twin").unwrap().transport(transport(&scope));
    let first = first.listen(endpoint("first")).incarnation(Incarnation(1));
    let _first = first.start().await.unwrap();
    let witness = start(&scope, "witness", &["first"]).await;
    linked(&witness, 1).await;
    let second = builder(&scope, "twin").join(endpoint("witness")).incarnation(Incarnation(2));
    let second = second.start().await.unwrap();
    let stopped = in_time("the clash", second.stopped()).await;
    assert_eq!(stopped, Stopped::Clash { winner: Some(endpoint("first")) });
    assert_eq!(second.nodes().await, Err(stopped.clone()));
    let refused = second.publisher("k").unwrap().declare().await.unwrap_err();
    assert_eq!(refused.to_string(), stopped.to_string());
    linked(&witness, 1).await;
}

#[tokio::test]
async fn the_last_handle_takes_everything_with_it() {
    let scope = MemScope::new();
    let before = Handle::current().metrics().num_alive_tasks();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    linked(&a, 1).await;
    let mut subscriber = b.subscribe("**").unwrap().open().await.unwrap();
    let publisher = a.publisher("k").unwrap().declare().await.unwrap();
    let watch = a.watch("**").await.unwrap();
    let clone = a.clone();
    drop(a);
    assert!(clone.stats().await.is_ok());
    drop((clone, b));
    until("no tasks", async || Handle::current().metrics().num_alive_tasks() == before).await;
    while in_time("the end", subscriber.recv()).await.is_some() {}
    assert!(publisher.publish("v".into()).await.is_err());
    drop(watch);
}

#[tokio::test]
async fn nodes_that_leave_leave_no_task() {
    let scope = MemScope::new();
    let before = Handle::current().metrics().num_alive_tasks();
    for _ in 0..20 {
        let a = start(&scope, "a", &[]).await;
        let b = start(&scope, "b", &["a"]).await;
        linked(&b, 1).await;
        in_time("both leave", async { tokio::join!(a.leave(), b.leave()) }).await;
        until("no tasks", async || Handle::current().metrics().num_alive_tasks() == before).await;
    }
}

#[tokio::test]
async fn an_unreachable_seed_is_noticed_and_tried_again() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &["b"]).await;
    let mut notices = a.notices();
    for _ in 0..2 {
        match in_time("a notice", notices.next()).await {
            Some(Notice::DialFailed { endpoint: at, seed: true, .. }) => {
                assert_eq!(at, endpoint("b"));
            }
            other => panic!("{other:?}"),
        }
    }
    let _b = start(&scope, "b", &[]).await;
    linked(&a, 1).await;
}

#[tokio::test]
async fn a_peer_of_another_bus_is_refused_with_the_reason() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let mut notices = a.notices();
    let stranger = Node::builder("other", "s").unwrap();
    let stranger = stranger.transport(transport(&scope)).join(endpoint("a")).start().await.unwrap();
    let mut strange_notices = stranger.notices();
    match in_time("a notice", notices.next()).await {
        Some(Notice::PeerRefused { why, .. }) => assert!(why.contains("bus"), "{why}"),
        other => panic!("{other:?}"),
    }
    loop {
        if let Some(Notice::DialFailed { error, .. }) =
            in_time("a notice", strange_notices.next()).await
        {
            assert!(error.to_string().contains("bus"), "{error}");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn links_that_never_open_keep_nobody_out_for_long() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let transport = MemTransport::new(&scope);
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(transport.connect(&endpoint("a")).await.unwrap());
    }
    until("all that may", async || a.stats().await.unwrap().links == 256).await;
    let _b = start(&scope, "b", &["a"]).await;
    linked(&a, 1).await;
    until("the silent ones gone", async || a.stats().await.unwrap().links == 1).await;
}

#[tokio::test(start_paused = true)]
async fn members_that_a_peer_made_up_keep_nobody_out() {
    let scope = MemScope::new();
    let _a = start(&scope, "a", &[]).await;
    let real = start(&scope, "real", &[]).await;
    // All others are said to be here, where every link is taken and nothing said.
    let mut door = MemTransport::new(&scope).bind(&endpoint("door")).await.unwrap();
    let mut liar = Raw::open(&scope, "liar", 1, "a").await;
    let listed = |name: &str, at: &str| Member {
        node: id(name),
        incarnation: Incarnation(1),
        endpoints: vec![endpoint(at)],
    };
    let mut members: Vec<_> =
        (0..7).map(|number| listed(&format!("made-up-{number}"), "door")).collect();
    members.push(listed("real", "real"));
    liar.say(&Message::Members(Members { request: None, last: true, members })).await;
    let mut taken = vec![door.accept().await.unwrap()];
    let began = tokio::time::Instant::now();
    let b = start(&scope, "b", &["a"]).await;
    linked(&b, 1).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());

    // Four at a time, each for a second: then it is the turn of the last one.
    until("the real one", async || real.stats().await.unwrap().peers > 0).await;
    let after = began.elapsed().as_millis();
    assert!((900..1100).contains(&after), "{after} ms");
    for _ in 1..7 {
        taken.push(door.accept().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_makes_place_for_the_next_at_once() {
    let scope = MemScope::new();
    let real = start(&scope, "real", &[]).await;
    let transport = MemTransport::new(&scope);
    let mut silent = Vec::new();
    for name in ["d1", "d2", "d3"] {
        silent.push(transport.bind(&endpoint(name)).await.unwrap());
    }
    let began = tokio::time::Instant::now();
    let _a = start(&scope, "a", &["d1", "d2", "d3", "nobody", "real"]).await;
    until("the real one", async || real.stats().await.unwrap().peers > 0).await;
    assert!(began.elapsed() < Duration::from_millis(20), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_takes_nothing_delays_a_leave_by_a_second() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    let _idle = b.subscribe("k").unwrap().open().await.unwrap();
    let publisher = a.publisher("k").unwrap().declare().await.unwrap();
    until("interest", async || publisher.interest().subscribers() == 1).await;
    publisher.publish("v".into()).await.unwrap();
    let began = Instant::now();
    assert_eq!(in_time("leave", a.leave()).await, Stopped::Left);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
}
