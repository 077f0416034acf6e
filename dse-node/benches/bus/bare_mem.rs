//! Two tokio tasks and a bounded channel of `Bytes`.

use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::figures::{Arrivals, RoundTrips};
use crate::job::{Job, Measure, PING_BYTES};

/// Both halves in this process.
pub(crate) async fn both(job: &Job) -> Result<Value> {
    match job.measure {
        Measure::Throughput { payload } => stream(job, payload).await,
        Measure::RoundTrip => ping(job).await,
    }
}

async fn stream(job: &Job, payload: usize) -> Result<Value> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let receiving = tokio::spawn(async move {
        let mut arrivals = Arrivals::default();
        let mut messages: Vec<Bytes> = Vec::new();
        while receiver.recv_many(&mut messages, QUEUE).await > 0 {
            arrivals.add(messages.len() as u64);
            messages.clear();
        }
        arrivals
    });
    let payload = Bytes::from(vec![7; payload]);
    let (began, time) = (Instant::now(), job.time);
    let sending = tokio::spawn(async move {
        while began.elapsed() < time {
            for _ in 0..16 {
                sender.send(payload.clone()).await?;
            }
        }
        anyhow::Ok(())
    });
    sending.await??;
    Ok(receiving.await?.json(job))
}

async fn ping(job: &Job) -> Result<Value> {
    let (there, mut pings) = mpsc::channel::<Bytes>(QUEUE);
    let (back, mut pongs) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(ping) = pings.recv().await {
            back.send(ping).await?;
        }
        anyhow::Ok(())
    });
    let time = job.time;
    // A task, and not this future, which the runtime polls on a thread of its own.
    let asking = tokio::spawn(async move {
        let payload = Bytes::from(vec![7; PING_BYTES]);
        let mut trips = RoundTrips::new(time);
        while trips.more() {
            let began = Instant::now();
            there.send(payload.clone()).await?;
            pongs.recv().await.context("the echo has ended")?;
            trips.add(began.elapsed());
        }
        anyhow::Ok(trips)
    });
    Ok(asking.await??.json())
}

const QUEUE: usize = 1024;
