//! One node publishes a greeting, another prints it.

use std::error::Error;
use std::sync::Arc;

use dse_core::node::{Delivery, Node};
use dse_transport_mem::{MemScope, MemTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let transport = Arc::new(MemTransport::new(&MemScope::new()));
    let alice = Node::builder("demo", "alice")?
        .transport(transport.clone())
        .listen("mem://alice".parse()?)
        .start()
        .await?;
    let bob = Node::builder("demo", "bob")?
        .transport(transport)
        .join("mem://alice".parse()?)
        .start()
        .await?;

    let mut greetings = bob.subscribe("demo/**")?.open().await?;
    // A stream gives samples from now on. Bob may come a moment later, so one is kept.
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
