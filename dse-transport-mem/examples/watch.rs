//! Prints what happens on a bus: a node comes, exposes something, and leaves.

use std::error::Error;
use std::sync::Arc;

use dse_core::node::{Change, Node};
use dse_transport_mem::{MemScope, MemTransport};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let transport = Arc::new(MemTransport::new(&MemScope::new()));
    let builder = Node::builder("demo", "watcher")?.transport(transport.clone());
    let watcher = builder.listen("mem://watcher".parse()?).start().await?;
    let mut changes = watcher.watch("**").await?;
    tokio::spawn(come_and_go(transport));

    while let Some(change) = changes.next().await {
        match change {
            Change::NodeUp { node, .. } => println!("{node} is up"),
            Change::Declared(it) => println!("{} exposes {}", it.node, it.declaration.key),
            Change::NodeLeft { node, .. } => {
                println!("{node} has left");
                break;
            }
            other => println!("{other:?}"),
        }
    }
    Ok(())
}

async fn come_and_go(transport: Arc<MemTransport>) -> Result<(), Box<dyn Error + Send + Sync>> {
    let builder = Node::builder("demo", "visitor")?.transport(transport);
    let visitor = builder.join("mem://watcher".parse()?).start().await?;
    let _key = visitor.publisher("visitor/mood")?.declare().await?;
    visitor.request("**", std::time::Duration::from_secs(5)).await?;
    visitor.leave().await;
    Ok(())
}
