//! `stats`: a node's counters, asked over the bus.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use dse_core::node::Wait;
use dse_core::protocol::{Key, NodeId};
use serde::Serialize;
use serde_json::{Map, Value};

use super::ANSWER_TIMEOUT;
use crate::context::Context;
use crate::samples::printable;
use crate::session::{Part, Session};
use crate::settings::Settings;
use crate::{duration, table};

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct StatsArgs {
    /// The node to ask; `dse-node nodes` lists them.
    #[arg(value_name = "NODE")]
    node: NodeId,

    /// How long to wait for the bus, and then again for the answer.
    #[arg(long, env = "DSE_STATS_TIMEOUT", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse, default_value = ANSWER_TIMEOUT)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
It tells also whom the node's publishers wait for at the moment, and for how long.
With --json it prints one object of the node's name and its counters, among them
control_messages_sent, control_messages_received, control_bytes_sent, samples_sent,
samples_received, gaps, drops, stalls and links, and \"waits\", a list of
{\"key\",\"node\",\"since_ms\"}. The asking itself costs a few control messages,
the same number each time.

Examples:
  What has this node sent so far?
    dse-node stats web-1

  Is the bus quiet? Ask twice and compare:
    dse-node stats web-1 --json | jq .control_messages_sent";

#[derive(Serialize)]
struct Counters<'a> {
    node: &'a NodeId,
    #[serde(flatten)]
    counters: Map<String, Value>,
    waits: Vec<WaitShape<'a>>,
}

#[derive(Serialize)]
struct WaitShape<'a> {
    key: &'a Key,
    node: &'a NodeId,
    since_ms: u64,
}

impl<'a> WaitShape<'a> {
    fn of(wait: &'a Wait) -> Self {
        let since_ms = u64::try_from(wait.since.as_millis()).unwrap_or(u64::MAX);
        Self { key: &wait.key, node: &wait.node, since_ms }
    }
}

/// Asks and prints.
///
/// # Errors
/// The node is not there or does not answer.
pub async fn stats(args: StatsArgs, settings: &Settings, context: &Context) -> Result<()> {
    let session = Session::start(settings, Part::Asks("stats"), context).await?;
    let printed = tokio::select! {
        printed = print(&session, &args, context) => printed,
        () = context.cancel.cancelled() => bail!("interrupted"),
    };
    session.leave().await;
    printed
}

async fn print(session: &Session, args: &StatsArgs, context: &Context) -> Result<()> {
    session.meet(args.timeout).await?;
    let (mut counters, mut waits) = (Vec::new(), Vec::new());
    for (name, value) in session.node.stats_of(&args.node, args.timeout).await? {
        match Wait::from_counter(&name, value) {
            Some(wait) => waits.push(wait),
            None => counters.push((name, value)),
        }
    }
    if context.console.json() {
        let counters = counters.into_iter().map(|(name, value)| (name.into(), value.into()));
        let waits = waits.iter().map(WaitShape::of).collect();
        let shape = Counters { node: &args.node, counters: counters.collect(), waits };
        context.console.print_json(&shape).await?;
    } else {
        let rows =
            counters.iter().map(|(name, value)| [printable(name).into_owned(), value.to_string()]);
        let mut text = table::render(["COUNTER", "VALUE"], rows);
        for Wait { key, node, since, .. } in &waits {
            let seconds = since.as_secs_f64();
            text.push_str(&format!("{key} waits for {node}, for {seconds:.1} s by now\n"));
        }
        context.console.print(text.as_bytes()).await?;
    }
    Ok(())
}
