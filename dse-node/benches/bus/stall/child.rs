//! What each of the three processes does.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use dse_core::node::{Delivery, Node, Subscriber};
use dse_transport_mem::MemScope;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use super::PAYLOAD;
use crate::bus;
use crate::child::announce;
use crate::job::{Job, Role};

/// Plays the role until standard input ends.
///
/// # Errors
/// The node cannot be started or has stopped, or what it is told makes no sense.
pub(crate) async fn play(job: Job, role: Role) -> Result<()> {
    let told = BufReader::new(tokio::io::stdin()).lines();
    match role {
        Role::Publisher => publish(&job, told).await,
        Role::Subscriber { name, peer } => subscribe(&job, &name, &peer, told).await,
        other => bail!("a stall has no {other:?}"),
    }
}

async fn publish(job: &Job, mut told: Lines<BufReader<Stdin>>) -> Result<()> {
    let node = bus::start(job, &MemScope::new(), "publisher", None).await?;
    let publisher = bus::declare(&node, bus::SAMPLES).await?;
    announce(bus::address(&node)?);
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let publishing = async {
        bus::wanted(&publisher).await?;
        loop {
            publisher.publish(payload.clone()).await?;
        }
    };
    tokio::select! {
        stopped = publishing => stopped,
        end = told.next_line() => Ok(end.map(drop)?),
    }
}

async fn subscribe(
    job: &Job,
    name: &str,
    peer: &str,
    mut told: Lines<BufReader<Stdin>>,
) -> Result<()> {
    let node = bus::start(job, &MemScope::new(), name, Some(peer)).await?;
    announce(bus::address(&node)?);
    let mut tally = Tally { began: Instant::now(), received: 0, gaps: 0, lost: 0 };
    let mut subscriber = None;
    loop {
        tokio::select! {
            line = told.next_line() => match line?.as_deref() {
                Some("subscribe") => subscriber = Some(open(&node).await?),
                Some("unsubscribe") => subscriber = None,
                Some("look") => {}
                Some(other) => bail!("{other}: say subscribe, unsubscribe or look"),
                None => return Ok(()),
            },
            taken = take(&mut subscriber) => {
                tally.count(taken?);
                continue;
            }
        }
        println!("{}", tally.json());
    }
}

async fn open(node: &Node) -> Result<Subscriber> {
    Ok(node.subscribe(bus::SAMPLES)?.capacity(bus::QUEUE).open().await?)
}

async fn take(subscriber: &mut Option<Subscriber>) -> Result<Vec<Delivery>> {
    let Some(subscriber) = subscriber else { return std::future::pending().await };
    let mut deliveries = Vec::new();
    let taken = subscriber.recv_batch(&mut deliveries, bus::BATCH).await;
    (taken > 0).then_some(deliveries).context("the node has stopped")
}

/// What a subscriber got so far.
struct Tally {
    began: Instant,
    received: u64,
    /// How often it was told of a gap.
    gaps: u64,
    /// How many samples were in them.
    lost: u64,
}

impl Tally {
    fn count(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            match delivery {
                Delivery::Sample(_) => self.received += 1,
                Delivery::Gap { from_seq, to_seq: Some(to_seq), .. } => {
                    self.gaps += 1;
                    self.lost += to_seq + 1 - from_seq;
                }
                _ => {}
            }
        }
    }

    fn json(&self) -> Value {
        json!({
            "at_us": u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            "received": self.received,
            "gaps": self.gaps,
            "lost": self.lost,
        })
    }
}
