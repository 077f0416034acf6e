//! What keeps a node from starting.

use std::sync::Arc;

use dse_core::node::Node;
use dse_core::protocol::Endpoint;
use dse_transport_mem::{MemScope, MemTransport};

use crate::support::{builder, endpoint, start};

async fn refusal(builder: dse_core::node::NodeBuilder) -> String {
    builder.start().await.expect_err("it must not start").to_string()
}

#[tokio::test]
async fn every_refusal_says_what_is_wrong_and_what_would_be_right() {
    let scope = MemScope::new();
    let bare = || Node::builder("test", "a").unwrap();
    let quic: Endpoint = "quic://localhost:7447".parse().unwrap();
    assert_eq!(
        refusal(bare()).await,
        "the node has no transport; add one with NodeBuilder::transport"
    );
    assert_eq!(
        refusal(builder(&scope, "a").join(quic.clone())).await,
        "cannot join there: no transport for quic://localhost:7447: this node has mem://; \
         use an endpoint of one of these"
    );
    let double = builder(&scope, "a").transport(Arc::new(MemTransport::new(&scope)));
    assert_eq!(refusal(double).await, "two transports have the scheme mem://; add each once");
    assert_eq!(
        refusal(builder(&scope, "a").detect_ms(1)).await,
        "detect_ms is 1; it must be between 50 and 60000"
    );
    let hasty = builder(&scope, "a").stall_timeout(std::time::Duration::from_millis(99));
    assert_eq!(refusal(hasty).await, "stall_timeout (ms) is 99; it must be between 100 and 600000");
    let many = (0..17).fold(builder(&scope, "a"), |it, n| it.advertise(endpoint(&n.to_string())));
    assert_eq!(refusal(many).await, "17 endpoints are to be advertised; 16 is the most");
    let _a = start(&scope, "a", &[]).await;
    let taken = refusal(builder(&scope, "a")).await;
    assert!(taken.starts_with("cannot listen at mem://a: "), "{taken}");
    assert!(Node::builder("a bus", "a").is_err());
}

#[tokio::test]
async fn endpoints_are_those_bound_or_those_advertised() {
    let scope = MemScope::new();
    let any = Node::builder("test", "a").unwrap().transport(Arc::new(MemTransport::new(&scope)));
    let any = any.listen(endpoint("*")).start().await.unwrap();
    assert_eq!(any.endpoints().len(), 1);
    assert_ne!(any.endpoints()[0], endpoint("*"));
    let b = builder(&scope, "b").advertise(endpoint("elsewhere")).start().await.unwrap();
    assert_eq!(b.endpoints(), [endpoint("elsewhere")]);
}

#[tokio::test]
async fn joining_needs_a_transport() {
    let scope = MemScope::new();
    let a = start(&scope, "a", &[]).await;
    let refused = a.join("zmq://x".parse().unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("this node has mem://"), "{refused}");
}
