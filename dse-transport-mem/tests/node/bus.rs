//! The control bus between nodes: who is there, and who exposes what.

use dse_core::node::{Change, Node, NodeError, Stopped};
use dse_core::protocol::{Incarnation, Key, Kind, Match, NodeId, StatsError};
use dse_transport_mem::MemScope;
use tokio::task::JoinSet;

use crate::support::{
    TIMEOUT, builder, changes_until, endpoint, guest, id, linked, next, sample, start, until,
};

fn keys(matches: &[Match]) -> Vec<(&str, &str)> {
    matches.iter().map(|it| (it.node.as_str(), it.declaration.key.as_str())).collect()
}

#[tokio::test]
async fn nodes_that_share_a_seed_find_each_other() {
    let scope = MemScope::new();
    let seed = start(&scope, "seed", &[]).await;
    let a = start(&scope, "a", &["seed"]).await;
    let b = start(&scope, "b", &["seed"]).await;
    for node in [&seed, &a, &b] {
        linked(node, 2).await;
    }
    let known: Vec<NodeId> = a.nodes().await.unwrap().into_iter().map(|it| it.node).collect();
    assert_eq!(known, [id("b"), id("seed")]);
    let of_b = a.nodes().await.unwrap().remove(0);
    assert_eq!(of_b.endpoints, [endpoint("b")]);
    assert_eq!(of_b.link.unwrap().transport, "mem");
}

#[tokio::test]
async fn a_watch_tells_the_present_state_then_what_changes() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let _old = a.publisher("x/old").unwrap().declare().await.unwrap();
    let b = start(&scope, "b", &["a"]).await;
    until("the old one", async || !b.lookup("x/old").await.unwrap().is_empty()).await;

    let mut watch = b.watch("x/**").await.unwrap();
    let present = changes_until(&mut watch, |it| *it == Change::Synced).await;
    let incarnation = a.incarnation();
    assert_eq!(present[0], Change::NodeUp { node: id("a"), incarnation });
    assert!(matches!(&present[1], Change::Declared(it) if it.declaration.key.as_str() == "x/old"));
    assert_eq!(present.len(), 3);

    let _other = a.publisher("y").unwrap().declare().await.unwrap();
    let new = a.publisher("x/new").unwrap().meta("unit", "C").declare().await.unwrap();
    match next(&mut watch).await {
        Change::Declared(it) => {
            assert_eq!((it.node, it.incarnation), (id("a"), incarnation));
            assert_eq!(it.declaration.key.as_str(), "x/new");
            assert_eq!(*it.declaration.meta, [("unit".into(), "C".into())]);
        }
        other => panic!("{other:?}"),
    }
    drop(new);
    let gone = next(&mut watch).await;
    assert!(matches!(gone, Change::Undeclared(it) if it.declaration.key.as_str() == "x/new"));
    a.leave().await;
    assert!(matches!(next(&mut watch).await, Change::NodeLeft { node, .. } if node == id("a")));
    b.leave().await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_description_can_be_changed_while_samples_flow() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    let mut watch = b.watch("k").await.unwrap();
    let publisher = a.publisher("k").unwrap().encoding("text/plain").meta("unit", "C");
    let publisher = publisher.declare().await.unwrap();
    changes_until(&mut watch, |it| matches!(it, Change::Declared(_))).await;
    let mut subscriber = b.subscribe("k").unwrap().open().await.unwrap();
    until("interest", async || publisher.interest().subscribers() == 1).await;

    publisher.set_meta([("unit", "F"), ("place", "hall")]).await.unwrap();
    let Change::Changed(found) = next(&mut watch).await else { panic!("not changed") };
    assert_eq!(
        (found.declaration.kind, &*found.declaration.encoding),
        (Kind::Stream, "text/plain")
    );
    let meta = [("unit".into(), "F".into()), ("place".into(), "hall".into())];
    assert_eq!(found.declaration.meta, meta);
    publisher.publish("451".into()).await.unwrap();
    assert_eq!(sample(&mut subscriber).await.payload, "451");

    let refused = publisher.set_meta([("story", "x".repeat(4096))]).await.unwrap_err();
    assert!(refused.to_string().contains("longer than 2048 bytes"), "{refused}");
    assert_eq!(a.lookup("k").await.unwrap()[0].declaration.meta, meta);
    a.leave().await;
    let late = publisher.set_meta([("unit", "K")]).await.unwrap_err();
    assert_eq!(late, NodeError::Stopped(Stopped::Left));
}

#[tokio::test]
async fn a_watch_tells_a_leave_from_a_crash() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let mut watch = a.watch("**").await.unwrap();
    let b = start(&scope, "b", &["a"]).await;
    let c = start(&scope, "c", &["a"]).await;
    linked(&a, 2).await;
    b.leave().await;
    changes_until(&mut watch, |it| matches!(it, Change::NodeLeft { node, .. } if *node == id("b")))
        .await;
    drop(c);
    let last = changes_until(&mut watch, |it| matches!(it, Change::NodeDown { .. })).await;
    assert!(matches!(last.last(), Some(Change::NodeDown { node, .. }) if *node == id("c")));
}

#[tokio::test]
async fn a_slow_watcher_is_told_what_it_missed_and_begins_anew() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    linked(&a, 1).await;
    let mut watch = a.watch("k/**").await.unwrap();
    let mut publishers = Vec::new();
    for n in 0..2000 {
        publishers.push(b.publisher(format!("k/{n}")).unwrap().declare().await.unwrap());
    }
    until("all known", async || a.lookup("k/**").await.unwrap().len() == 2000).await;
    let lagged = changes_until(&mut watch, |it| matches!(it, Change::Lagged { .. })).await;
    let told = lagged.iter().filter(|it| matches!(it, Change::Declared(_))).count();
    assert_eq!(lagged.last(), Some(&Change::Lagged { missed: 2000 - told as u64 }));
    let anew = changes_until(&mut watch, |it| *it == Change::Synced).await;
    assert_eq!(anew.iter().filter(|it| matches!(it, Change::Declared(_))).count(), 2000);
    publishers.pop();
    assert!(matches!(next(&mut watch).await, Change::Undeclared(_)));
}

#[tokio::test]
async fn a_guest_asks_and_is_answered_by_all() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    let _of_a = a.publisher("x/a").unwrap().declare().await.unwrap();
    let _of_b = b.publisher("x/b").unwrap().declare().await.unwrap();
    linked(&a, 1).await;
    linked(&b, 1).await;
    let guest = guest(&scope, "guest", "a").await;
    linked(&guest, 2).await;
    let report = guest.request("x/**", TIMEOUT).await.unwrap();
    assert_eq!(keys(&report.matches), [("a", "x/a"), ("b", "x/b")]);
    assert_eq!((report.expected, report.answered, report.complete), (2, 2, true));
    assert_eq!(report.missing, []);
    assert!(guest.request("nobody/serves/this", TIMEOUT).await.unwrap().complete);
    assert_eq!(a.stats().await.unwrap().guests, 1);

    for refused in [
        guest.lookup("**").await.unwrap_err().to_string(),
        guest.watch("**").await.unwrap_err().to_string(),
        guest.publisher("k").unwrap().declare().await.unwrap_err().to_string(),
        guest.subscribe("k").unwrap().open().await.unwrap_err().to_string(),
    ] {
        assert!(refused.starts_with("a guest "), "{refused}");
    }
}

#[tokio::test]
async fn counters_are_asked_over_the_bus() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    linked(&a, 1).await;
    let of_a = b.stats_of(&id("a"), TIMEOUT).await.unwrap();
    let value = |name: &str| of_a.iter().find(|(it, _)| **it == *name).map(|(_, value)| *value);
    assert_eq!(value("peers"), Some(1));
    assert!(value("control_messages_sent") > Some(1));
    let names: Vec<_> = a.stats().await.unwrap().counters().into_iter().map(|it| it.0).collect();
    assert_eq!(of_a.iter().map(|it| it.0.clone()).collect::<Vec<_>>(), names);
    let nobody = b.stats_of(&id("nobody"), TIMEOUT).await;
    assert_eq!(nobody, Err(StatsError::UnknownNode(id("nobody"))));
    assert!(b.stats_of(&id("b"), TIMEOUT).await.is_ok());
}

#[tokio::test]
async fn a_restarted_node_leaves_no_ghost() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let mut watch = a.watch("**").await.unwrap();
    let old = builder(&scope, "b").join(endpoint("a")).incarnation(Incarnation(1));
    let old = old.start().await.unwrap();
    let _old_key = old.publisher("old").unwrap().declare().await.unwrap();
    changes_until(&mut watch, |it| matches!(it, Change::Declared(_))).await;
    drop(old);
    changes_until(&mut watch, |it| matches!(it, Change::NodeDown { .. })).await;
    // The name is free as soon as the listener's task is gone.
    let new = loop {
        let new = builder(&scope, "b").join(endpoint("a")).incarnation(Incarnation(2));
        match new.start().await {
            Ok(new) => break new,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let _new_key = new.publisher("new").unwrap().declare().await.unwrap();
    let up = Change::NodeUp { node: id("b"), incarnation: Incarnation(2) };
    changes_until(&mut watch, |it| *it == up).await;
    changes_until(&mut watch, |it| matches!(it, Change::Declared(_))).await;
    assert_eq!(keys(&a.lookup("**").await.unwrap()), [("b", "new")]);
    assert_eq!(a.nodes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn declarations_of_one_moment_go_out_together() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let b = start(&scope, "b", &["a"]).await;
    linked(&a, 1).await;
    linked(&b, 1).await;
    let before = a.stats().await.unwrap().control_messages_sent;
    let mut declaring = JoinSet::new();
    for n in 0..100 {
        declaring.spawn(a.publisher(format!("k/{n}")).unwrap().declare());
    }
    let publishers = declaring.join_all().await;
    assert!(publishers.iter().all(Result::is_ok));
    until("all known", async || b.lookup("k/*").await.unwrap().len() == 100).await;
    let sent = a.stats().await.unwrap().control_messages_sent - before;
    assert!(sent <= 4, "100 declarations took {sent} messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_nodes_converge_and_fall_silent() {
    const NODES: usize = 32;
    const KEYS: usize = 5;
    let scope = MemScope::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut publishers = Vec::new();
    for n in 0..NODES {
        let node = start(&scope, &format!("n{n}"), if n == 0 { &[] } else { &["n0"] }).await;
        for k in 0..KEYS {
            let key = Key::new(format!("n{n}/{k}")).unwrap();
            publishers.push(node.publisher(key.as_str()).unwrap().declare().await.unwrap());
        }
        nodes.push(node);
    }
    for node in &nodes {
        until("convergence", async || node.lookup("**").await.unwrap().len() == NODES * KEYS).await;
        linked(node, NODES as u64 - 1).await;
    }
    let report = nodes[7].request("**", TIMEOUT).await.unwrap();
    assert_eq!((report.matches.len(), report.answered), (NODES * KEYS, NODES - 1));
    assert!(report.complete);
    for node in &nodes {
        until("silence", async || node.stats().await.unwrap().control_timers == 0).await;
    }
    for node in &nodes {
        let sent = node.stats().await.unwrap().control_messages_sent;
        assert!(sent <= 12 * NODES as u64, "a cold start took {sent} messages");
    }
}
