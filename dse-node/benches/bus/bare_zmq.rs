//! One XPUB socket to one SUB socket of the `zeromq` crate over ipc: batches of 64 KiB
//! for throughput, and for round trips one message each way over two such pairs.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use zeromq::{Socket, SocketRecv, SocketSend, SubSocket, XPubSocket};

use crate::figures::{Arrivals, RoundTrips};
use crate::job::{Job, Measure, PING_BYTES};

/// Takes batches and counts their messages, or sends each message back.
pub(crate) async fn receive(job: &Job, ready: impl FnOnce(String)) -> Result<Value> {
    let mut inbox = bind(&job.folder, RECEIVER).await?;
    ready(address(&job.folder, RECEIVER));
    match job.measure {
        Measure::RoundTrip => {
            let first = inbox.recv().await?;
            let mut outlet = connect(&job.folder, SENDER).await?;
            outlet.send(first).await?;
            loop {
                let message = inbox.recv().await?;
                outlet.send(message).await?;
            }
        }
        Measure::Throughput { payload } => {
            let mut arrivals = Arrivals::default();
            loop {
                let message = inbox.recv().await?;
                let bytes = message.get(0).map_or(0, Bytes::len);
                if bytes == END.len() {
                    return Ok(arrivals.json(job));
                }
                arrivals.add((bytes / (HEAD_BYTES + payload)) as u64);
            }
        }
    }
}

/// Sends batches, or measures the way there and back.
pub(crate) async fn send(job: &Job) -> Result<Value> {
    match job.measure {
        Measure::Throughput { payload } => stream(job, payload).await,
        Measure::RoundTrip => ping(job).await,
    }
}

async fn stream(job: &Job, payload: usize) -> Result<Value> {
    let mut outlet = connect(&job.folder, RECEIVER).await?;
    let payload = vec![7; payload];
    let length = u32::try_from(payload.len())?;
    let (began, mut sent) = (Instant::now(), 0_u64);
    let mut batch = BytesMut::new();
    while began.elapsed() < job.time {
        batch.reserve(2 * BATCH_BYTES);
        while batch.len() < BATCH_BYTES {
            batch.put_u32_le(length);
            batch.put_slice(&payload);
            sent += 1;
        }
        outlet.send(batch.split().freeze().into()).await?;
    }
    outlet.send(Bytes::from_static(END).into()).await?;
    // The socket lives until the process ends: dropped, it would drop what it holds.
    std::mem::drop(tokio::spawn(async move { outlet.recv().await }));
    Ok(json!({ "sent": sent }))
}

async fn ping(job: &Job) -> Result<Value> {
    let mut inbox = bind(&job.folder, SENDER).await?;
    let mut outlet = connect(&job.folder, RECEIVER).await?;
    let payload = Bytes::from(vec![7; PING_BYTES]);
    let mut trips = RoundTrips::new(job.time);
    while trips.more() {
        let began = Instant::now();
        outlet.send(payload.clone().into()).await?;
        inbox.recv().await?;
        trips.add(began.elapsed());
    }
    Ok(trips.json())
}

async fn bind(folder: &Path, name: &str) -> Result<SubSocket> {
    let mut inbox = SubSocket::new();
    inbox.bind(&address(folder, name)).await?;
    inbox.subscribe("").await?;
    Ok(inbox)
}

/// Connects and waits for the subscription: what is sent before it would be lost.
async fn connect(folder: &Path, name: &str) -> Result<XPubSocket> {
    let mut outlet = XPubSocket::new();
    outlet.connect(&address(folder, name)).await?;
    let word = outlet.recv().await?;
    if word.get(0).and_then(|part| part.first()) != Some(&1) {
        bail!("instead of a subscription came {word:?}");
    }
    Ok(outlet)
}

fn address(folder: &Path, name: &str) -> String {
    format!("ipc://{}", folder.join(name).display())
}

const RECEIVER: &str = "receiver";
const SENDER: &str = "sender";
const END: &[u8] = b"end";
const BATCH_BYTES: usize = 64 * 1024;
/// Each message has its length before it.
const HEAD_BYTES: usize = 4;
