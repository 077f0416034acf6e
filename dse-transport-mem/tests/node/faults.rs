//! Transports that fail in ways of their own, and an application that asks too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use dse_core::node::{Change, Node, NodeError, Notice, Watch};
use dse_core::protocol::{Endpoint, Leave, LeaveReason, Message, StatsError};
use dse_core::transport::{Capabilities, Link, Listener, Transport, TransportError};
use dse_transport_mem::{MemScope, MemTransport};
use tokio::task::JoinSet;

use crate::raw::Raw;
use crate::support::{changes_until, endpoint, id, in_time, linked, start, transport, until};

/// The mem transport, with faults.
struct Faulty {
    mem: Arc<MemTransport>,
    /// The first dial panics.
    panics: AtomicBool,
    /// No dial ever comes to an end.
    hangs: bool,
}

impl Faulty {
    fn new(scope: &MemScope, panics: bool, hangs: bool) -> Arc<Self> {
        Arc::new(Self { mem: transport(scope), panics: panics.into(), hangs })
    }
}

#[async_trait]
impl Transport for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.mem.capabilities()
    }

    async fn bind(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, TransportError> {
        Ok(Box::new(Panics(self.mem.bind(endpoint).await?)))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Link, TransportError> {
        assert!(!self.panics.swap(false, Relaxed), "a fault that is part of the test");
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.mem.connect(endpoint).await
    }
}

/// Panics where it should accept.
struct Panics(Box<dyn Listener>);

#[async_trait]
impl Listener for Panics {
    fn endpoints(&self) -> Vec<Endpoint> {
        self.0.endpoints()
    }

    async fn accept(&mut self) -> Result<Link, TransportError> {
        panic!("a fault that is part of the test");
    }
}

#[tokio::test]
async fn a_dial_that_panics_has_failed_and_is_tried_again() {
    let scope = MemScope::new();
    let _a = start(&scope, "a", &[]).await;
    let b = Node::builder("test", "b").unwrap().transport(Faulty::new(&scope, true, false));
    let b = b.join(endpoint("a")).start().await.unwrap();
    let mut notices = b.notices();
    match in_time("a notice", notices.next()).await {
        Some(Notice::DialFailed { error, .. }) => {
            assert!(error.to_string().contains("did not survive"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    linked(&b, 1).await;
}

#[tokio::test]
async fn a_listener_that_panics_has_ended() {
    let scope = MemScope::new();
    let a = Node::builder("test", "a").unwrap().transport(Faulty::new(&scope, false, false));
    let a = a.listen(endpoint("a")).start().await.unwrap();
    let mut notices = a.notices();
    match in_time("a notice", notices.next()).await {
        Some(Notice::ListenerEnded { endpoints, why }) => {
            assert_eq!(endpoints, [endpoint("a")]);
            assert!(why.contains("did not survive"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused() {
    const HOUR: Duration = Duration::from_secs(3600);
    let scope = MemScope::new();
    let a = Node::builder("test", "a").unwrap().transport(Faulty::new(&scope, false, true));
    let a = a.join(endpoint("nowhere")).start().await.unwrap();
    let (mut asking, asked) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..1024 {
        let (a, asked) = (a.clone(), asked.clone());
        asking.spawn(async move {
            asked.fetch_add(1, Relaxed);
            a.request("**", HOUR).await
        });
    }
    until("all stand in line", async || asked.load(Relaxed) == 1024).await;
    let refused = in_time("a refusal", a.request("**", HOUR)).await;
    assert_eq!(refused, Err(NodeError::TooManyRequests { limit: 1024 }));
    let refused = in_time("a refusal", a.stats_of(&id("b"), HOUR)).await;
    assert_eq!(refused, Err(StatsError::TooManyRequests { limit: 1024 }));
    assert!(a.lookup("**").await.is_ok());
    in_time("leave", a.leave()).await;
    while let Some(asked) = in_time("an end", asking.join_next()).await {
        assert!(asked.unwrap().is_ok_and(|report| !report.complete));
    }
}

/// Reads of the end of a peer.
async fn end_of(watch: &mut Watch) -> Change {
    let ended =
        |change: &Change| matches!(change, Change::NodeLeft { .. } | Change::NodeDown { .. });
    changes_until(watch, ended).await.pop().unwrap()
}

#[tokio::test]
async fn the_last_words_of_a_link_are_heard_though_both_lanes_end_at_once() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let mut watch = a.watch("**").await.unwrap();
    for round in 1..=200 {
        let mut peer = Raw::open(&scope, "peer", round, "a").await;
        peer.say(&Message::Leave(Leave { reason: LeaveReason::Asked })).await;
        drop(peer);
        let ended = end_of(&mut watch).await;
        assert!(matches!(ended, Change::NodeLeft { .. }), "round {round}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_without_a_data_lane_falls_soon_though_the_peer_lives() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let mut watch = a.watch("**").await.unwrap();
    let mut peer = Raw::open(&scope, "peer", 1, "a").await;
    peer.drop_data_lane();
    let began = tokio::time::Instant::now();
    let (ended, ()) = tokio::join!(end_of(&mut watch), peer.live());
    match ended {
        Change::NodeDown { error, .. } => assert!(error.contains("data lane"), "{error}"),
        other => panic!("{other:?}"),
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "as long as a peer may take for last words: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}
