//! `sub`: prints samples.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use dse_core::node::{Delivery, Subscriber};
use dse_core::protocol::KeyExpr;

use super::after;
use crate::console::Console;
use crate::context::Context;
use crate::remarks::Remark;
use crate::session::{Part, Session};
use crate::settings::Settings;
use crate::traffic::ClassName;
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

    /// Hold up no publisher: what this command is too slow for is lost, and it tells so.
    #[arg(long, env = "DSE_SUB_LOSSY", hide_env_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, hide_possible_values = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    lossy: bool,

    /// Take one sample of each key of each node in this time, at most. Of a stream those
    /// between are left out, of a state the latest comes.
    #[arg(long, env = "DSE_SUB_EVERY", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse)]
    every: Option<Duration>,

    /// Have the samples come in this class [default: that of their publisher].
    #[arg(long, value_enum, env = "DSE_SUB_CLASS", hide_env_values = true)]
    class: Option<ClassName>,
}

const EXAMPLES: &str = "\
It prints a line for each sample, the key and the payload, or with --json
{\"key\",\"node\",\"kind\",\"seq\",\"time_ns\",\"encoding\",\"payload\"}: the payload is the JSON itself
for application/json, a string for text/*, else \"payload_base64\" stands in its place.
Headers, if there are any, are in \"headers\", an object.

Of a state the present value comes first. What was lost, and what becomes of each source,
is told on standard error; with --json between the samples, as an object with \"event\",
\"key\", \"node\" and:
  gap          \"from_seq\", \"to_seq\", \"reason\": these samples are lost
  gap_open     \"from_seq\", \"reason\": samples are being lost; gap follows
  restarted    \"incarnation\": its node began anew, and its numbers with it
  ended        its publisher has closed it
  left         its node has left the bus
  lost         the link to its node fell: the last value may be stale
  back         the link to its node is back
  unsupported  this version cannot follow it
A reason is one of policy, wish, superseded, stalled, expired, evicted, lost.

Exit status 1: --timeout passed before --count samples came, or nobody was reached at
the endpoints of --join.

Examples:
  Everything below demo:
    dse-node sub 'demo/**'

  The next temperature of any hall, as JSON:
    dse-node sub 'site/*/temperature' --count 1 --json

  The load of all machines for a minute:
    dse-node sub 'host/*/load' --timeout 60

  At most one of each in ten seconds, and never in the way of others:
    dse-node sub 'host/**' --every 10s --lossy --class bulk";

/// Most bytes of output that are collected before they are written.
const BATCH_BYTES: usize = 64 * 1024;

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
    let mut builder = session.node.subscribe(args.keys.as_str())?;
    if args.lossy {
        builder = builder.never_wait();
    }
    if let Some(interval) = args.every {
        builder = builder.min_interval(interval);
    }
    if let Some(class) = args.class {
        builder = builder.class(class.into());
    }
    let subscriber = builder.open().await?;
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
        if let Delivery::Sample(sample) = delivery {
            self.left -= 1;
            match self.console.json() {
                true => samples::append_json(sample, batch),
                false => samples::append_text(sample, batch),
            }
        } else if let Some(remark) = Remark::of(delivery) {
            match self.console.json() {
                true => remark.append_json(batch),
                false => self.console.note(remark.to_string()).await,
            }
        }
    }
}
