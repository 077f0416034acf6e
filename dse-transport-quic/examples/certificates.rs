//! Two nodes with certificates of one authority: one publishes, the other prints.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use dse_core::node::{Delivery, Node, NodeBuilder};
use dse_transport_quic::ca::Authority;
use dse_transport_quic::{QuicConfig, QuicTransport};

/// A node whose certificate comes from the authority in this folder. On another machine
/// it would be `Identity::load`, with the files that `dse-node ca issue` made.
fn node(name: &str, folder: &Path) -> Result<NodeBuilder, Box<dyn Error>> {
    let identity = Authority::open_or_create(folder)?.identity(&name.parse()?)?;
    let transport = QuicTransport::new(QuicConfig::new(identity))?;
    Ok(Node::builder("demo", name)?.transport(Arc::new(transport)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca");
    let alice = node("alice", &authority)?.listen("quic://127.0.0.1:0".parse()?);
    let alice = alice.start().await?;
    // Port 0 was any free one: the node knows which.
    let bob = node("bob", &authority)?.join(alice.endpoints()[0].clone()).start().await?;

    let mut greetings = bob.subscribe("demo/**")?.open().await?;
    let publisher = alice.publisher("demo/greeting")?.history(1).declare().await?;
    publisher.publish("hello".into()).await?;
    if let Some(Delivery::Sample(sample)) = greetings.recv().await {
        let text = String::from_utf8_lossy(&sample.payload);
        println!("{} says on {}: {text}", sample.origin.node, sample.origin.key);
    }
    alice.leave().await;
    bob.leave().await;
    Ok(())
}
