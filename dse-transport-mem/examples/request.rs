//! A guest asks the bus who serves a key expression, and knows whether all have answered.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use dse_core::node::Node;
use dse_transport_mem::{MemScope, MemTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let transport = Arc::new(MemTransport::new(&MemScope::new()));
    let mut members = Vec::new();
    for name in ["north", "south", "west"] {
        let node = Node::builder("demo", name)?
            .transport(transport.clone())
            .listen(format!("mem://{name}").parse()?)
            .join("mem://north".parse()?)
            .start()
            .await?;
        let publisher = node.publisher(format!("wind/{name}"))?.declare().await?;
        members.push((node, publisher));
    }

    let guest = Node::builder("demo", "visitor")?
        .transport(transport)
        .join("mem://north".parse()?)
        .guest()
        .start()
        .await?;
    let report = guest.request("wind/*", Duration::from_secs(5)).await?;
    for found in &report.matches {
        println!("{}: {} ({})", found.node, found.declaration.key, found.declaration.kind);
    }
    println!("{} of {} answered", report.answered, report.expected);
    Ok(())
}
