//! The bus, through the embedding API, as an application would use it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use dse_core::node::{Delivery, Node, Overflow, Publisher, Subscriber};
use dse_core::protocol::{Endpoint, Kind, NodeId};
use dse_core::transport::Transport as Wire;
use dse_transport_mem::{MemScope, MemTransport};
use dse_transport_quic::ca::Authority;
use dse_transport_quic::{QuicConfig, QuicTransport};
use dse_transport_zmq::{ZmqConfig, ZmqTransport};
use serde_json::{Value, json};

use crate::figures::{Arrivals, RoundTrips};
use crate::job::{Job, Measure, PING_BYTES, Transport};

/// Subscribes, and counts until the publisher ends or sends every ping back. Nodes on mem
/// share a scope.
pub(crate) async fn receive(
    job: &Job,
    scope: &MemScope,
    ready: impl FnOnce(String),
) -> Result<Value> {
    let node = start(job, scope, RECEIVER, None).await?;
    if job.measure == Measure::RoundTrip {
        return answer(&node, ready).await;
    }
    let counted = count(job, &node, ready).await;
    // The last receipt is under way: leaving waits for it, the end of the process would not.
    node.leave().await;
    counted
}

/// Publishes, or measures the way there and back, for the time of the job.
pub(crate) async fn send(job: &Job, scope: &MemScope, peer: &str) -> Result<Value> {
    let node = start(job, scope, SENDER, Some(peer)).await?;
    match job.measure {
        Measure::Throughput { payload } => publish(job, &node, payload).await,
        Measure::RoundTrip => ask(job, &node).await,
    }
}

async fn count(job: &Job, node: &Node, ready: impl FnOnce(String)) -> Result<Value> {
    let mut subscriber = node.subscribe(SAMPLES)?.capacity(QUEUE).open().await?;
    ready(address(node)?);
    let mut arrivals = Arrivals::default();
    let mut lost = 0;
    let mut deliveries = Vec::new();
    loop {
        if subscriber.recv_batch(&mut deliveries, BATCH).await == 0 {
            bail!("the receiving node has stopped");
        }
        let mut samples = 0;
        let mut ended = false;
        for delivery in deliveries.drain(..) {
            match delivery {
                Delivery::Sample(_) => samples += 1,
                // A gap whose end is not known is told again once it is.
                Delivery::Gap { from_seq, to_seq: Some(to_seq), .. } => {
                    lost += to_seq + 1 - from_seq;
                }
                Delivery::Gap { to_seq: None, .. } => {}
                Delivery::Ended { .. } => ended = true,
                other => bail!("instead of a sample came {other:?}"),
            }
        }
        arrivals.add(samples);
        if ended {
            let mut result = arrivals.json(job);
            result["gaps"] = lost.into();
            return Ok(result);
        }
    }
}

async fn publish(job: &Job, node: &Node, payload: usize) -> Result<Value> {
    let publisher = declare(node, SAMPLES).await?;
    wanted(&publisher).await?;
    let payload = Bytes::from(vec![7; payload]);
    let (began, mut sent) = (Instant::now(), 0_u64);
    while began.elapsed() < job.time {
        for _ in 0..LOOKS_AT_CLOCK {
            publisher.publish(payload.clone()).await?;
        }
        sent += LOOKS_AT_CLOCK;
    }
    let closed = publisher.close().await;
    ensure!(closed.is_confirmed(), "not confirmed by {:?}", closed.unconfirmed);
    Ok(json!({ "sent": sent }))
}

async fn answer(node: &Node, ready: impl FnOnce(String)) -> Result<Value> {
    let pong = declare(node, PONG).await?;
    let mut pings = node.subscribe(PING)?.open().await?;
    ready(address(node)?);
    // What is published before there is a way back goes to nobody.
    wanted(&pong).await?;
    loop {
        match pings.recv().await {
            Some(Delivery::Sample(ping)) => pong.publish(ping.payload).await?,
            Some(Delivery::Ended { .. }) | None => return Ok(Value::Null),
            other => bail!("instead of a ping came {other:?}"),
        };
    }
}

async fn ask(job: &Job, node: &Node) -> Result<Value> {
    let mut pongs = node.subscribe(PONG)?.open().await?;
    let ping = declare(node, PING).await?;
    wanted(&ping).await?;
    let payload = Bytes::from(vec![7; PING_BYTES]);
    let mut trips = RoundTrips::new(job.time);
    while trips.more() {
        let began = Instant::now();
        ping.publish(payload.clone()).await?;
        sample(&mut pongs).await?;
        trips.add(began.elapsed());
    }
    Ok(trips.json())
}

/// A stream of which nothing may be lost.
pub(crate) async fn declare(node: &Node, key: &str) -> Result<Publisher> {
    let publisher = node.publisher(key)?.kind(Kind::Stream).overflow(Overflow::Block);
    Ok(publisher.declare().await?)
}

/// Waits until somebody is being sent the samples.
pub(crate) async fn wanted(publisher: &Publisher) -> Result<()> {
    let mut interest = publisher.interest();
    while interest.subscribers() == 0 {
        interest.changed().await.context("the publisher is closed")?;
    }
    Ok(())
}

async fn sample(subscriber: &mut Subscriber) -> Result<Bytes> {
    match subscriber.recv().await {
        Some(Delivery::Sample(sample)) => Ok(sample.payload),
        other => bail!("instead of a sample came {other:?}"),
    }
}

/// A node of the job; it joins the others at `peer`.
pub(crate) async fn start(
    job: &Job,
    scope: &MemScope,
    name: &str,
    peer: Option<&str>,
) -> Result<Node> {
    let listen = match job.transport {
        Transport::Mem => "mem://*",
        Transport::Zmq => "zmq://ipc",
        Transport::Quic => "quic://127.0.0.1:0",
    };
    let wire = wire(job, name, scope)?;
    let mut builder = Node::builder("bench", name)?.transport(wire).listen(Endpoint::new(listen)?);
    if let Some(peer) = peer {
        builder = builder.join(Endpoint::new(peer)?);
    }
    Ok(builder.start().await?)
}

fn wire(job: &Job, name: &str, scope: &MemScope) -> Result<Arc<dyn Wire>> {
    Ok(match job.transport {
        Transport::Mem => Arc::new(MemTransport::new(scope)),
        Transport::Zmq => Arc::new(ZmqTransport::new(ZmqConfig {
            runtime_dir: job.folder.clone(),
            trust_network: false,
        })),
        Transport::Quic => Arc::new(quic(&job.folder, name)?),
    })
}

fn quic(folder: &Path, name: &str) -> Result<QuicTransport> {
    let authority = Authority::open_or_create(&folder.join("ca"))?;
    let identity = authority.identity(&NodeId::new(name)?)?;
    Ok(QuicTransport::new(QuicConfig::new(identity))?)
}

/// Where a node is joined.
pub(crate) fn address(node: &Node) -> Result<String> {
    Ok(node.endpoints().first().context("the node listens nowhere")?.to_string())
}

const RECEIVER: &str = "receiver";
const SENDER: &str = "sender";
pub(crate) const SAMPLES: &str = "bench/samples";
const PING: &str = "bench/ping";
const PONG: &str = "bench/pong";

/// How many samples the subscriber's queue holds.
pub(crate) const QUEUE: usize = 16 * 1024;
/// How many deliveries are taken at a time.
pub(crate) const BATCH: usize = 1024;
/// So many samples are published between two looks at the clock.
const LOOKS_AT_CLOCK: u64 = 16;
