//! `stats`: a node's counters, asked over the bus.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use dse_core::protocol::NodeId;
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
With --json it prints one object of the node's name and its counters, among them
control_messages_sent, control_messages_received, control_bytes_sent, samples_sent,
samples_received, gaps, drops and links. The asking itself costs a few control messages,
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
    let counters = session.node.stats_of(&args.node, args.timeout).await?;
    if context.console.json() {
        let counters = counters.into_iter().map(|(name, value)| (name.into(), value.into()));
        let shape = Counters { node: &args.node, counters: counters.collect() };
        context.console.print_json(&shape).await?;
    } else {
        let rows =
            counters.iter().map(|(name, value)| [printable(name).into_owned(), value.to_string()]);
        context.console.print(table::render(["COUNTER", "VALUE"], rows).as_bytes()).await?;
    }
    Ok(())
}
