//! Two tokio tasks and a bounded channel of `Bytes` each way.

use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::figures::{Arrivals, RoundTrips};
use crate::job::{Job, Measure, PING_BYTES};

/// What one of the tasks has.
pub(crate) struct End {
    to: mpsc::Sender<Bytes>,
    from: mpsc::Receiver<Bytes>,
}

/// Both ends.
pub(crate) fn pair() -> (End, End) {
    let (there, far) = mpsc::channel(QUEUE);
    let (back, near) = mpsc::channel(QUEUE);
    (End { to: there, from: near }, End { to: back, from: far })
}

/// Counts messages, or sends each back.
pub(crate) async fn receive(job: &Job, mut end: End) -> Result<Value> {
    if job.measure == Measure::RoundTrip {
        while let Some(ping) = end.from.recv().await {
            end.to.send(ping).await?;
        }
        return Ok(Value::Null);
    }
    let mut arrivals = Arrivals::default();
    let mut messages: Vec<Bytes> = Vec::new();
    while end.from.recv_many(&mut messages, QUEUE).await > 0 {
        arrivals.add(messages.len() as u64);
        messages.clear();
    }
    Ok(arrivals.json(job))
}

/// Sends messages, or measures the way there and back.
pub(crate) async fn send(job: &Job, end: End) -> Result<Value> {
    match job.measure {
        Measure::Throughput { payload } => stream(job, end, payload).await,
        Measure::RoundTrip => ping(job, end).await,
    }
}

async fn stream(job: &Job, end: End, payload: usize) -> Result<Value> {
    let payload = Bytes::from(vec![7; payload]);
    let (began, mut sent) = (Instant::now(), 0_u64);
    while began.elapsed() < job.time {
        for _ in 0..LOOKS_AT_CLOCK {
            end.to.send(payload.clone()).await?;
        }
        sent += LOOKS_AT_CLOCK;
    }
    Ok(json!({ "sent": sent }))
}

async fn ping(job: &Job, mut end: End) -> Result<Value> {
    let payload = Bytes::from(vec![7; PING_BYTES]);
    let mut trips = RoundTrips::new(job.time);
    while trips.more() {
        let began = Instant::now();
        end.to.send(payload.clone()).await?;
        end.from.recv().await.context("the echo has ended")?;
        trips.add(began.elapsed());
    }
    Ok(trips.json())
}

const QUEUE: usize = 1024;
/// So many messages are sent between two looks at the clock.
const LOOKS_AT_CLOCK: u64 = 16;
