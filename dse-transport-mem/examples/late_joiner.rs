//! A state has a present value: who comes late gets it at once, and never an old one.

use std::error::Error;
use std::sync::Arc;

use dse_core::node::{Delivery, Node};
use dse_core::protocol::Kind;
use dse_transport_mem::{MemScope, MemTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let transport = Arc::new(MemTransport::new(&MemScope::new()));
    let meter = Node::builder("demo", "meter")?
        .transport(transport.clone())
        .listen("mem://meter".parse()?)
        .start()
        .await?;
    let level = meter.publisher("tank/level")?.kind(Kind::State).declare().await?;
    for value in ["12", "47", "98"] {
        level.publish(value.into()).await?;
    }

    let late = Node::builder("demo", "late")?
        .transport(transport)
        .join("mem://meter".parse()?)
        .start()
        .await?;
    let mut levels = late.subscribe("tank/*")?.open().await?;
    if let Some(Delivery::Sample(sample)) = levels.recv().await {
        println!("{} is {}", sample.origin.key, String::from_utf8_lossy(&sample.payload));
        assert_eq!(sample.payload, "98");
    }
    Ok(())
}
