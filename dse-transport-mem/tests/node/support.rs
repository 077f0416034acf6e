//! Nodes to test with, and waiting with a deadline.

use std::sync::Arc;
use std::time::Duration;

use dse_core::node::{Change, Delivery, Node, NodeBuilder, Sample, Subscriber, Watch};
use dse_core::protocol::{Endpoint, NodeId};
use dse_transport_mem::{MemScope, MemTransport};

/// Far more than anything here takes, so that only what hangs fails.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("not in time: {what}"),
    }
}

/// Asks again until it holds. For what no event tells.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

pub(crate) fn endpoint(name: &str) -> Endpoint {
    format!("mem://{name}").parse().unwrap()
}

pub(crate) fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub(crate) fn transport(scope: &MemScope) -> Arc<MemTransport> {
    Arc::new(MemTransport::new(scope))
}

/// A builder of a node that listens at its own name.
pub(crate) fn builder(scope: &MemScope, name: &str) -> NodeBuilder {
    Node::builder("test", name).unwrap().transport(transport(scope)).listen(endpoint(name))
}

pub(crate) async fn start(scope: &MemScope, name: &str, join: &[&str]) -> Node {
    let joining = join.iter().fold(builder(scope, name), |it, seed| it.join(endpoint(seed)));
    joining.start().await.unwrap()
}

pub(crate) async fn guest(scope: &MemScope, name: &str, join: &str) -> Node {
    let builder = Node::builder("test", name).unwrap().transport(transport(scope)).guest();
    builder.join(endpoint(join)).start().await.unwrap()
}

/// Waits until the node has open links to so many others.
pub(crate) async fn linked(node: &Node, peers: u64) {
    until("links", async || node.stats().await.unwrap().peers == peers).await;
}

pub(crate) async fn next(watch: &mut Watch) -> Change {
    in_time("a change", watch.next()).await.expect("the node lives")
}

/// Reads changes up to the first for which `wanted` says so.
pub(crate) async fn changes_until(
    watch: &mut Watch,
    wanted: impl Fn(&Change) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    while !changes.last().is_some_and(&wanted) {
        changes.push(next(watch).await);
    }
    changes
}

pub(crate) async fn delivery(subscriber: &mut Subscriber) -> Delivery {
    in_time("a delivery", subscriber.recv()).await.expect("the node lives")
}

pub(crate) async fn sample(subscriber: &mut Subscriber) -> Sample {
    match delivery(subscriber).await {
        Delivery::Sample(sample) => sample,
        other => panic!("{other:?} instead of a sample"),
    }
}
