//! `sub`: prints samples.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use dse_core::node::{Delivery, Subscriber};
use dse_core::protocol::{Incarnation, Key, KeyExpr, NodeId};
use serde::Serialize;

use super::after;
use crate::console::Console;
use crate::context::Context;
use crate::session::{Part, Session};
use crate::settings::Settings;
use crate::{duration, samples};

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct SubArgs {
    /// What to subscribe to: `*` stands for one segment of a key, `**` for any number.
    #[arg(value_name = "KEYEXPR")]
    keys: KeyExpr,

    /// End after so many samples.
    #[arg(long, env = "DSE_SUB_COUNT", hide_env_values = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time. Without --count that is no failure.
    #[arg(long, env = "DSE_SUB_TIMEOUT", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

const EXAMPLES: &str = "\
It prints a line for each sample, the key and the payload, or with --json
{\"key\",\"node\",\"kind\",\"seq\",\"time_ns\",\"encoding\",\"payload\"}: the payload is the JSON itself
for application/json, a string for text/*, else \"payload_base64\" stands in its place.

Of a state the present value comes first. What was lost of a stream is told on standard
error, as is a publisher that began anew or ended; with --json as
{\"event\":\"gap\",\"node\",\"key\",\"from_seq\",\"to_seq\"}, {\"event\":\"restarted\",\"node\",\"key\",
\"incarnation\"} or {\"event\":\"ended\",\"node\",\"key\"}.

Exit status 1: --timeout passed before --count samples came, or nobody was reached at
the endpoints of --join.

Examples:
  Everything below demo:
    dse-node sub 'demo/**'

  The next temperature of any hall, as JSON:
    dse-node sub 'site/*/temperature' --count 1 --json

  The load of all machines for a minute:
    dse-node sub 'host/*/load' --timeout 60";

/// Most bytes of output that are collected before they are written.
const BATCH_BYTES: usize = 64 * 1024;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Remark<'a> {
    Gap { node: &'a NodeId, key: &'a Key, from_seq: u64, to_seq: u64 },
    Restarted { node: &'a NodeId, key: &'a Key, incarnation: Incarnation },
    Ended { node: &'a NodeId, key: &'a Key },
}

/// Subscribes and prints.
///
/// # Errors
/// What was waited for did not come, or the node could not be on the bus.
pub async fn subscribe(args: SubArgs, settings: &Settings, context: &Context) -> Result<()> {
    let session = Session::start(settings, Part::Passes("sub"), context).await?;
    let outcome = print_samples(&session, &args, context).await;
    session.leave().await;
    outcome
}

async fn print_samples(session: &Session, args: &SubArgs, context: &Context) -> Result<()> {
    let subscriber = session.node.subscribe(args.keys.as_str())?.open().await?;
    tracing::info!("{} subscribes to {}", session.node.id(), args.keys);
    let mut printer = Printer {
        subscriber,
        console: context.console.clone(),
        left: args.count.unwrap_or(u64::MAX),
    };
    tokio::select! {
        printed = printer.print_all() => printed?,
        () = context.cancel.cancelled() => return Ok(()),
        reason = session.node.stopped() => return Err(reason.into()),
        () = after(args.timeout) => {}
    }
    match args.count {
        Some(count) if printer.left > 0 => {
            session.check_reached().await?;
            bail!("{} of {count} samples came in time", count - printer.left);
        }
        Some(_) => Ok(()),
        None => session.check_reached().await,
    }
}

struct Printer {
    subscriber: Subscriber,
    console: Console,
    /// Samples still to come.
    left: u64,
}

impl Printer {
    /// Prints what comes, in batches: all that is there, in one go.
    async fn print_all(&mut self) -> Result<()> {
        let mut batch = Vec::new();
        while self.left > 0
            && let Some(delivery) = self.subscriber.recv().await
        {
            self.append(&delivery, &mut batch).await;
            while self.left > 0
                && batch.len() < BATCH_BYTES
                && let Some(delivery) = self.subscriber.try_recv()
            {
                self.append(&delivery, &mut batch).await;
            }
            self.console.print(&batch).await?;
            batch.clear();
        }
        Ok(())
    }

    async fn append(&mut self, delivery: &Delivery, batch: &mut Vec<u8>) {
        let remark = match delivery {
            Delivery::Sample(sample) => {
                self.left -= 1;
                match self.console.json() {
                    true => samples::append_json(sample, batch),
                    false => samples::append_text(sample, batch),
                }
                return;
            }
            Delivery::Gap { node, key, from_seq, to_seq } => {
                Remark::Gap { node, key, from_seq: *from_seq, to_seq: *to_seq }
            }
            Delivery::Restarted { node, key, incarnation } => {
                Remark::Restarted { node, key, incarnation: *incarnation }
            }
            Delivery::Ended { node, key } => Remark::Ended { node, key },
        };
        let text = match &remark {
            Remark::Gap { node, key, from_seq, to_seq } => {
                format!("{key} of {node}: samples {from_seq} to {to_seq} are lost")
            }
            Remark::Restarted { node, key, .. } => format!("{key} of {node} began anew"),
            Remark::Ended { node, key } => format!("{key} of {node} has ended"),
        };
        self.console.report(text, &remark).await;
    }
}
