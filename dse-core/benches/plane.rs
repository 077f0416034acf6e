//! How fast samples go from publisher to subscriber within one node: the data plane alone,
//! no transport.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dse_core::node::plane::{Plane, PlaneConfig};
use dse_core::node::{Delivery, Publisher, PublisherOptions, Subscriber};
use dse_core::protocol::{
    Declaration, Incarnation, InterestOptions, Key, KeyExpr, Kind, NameError, NodeId,
    SubscriptionId,
};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const MEASURED: Duration = Duration::from_secs(2);
const ROUND_TRIPS: u32 = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    for bytes in [64, 1024, 64 * 1024] {
        let rate = throughput(&runtime, bytes)?;
        let mega = rate * bytes as f64 / 1e6;
        println!("{bytes:>6} B: {:>7.3} M samples/s, {mega:>7.0} MB/s", rate / 1e6);
    }
    println!(
        "round trip, 64 B: {:?}, of two channels: {:?}",
        round_trip(&runtime)?,
        bare(&runtime)
    );
    Ok(())
}

/// Samples a second from one publisher to one subscriber, none lost.
fn throughput(runtime: &Runtime, bytes: usize) -> Result<f64, NameError> {
    let _entered = runtime.enter();
    let node = Node::new()?;
    let (publisher, mut subscriber) = node.pair("x", 1)?;
    let payload = Bytes::from(vec![0; bytes]);
    let publishing = runtime.spawn(async move {
        let start = Instant::now();
        while start.elapsed() < MEASURED {
            for _ in 0..64 {
                publisher.publish(payload.clone()).await.expect("the node lives");
            }
        }
        publisher.close().await;
    });
    let receiving = runtime.spawn(async move {
        let start = Instant::now();
        let mut samples = 0_u64;
        loop {
            match subscriber.recv().await {
                Some(Delivery::Sample(sample)) => {
                    samples += 1;
                    assert_eq!(sample.seq, samples, "nothing may be lost");
                }
                Some(Delivery::Ended { .. }) => {
                    break samples as f64 / start.elapsed().as_secs_f64();
                }
                other => panic!("no sample: {other:?}"),
            }
        }
    });
    runtime.block_on(async { publishing.await.expect("published") });
    Ok(runtime.block_on(async { receiving.await.expect("received") }))
}

/// The mean time of a sample to another task and back.
fn round_trip(runtime: &Runtime) -> Result<Duration, NameError> {
    let _entered = runtime.enter();
    let node = Node::new()?;
    let (ping, mut pinged) = node.pair("ping", 1)?;
    let (pong, mut ponged) = node.pair("pong", 2)?;
    runtime.spawn(async move {
        while let Some(Delivery::Sample(sample)) = pinged.recv().await {
            pong.publish(sample.payload).await.expect("the node lives");
        }
    });
    let measured = runtime.spawn(async move {
        let payload = Bytes::from_static(&[0; 64]);
        let start = Instant::now();
        for _ in 0..ROUND_TRIPS {
            ping.publish(payload.clone()).await.expect("the node lives");
            ponged.recv().await.expect("the node lives");
        }
        start.elapsed() / ROUND_TRIPS
    });
    Ok(runtime.block_on(async { measured.await.expect("measured") }))
}

/// The same over two bounded channels.
fn bare(runtime: &Runtime) -> Duration {
    let (ping, mut pinged) = mpsc::channel::<Bytes>(64);
    let (pong, mut ponged) = mpsc::channel::<Bytes>(64);
    runtime.spawn(async move {
        while let Some(payload) = pinged.recv().await {
            if pong.send(payload).await.is_err() {
                return;
            }
        }
    });
    let measured = runtime.spawn(async move {
        let payload = Bytes::from_static(&[0; 64]);
        let start = Instant::now();
        for _ in 0..ROUND_TRIPS {
            ping.send(payload.clone()).await.expect("the other task lives");
            ponged.recv().await.expect("the other task lives");
        }
        start.elapsed() / ROUND_TRIPS
    });
    runtime.block_on(async { measured.await.expect("measured") })
}

struct Node {
    plane: std::sync::Arc<Plane>,
}

impl Node {
    fn new() -> Result<Self, NameError> {
        let config = PlaneConfig {
            node: NodeId::new("bench")?,
            incarnation: Incarnation(1),
            stall_timeout: Duration::from_secs(5),
        };
        Ok(Self { plane: Plane::new(config, mpsc::channel(1).0, mpsc::unbounded_channel().0) })
    }

    fn pair(&self, key: &str, id: u64) -> Result<(Publisher, Subscriber), NameError> {
        let subscriber = self.plane.subscribe(
            SubscriptionId(id),
            KeyExpr::new(key)?,
            InterestOptions::default(),
            65_536,
        );
        let declaration = Declaration::new(Key::new(key)?, Kind::Stream, "");
        let publisher = self.plane.register(declaration, PublisherOptions::default());
        Ok((publisher.expect("the key is free"), subscriber))
    }
}
