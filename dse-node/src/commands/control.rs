//! `run --control-stdin`: a node that tells all it sees and does what it is told, for
//! programs that put nodes through their paces without a word on the bus.
//!
//! It prints the directory's changes as `watch` does, and obeys lines:
//! `stats` prints `{"event":"stats",...}` with the node's own counters, `set KEY VALUE`
//! exposes a state and prints `{"event":"set","key","time_ns"}` with the time at which it
//! began to, `leave` ends the node in order after a last `stats`, as does the end of the
//! input.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use dse_core::node::{Node, Publisher, Stats};
use dse_core::protocol::{Key, Kind};
use serde::Serialize;
use serde_json::{Map, Value};

use super::watch;
use crate::console::Console;
use crate::context::Context;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Reply<'a> {
    Stats(Map<String, Value>),
    Set { key: &'a Key, time_ns: u64 },
}

/// Tells and obeys until the node is to leave.
///
/// # Errors
/// The node has stopped, or nobody reads any more.
pub(super) async fn obey(node: &Node, context: &Context) -> Result<()> {
    let mut changes = node.watch("**").await?;
    let mut left = u64::MAX;
    let mut controller = Controller { node, console: &context.console, published: BTreeMap::new() };
    tokio::select! {
        told = watch::print_all(&mut changes, &mut left, &context.console) => {
            told?;
            Err(node.stopped().await.into())
        }
        obeyed = controller.obey_all(context) => obeyed,
    }
}

struct Controller<'a> {
    node: &'a Node,
    console: &'a Console,
    /// What was set, under its keys.
    published: BTreeMap<String, Publisher>,
}

impl Controller<'_> {
    async fn obey_all(&mut self, context: &Context) -> Result<()> {
        let mut input = context.input.lock().await;
        while let Some(line) = input.next_line().await? {
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.trim() == "leave" {
                break;
            }
            if let Err(error) = self.obey(line.trim()).await {
                self.console.note(format!("{line:?}: {error:#}")).await;
            }
        }
        self.tell_stats().await
    }

    async fn obey(&mut self, order: &str) -> Result<()> {
        if order == "stats" {
            return self.tell_stats().await;
        }
        let setting = order.strip_prefix("set ").and_then(|rest| rest.split_once(' '));
        match setting {
            Some((key, value)) => self.set(key, value).await,
            None => bail!("say stats, set KEY VALUE, or leave"),
        }
    }

    async fn tell_stats(&self) -> Result<()> {
        let counters = counters(&self.node.stats().await?);
        Ok(self.console.print_json(&Reply::Stats(counters)).await?)
    }

    async fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let time_ns = now_ns();
        if !self.published.contains_key(key) {
            let builder = self.node.publisher(key)?.kind(Kind::State).encoding("text/plain");
            self.published.insert(key.to_owned(), builder.declare().await?);
        }
        let publisher = self.published.get(key).ok_or_else(|| anyhow!("{key} is not there"))?;
        publisher.publish(Bytes::from(value.to_owned())).await?;
        Ok(self.console.print_json(&Reply::Set { key: publisher.key(), time_ns }).await?)
    }
}

fn counters(stats: &Stats) -> Map<String, Value> {
    stats.counters().into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
